# SPDX-License-Identifier: GPL-2.0-only
"""git(1) on repositories of ours: nothing of the user's configuration, hooks or refs is read or written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import cache, process
from harness.deadline import Deadline
from harness.errors import HarnessError, HostError

#: What is said to every git of ours, in place of the user's and the system's configuration (git-config(1)).
#: Nothing is collected, for nothing is referred to; a monitor of the user's is a program that we do not start.
SETTINGS = {
    "safe.directory": "*",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    # In the user's home there may be some without any configuration (gitignore(5), gitattributes(5)).
    "core.excludesFile": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    # The other half of a split index lies where only the user's git looks for it.
    "core.splitIndex": "false",
    "core.fsync": "none",
    # Most of 1.8 GB is read once or never: 363 MB at once in a few packs cost no more time than loose files.
    "core.compression": "1",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "checkout.workers": "0",
    "advice.addEmbeddedRepo": "false",
    "advice.detachedHead": "false",
}


#: More changed files than anybody resolves by hand are not looked through for conflicts.
MANY = 5000
#: What would have git look at another repository than the one it is in (git(1)); a hook of git's has it all set.
PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE")


class GitError(HarnessError):
    """git refused; ``cause`` is its first complaint."""


def environment(**variables: str | Path) -> dict[str, str]:
    """The user's environment without its GIT_*, and with SETTINGS; ``variables`` come on top."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept |= {"LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    # A partial clone of the user's would fetch what it lacks, and keep it (git-clone(1), --filter).
    kept |= {"GIT_ALLOW_PROTOCOL": "none"}
    # So that a repository of the user's is only read: no index is refreshed on the way.
    kept |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_COUNT": str(len(SETTINGS))}
    for number, (name, value) in enumerate(SETTINGS.items()):
        kept |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return kept | {name: str(value) for name, value in variables.items()}


def configured(name: str, deadline: Deadline, cwd: Path | None = None, *more: str) -> str:
    """What the user's own configuration says in ``cwd``: the one place where it is asked. Empty if it is not set."""
    env = {key: value for key, value in os.environ.items() if key not in PLACES}
    return process.run(["git", "config", *more, name], deadline, cwd=cwd, env=env).stdout.strip()


def tried(
    words: Sequence[str | Path], deadline: Deadline, env: Mapping[str, str], cwd: Path | None = None,
    given: bytes | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """How ``git WORDS`` ended. Raises HostError if the disk is full, there is no git, or no time."""
    done = process.run(["git", *words], deadline, cwd=cwd, env=env, given=given)
    if done.returncode:
        cache.full(done.stdout + done.stderr, cache.root())
    return done


def run(
    words: Sequence[str | Path], deadline: Deadline, env: Mapping[str, str], cwd: Path | None = None,
    given: bytes | None = None,
) -> str:  # fmt: skip
    """What ``git WORDS`` printed. Raises GitError if it fails, HostError if the disk is full or there is no git."""
    done = tried(words, deadline, env, cwd, given)
    if done.returncode == 0:
        return done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:"))]
    cause = next(iter(complaints or done.stderr.splitlines()), f"exit status {done.returncode}")
    raise GitError(f"git {words[0]} failed", cause=cause)


@dataclass(frozen=True)
class Repository:
    """A bare repository in the cache. The objects of others are borrowed by way of its alternates, never copied.

    git writes no object that it has, but it gives the file that has it a new date, also where it is borrowed (git:
    object-file.c, freshen_loose_object). So objects are written by a git that does not see those of others.
    """

    path: Path

    @property
    def written(self) -> Path:
        """Where objects are written."""
        return self.path / "written"

    def make(self, borrowed: Path | None, deadline: Deadline, form: str = "sha1") -> None:
        """Be there, with the objects of the directory ``borrowed`` at hand. Raises HostError, GitError."""
        if not (self.path / "HEAD").is_file():
            with cache.scratch("git") as scratch:
                made = scratch / "repository"
                run(["init", "--quiet", "--bare", f"--object-format={form}", made], deadline, environment())
                cache.publish(made, self.path)
        lines = [str(path).replace("\\", "\\\\").replace('"', '\\"') for path in (self.written, borrowed) if path]
        text = "".join(f'"{line}"\n' for line in lines).encode(errors="surrogateescape")
        alternates = self.path / "objects/info/alternates"
        with cache.writing(self.path):
            self.written.mkdir(exist_ok=True)
            if not alternates.is_file() or alternates.read_bytes() != text:  # others may be reading it
                cache.write(alternates, text)

    def git(
        self, *words: str | Path, deadline: Deadline, work: Path | None = None, index: Path | None = None,
        writes: bool = False, given: bytes | None = None,
    ) -> str:  # fmt: skip
        """``git WORDS`` on it, with another work tree and index if need be. Raises GitError, HostError.

        What ``writes`` objects sees only those that were written here.
        """
        variables: dict[str, str | Path] = {"GIT_DIR": self.path}
        # A bare repository has no work tree unless it is told of one.
        variables |= {"GIT_WORK_TREE": work} if work else {}
        variables |= {"GIT_INDEX_FILE": index} if index else {}
        variables |= {"GIT_OBJECT_DIRECTORY": self.written} if writes else {}
        return run(words, deadline, environment(**variables), work, given)

    def bring(self, oids: Iterable[str], deadline: Deadline) -> None:
        """Have these objects where git sees them when it writes. Raises HostError, also if one is nowhere."""
        listed = "".join(f"{oid}\n" for oid in dict.fromkeys(oids)).encode()
        asked = ("cat-file", "--batch-check=%(objectname)")
        seen = self.git(*asked, deadline=deadline, writes=True, given=listed).splitlines()
        if absent := [line.split()[0] for line in seen if line.endswith(" missing")]:
            with cache.writing(self.written):
                (self.written / "pack").mkdir(exist_ok=True)
            words = ("pack-objects", "-q", "--window=0", self.written / "pack/pack")
            try:
                self.git(*words, deadline=deadline, given="".join(f"{oid}\n" for oid in absent).encode())
            except GitError as error:
                what = "the tree's repository lacks some of its files"
                hint = "if it is a partial clone, fetch all of it first: git fetch --refetch --no-filter"
                raise HostError(what, cause=error.cause, hint=hint) from error

    def conflict(self, old: str, new: str, deadline: Deadline) -> str:
        """The first line of a merge conflict, with file and number, in what differs in ``new``; empty if none is seen.

        Only a file with both ends of one counts. Raises GitError, HostError.
        """
        words = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=AMT", old, new]
        names = [name for name in self.git(*words, deadline=deadline).split("\0") if name]
        if not 0 < len(names) <= MANY:
            return ""
        words = ["--literal-pathspecs", "grep", "-I", "-n", "--all-match", "-e", "^<<<<<<< ", "--or", "-e", "^>>>>>>> "]
        with suppress(GitError):  # nothing found
            first = self.git(*words, new, "--", *names, deadline=deadline).partition("\n")[0]
            where, _, text = first.removeprefix(f"{new}:").partition(":<")
            return f"{where}: <{text}"
        return ""


@dataclass(frozen=True)
class Checkout:
    """A repository of the user's: only looked at."""

    #: Its top, None if it is bare.
    top: Path | None
    directory: Path
    objects: Path
    index: Path
    #: What is ignored in this clone only.
    exclude: Path
    form: str

    @classmethod
    def of(cls, path: Path, deadline: Deadline) -> Checkout | None:
        """The one whose top, or whose bare directory, is ``path``; None if there is none. Raises HostError.

        None, too, if its path is no text of one line: then it is a directory as any other.
        """
        words = ["rev-parse", "--path-format=absolute", "--show-object-format", "--is-bare-repository"]
        words += ["--git-dir", "--git-path", "objects", "--git-path", "index", "--git-path", "info/exclude"]
        try:
            form, bare, *paths = run(words, deadline, environment(), cwd=path).splitlines()
            directory, objects, index, exclude = map(Path, paths)
            if bare == "true":
                return cls(None, directory, objects, index, exclude, form) if directory.samefile(path) else None
            top = Path(run(["rev-parse", "--show-toplevel"], deadline, environment(), cwd=path).rstrip("\n"))
            # What lies deep in somebody else's repository is no checkout.
            return cls(top, directory, objects, index, exclude, form) if top.samefile(path) else None
        except (GitError, ValueError, FileNotFoundError):
            return None

    def git(self, *words: str | Path, deadline: Deadline) -> str:
        """``git WORDS`` that only read. Raises GitError, HostError."""
        return run(words, deadline, environment(GIT_DIR=self.directory))

    def ignored(self, deadline: Deadline) -> str:
        """The patterns that the user's own settings add to the .gitignore files (gitignore(5))."""
        # What it ignores is no part of the tree.
        asked = configured("core.excludesFile", deadline, self.top, "--type=path")
        home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        files = (self.exclude, Path(asked or f"{home}/git/ignore").expanduser())
        return "".join(file.read_text(errors="surrogateescape") + "\n" for file in files if file.is_file())

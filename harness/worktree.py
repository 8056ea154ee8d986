# SPDX-License-Identifier: GPL-2.0-only
"""Where patches are applied: a repository of the cache with just the files that a series touches.

git-am(1) works there as in a whole tree, and so do people, and nothing has to be written but those files. Each of its
commits is grown into a whole tree afterwards. It has the objects of the tree's own repository, of which it sees only
those that were written there: see git.Repository.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness import cache, paths
from harness.deadline import Deadline
from harness.diff import unquote
from harness.git import SETTINGS, environment, run, tried
from harness.series import Patch, Series
from harness.tree import Tree

#: Who commits. The same patches on the same tree are the same commits.
IDENTITY = {
    f"GIT_{role}_{fact}": value
    for role in ("AUTHOR", "COMMITTER")
    for fact, value in {"NAME": "nullfs-harness", "EMAIL": "nullfs-harness", "DATE": "1000000000 +0000"}.items()
}
#: For people who work there, in place of their own settings. No git of theirs may remove what it does not know.
CONFIG = """\
[core]
\trepositoryFormatVersion = 1
[extensions]
\tpreciousObjects = true
[user]
\tname = nullfs-harness
\temail = nullfs-harness
[commit]
\tgpgSign = false
[apply]
\twhitespace = nowarn
"""
#: What editors and git-apply(1) leave beside a file.
LEFT = "*.rej\n*.orig\n*~\n.*.sw?\n"
#: How many paths one git is told of, and how many files may have been the one that is gone.
AT_ONCE = 500
CANDIDATES = 400
MARKER = r"^(<{7}|>{7}|\|{7})( |$)"


@dataclass(frozen=True)
class Entry:
    """What a tree has at a path: a file, a link, a directory ("040000")."""

    mode: str
    oid: str
    path: str


def listed(tree: Tree, names: Sequence[str], deadline: Deadline, *, deep: bool = False) -> Iterator[Entry]:
    """What is at these paths, or, ``deep``, in these directories; none means all. Raises GitError, HostError."""
    wanted = {*names}
    for at in range(0, len(names) or 1, AT_ONCE):
        words = ["--literal-pathspecs", "ls-tree", "--full-tree", *(["-r"] if deep else []), "--", tree.oid]
        for line in tree.repository.git(*words, *names[at : at + AT_ONCE], deadline=deadline).splitlines():
            entry = _entry(line)
            # Of a directory, and a file in it, git lists all that is in there.
            if deep or entry.path in wanted:
                yield entry


def _entry(line: str) -> Entry:
    facts, _, path = line.partition("\t")
    mode, _, oid = facts.split()
    return Entry(mode, oid, unquote(path))


def first(series: Series) -> dict[str, str]:
    """The files that a series expects in a tree, each with the abbreviated id of its blob, if that is known."""
    found: dict[str, str] = {}
    made: set[str] = set()
    for patch in series.patches:
        for change in patch.changes:
            if change.old is not None and change.old not in made:
                found.setdefault(change.old, change.old_blob)
        made |= {change.new for change in patch.changes if change.new is not None}
    return found


def needed(tree: Tree, series: Series, deadline: Deadline) -> list[Entry]:
    """The files of the tree that git has to see when it applies the series.

    Those it names, what lies where it wants a directory, attributes, and what a file that is gone may be called now.
    """
    named = [path for patch in series.patches for path in patch.files]
    tops = [top for path in named for top in paths.above(path)]
    attributes = [f"{top}/.gitattributes" for top in tops]
    wanted = list(dict.fromkeys([*named, *tops, ".gitattributes", *attributes]))
    found = {entry.path: entry for entry in listed(tree, wanted, deadline)}
    for entry in [found[path] for path in named if path in found]:
        if entry.mode == "040000":
            found |= {below.path: below for below in listed(tree, [entry.path], deadline, deep=True)}
    if gone := [path for path in first(series) if path not in found]:
        everything = [entry for entry in listed(tree, [], deadline, deep=True) if entry.mode.startswith("100")]
        for path in gone:
            found |= {entry.path: entry for entry in _alike(path, everything)}
    return [entry for entry in found.values() if entry.mode != "040000"]


def _alike(path: str, everything: list[Entry]) -> list[Entry]:
    """The files that ``path`` may have become: of the same name, else in the same directory and of the same kind."""
    gone = PurePosixPath(path)
    names = [entry for entry in everything if entry.path.rpartition("/")[2] == gone.name]
    near = (str(gone.parent), str(gone.with_suffix("")))
    kind = [entry for entry in everything if entry.path.endswith(gone.suffix)]
    beside = [entry for entry in kind if (entry.path.rpartition("/")[0] or ".") in near]
    return [*names, *beside][:CANDIDATES]


@dataclass(frozen=True)
class Worktree:
    """The repository at ``top``, for patches on ``tree``."""

    top: Path
    tree: Tree

    @property
    def _own(self) -> Path:
        return self.top / ".git"

    @property
    def stopped(self) -> bool:
        """Whether git-am(1) has stopped there, and not gone on."""
        return (self._own / "rebase-apply").is_dir()

    def make(self, entries: Sequence[Entry], deadline: Deadline) -> str:
        """Be there anew, with these files, and nothing else; its first commit. Raises GitError, HostError."""
        with cache.writing(self.top):
            shutil.rmtree(self.top, ignore_errors=True)
            self.top.mkdir(parents=True)
        form = "sha256" if len(self.tree.oid) == 64 else "sha1"
        words = ("init", "--quiet", "--template=", "--initial-branch=series", f"--object-format={form}", self.top)
        run(words, deadline, environment())
        with cache.writing(self.top):
            shutil.rmtree(self._own / "objects")
            (self._own / "objects").symlink_to(os.path.relpath(self.tree.repository.written, self._own))
            with (self._own / "config").open("a") as handle:
                handle.write(CONFIG)
                for name, value in SETTINGS.items():
                    section, _, key = name.partition(".")
                    handle.write(f"[{section}]\n\t{key} = {value}\n")
            (self._own / "info").mkdir(exist_ok=True)
            (self._own / "info/exclude").write_text(LEFT)
        self.tree.repository.bring([entry.oid for entry in entries if entry.mode != "160000"], deadline)
        lines = "".join(f"{entry.mode} {entry.oid} 0\t{entry.path}\0" for entry in entries)
        self.git("update-index", "-z", "--index-info", deadline=deadline, given=lines.encode(errors="surrogateescape"))
        self.commit(f"{self.tree.spec}: what the series touches", "", deadline)
        self.git("checkout-index", "--all", "--quiet", "--index", deadline=deadline)
        return self.head(deadline)

    def tried(
        self, *words: str | Path, deadline: Deadline, given: bytes | None = None, **more: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """How ``git WORDS`` ended there. Raises HostError."""
        # Not found by its place: a cache may lie in somebody's repository.
        env = environment(GIT_DIR=self._own, GIT_WORK_TREE=self.top, **{**IDENTITY, **more})
        return tried(words, deadline, env, self.top, given)

    def git(self, *words: str | Path, deadline: Deadline, given: bytes | None = None, **more: str | Path) -> str:
        """What ``git WORDS`` printed there. Raises GitError, HostError."""
        env = environment(GIT_DIR=self._own, GIT_WORK_TREE=self.top, **{**IDENTITY, **more})
        return run(words, deadline, env, self.top, given)

    def head(self, deadline: Deadline) -> str:
        """The commit that is checked out. Raises GitError, HostError."""
        return self.git("rev-parse", "--verify", "HEAD^{commit}", deadline=deadline).strip()

    def commit(self, message: str, parent: str, deadline: Deadline) -> str:
        """Commit what is in the index, upon ``parent``. Raises GitError, HostError."""
        tree = self.git("write-tree", deadline=deadline).strip()
        words = ["commit-tree", *(["-p", parent] if parent else []), "-m", message, tree]
        made = self.git(*words, deadline=deadline).strip()
        self.git("update-ref", "HEAD", made, deadline=deadline)
        return made

    def reset(self, commit: str, deadline: Deadline) -> None:
        """Be as it was at that commit, whatever a killed run left. Raises GitError, HostError."""
        shutil.rmtree(self._own / "rebase-apply", ignore_errors=True)
        for lock in self._own.rglob("*.lock"):
            lock.unlink(missing_ok=True)
        (self._own / "index").unlink(missing_ok=True)
        self.git("reset", "--quiet", "--hard", commit, deadline=deadline)
        self.git("clean", "-ffdxq", deadline=deadline)

    def read(self, path: str, deadline: Deadline, commit: str = "HEAD") -> str | None:
        """The text of a file as it was committed; None if there is none. Raises HostError."""
        done = self.tried("cat-file", "blob", f"{commit}:{path}", deadline=deadline)
        return None if done.returncode else done.stdout

    def text(self, path: str) -> str | None:
        """The text of a file as it lies there, what is not UTF-8 by ``surrogateescape``; None if there is none."""
        file = self.top / path
        if file.is_symlink() or not file.is_file():
            return None
        return file.read_bytes().decode("utf-8", "surrogateescape")

    def reject(self, path: str, text: str) -> None:
        """Leave a part of a patch beside the file that it is for, as git-apply(1) does. Raises HostError."""
        file = self.top / f"{path}.rej"
        with cache.writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, errors="surrogateescape")

    def alike(self, path: str, deadline: Deadline) -> dict[str, str]:
        """The texts of the files there that ``path``, which is gone, may be now. Raises GitError, HostError."""
        listing = self.git("ls-tree", "-r", "HEAD", deadline=deadline).splitlines()
        found = [_entry(line) for line in listing if line.startswith("100")]
        return {entry.path: (self.top / entry.path).read_text(errors="replace") for entry in _alike(path, found)}

    def extracted(self, patch: Patch, place: Path, deadline: Deadline) -> Path:
        """The diff in the mail, as git-am(1) takes it out. Raises GitError, HostError."""
        # What the lines of the mail end with is no part of the diff; it is, where only some lines end with it.
        mail = patch.mail
        if mail.partition(b"\n")[0].endswith(b"\r"):
            mail = mail.replace(b"\r\n", b"\n")
        found = place / f"{patch.n:04}.diff"
        with cache.writing(place):
            place.mkdir(exist_ok=True)
            found.with_suffix(".mail").write_bytes(mail)
        self.git("mailinfo", place / "message", found, deadline=deadline, given=mail)
        return found

    def am(self, diff: Path, deadline: Deadline) -> subprocess.CompletedProcess[str]:
        """How git-am(1) ended with the mail of that diff. Raises HostError."""
        words = ("--3way", "--keep-cr", "--no-scissors", "--no-gpg-sign", "--whitespace=nowarn", "--patch-format=mbox")
        return self.tried("am", *words, diff.with_suffix(".mail"), deadline=deadline)

    def has(self, diffs: Iterable[Path], deadline: Deadline) -> bool:
        """Whether these are in it: git can take them off, one after the other. Raises HostError."""
        index = self.top.parent / "index"
        with cache.writing(index):
            shutil.copyfile(self._own / "index", index)
        words = ("apply", "--cached", "--reverse")
        return not any(self.tried(*words, diff, deadline=deadline, GIT_INDEX_FILE=index).returncode for diff in diffs)

    def grown(self, commits: Sequence[str], deadline: Deadline) -> list[str]:
        """The whole trees of these commits, each upon the one before it. Raises GitError, HostError."""
        who = "committer nullfs-harness <nullfs-harness> 1000000000 +0000\ndata 0\n"
        # One portion a commit: its first line, what goes, what comes.
        begin = "commit refs/harness/steps\nmark :{}\n" + who
        stream = [[begin.format(1), f'M 040000 {self.tree.oid} ""\n']]
        words = ("diff-tree", "--stdin", "-r", "--raw", "--no-abbrev", "--no-renames")
        listing = self.git(*words, deadline=deadline, given="".join(f"{commit}\n" for commit in commits).encode())
        for line in listing.splitlines():
            facts, _, path = line.partition("\t")
            if not path:
                stream.append([begin.format(len(stream) + 1)])
                continue
            _, mode, _, oid, status = facts.split()
            if status == "D":
                stream[-1].insert(1, f"D {path}\n")
            else:
                stream[-1].append(f"M {mode} {oid} {path}\n")
        marks = self._own / "harness-marks"
        alternate = str(self.tree.repository.path / "objects").replace("\\", "\\\\").replace('"', '\\"')
        # It looks at what others have, and leaves its date alone: it writes a pack, and never a loose object.
        importing = ("-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force", f"--export-marks={marks}")
        more = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{alternate}"'}
        self.git(*importing, deadline=deadline, given="\n".join(map("".join, stream)).encode(), **more)
        known = dict(line.split() for line in marks.read_text().splitlines())
        asked = "".join(f"{known[f':{number}']}^{{tree}}\n" for number in range(2, len(stream) + 1))
        trees = ("cat-file", "--batch-check=%(objectname)")
        # What others have in a pack, it has not written again.
        return self.tree.repository.git(*trees, deadline=deadline, given=asked.encode()).split()

    def markers(self, commit: str, tree: str, deadline: Deadline) -> str:
        """The first line of a merge conflict that ``tree`` has and ``commit`` has not, as file:line: text."""
        words = ("diff-tree", "-r", "--name-only", "--no-renames", "--diff-filter=AMT", commit, tree)
        names = [unquote(line) for line in self.git(*words, deadline=deadline).splitlines()]
        for name in names:
            old = set((self.read(name, deadline, commit) or "").splitlines())
            for number, line in enumerate((self.read(name, deadline, tree) or "").splitlines(), start=1):
                if re.match(MARKER, line) and line not in old:
                    return f"{name}:{number}: {line}"
        return ""


def lend(tree: Tree, series: Series, deadline: Deadline) -> None:
    """Have the blobs that the patches were made from, as far as the tree's repository has them, for 3-way merges."""
    blobs = {change.old_blob for patch in series.patches for change in patch.changes if change.old_blob.strip("0")}
    asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    words = ("-c", "core.disambiguate=blob", "cat-file", "--batch-check=%(objectname) %(objecttype)")
    found = (line.split() for line in tree.repository.git(*words, deadline=deadline, given=asked).splitlines())
    tree.repository.bring([oid for oid, kind, *_ in found if kind == "blob"], deadline)

# SPDX-License-Identifier: GPL-2.0-only
"""Kernel source trees: what is in one now, as a git tree object, and a place in the cache to build it.

Whatever a tree comes as, its files become objects of a repository of ours, which borrows those that a checkout's own
repository has. So two trees are the same if their names, modes and contents are, and the user's is only ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import cache, process
from harness.deadline import Deadline
from harness.errors import HostError, RequestError, TreeError
from harness.git import Checkout, GitError, Repository

#: Files that every kernel source tree has had since Linux 2.6.
MARKS = ("Kbuild", "Kconfig", "Makefile", "scripts/kconfig/merge_config.sh")
#: Archives that tar(1) unpacks by their names.
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst")
PACKERS = "apt-get install xz-utils bzip2 zstd"
#: What a build in the tree itself leaves there, where no .gitignore can be trusted: Debian's ignores all of the tree.
PRODUCTS = (
    *("**/*.o", "**/*.a", "**/*.s", "**/*.ko", "**/*.mod", "**/*.mod.c", "**/*.order", "**/.*.cmd", "**/.*.d"),
    *(".config", ".config.old", "vmlinux", "vmlinux.*", "System.map", "Module.symvers", "modules.builtin*", ".version"),
    *("**/.git", ".tmp_*", ".tmp_*/**", "include/config/**", "include/generated/**", "arch/*/include/generated/**"),
    *("**/*.tab.[ch]", "**/*.lex.c", "scripts/mod/devicetable-offsets.h", "tools/objtool/objtool", "tools/**/fixdep"),
)
#: What a build in the tree itself leaves as well. All else that it made has a .NAME.cmd beside it.
BUILT = "include/config/auto.conf"


@dataclass(frozen=True)
class Tree:
    """A tree as it was when it was looked at. ``oid``: the git tree object with all its files."""

    spec: str
    oid: str
    #: As its Makefile says, without what a configuration adds.
    release: str
    #: "v7.3-rc1 (dirty)", or nothing where it is no git repository.
    described: str
    #: Where its objects and its checkouts are.
    home: Path

    @property
    def repository(self) -> Repository:
        """What has its objects."""
        return Repository(self.home / "repository")

    @property
    def short(self) -> str:
        """What names it on one word: the commit, if it is one, else its content."""
        return self.described if re.fullmatch(r"[0-9a-f]{12}", self.described) else self.oid[:12]

    def read(self, path: str, deadline: Deadline) -> str:
        """The text of one of its files. Raises GitError, HostError."""
        return self.repository.git("cat-file", "blob", f"{self.oid}:{path}", deadline=deadline)


def named(words: str) -> Path:
    """The path that is meant; ~NAME is somebody's home directory, or a name like any other."""
    with suppress(RuntimeError):
        return Path(words).expanduser()
    return Path(words)


def split(spec: str) -> tuple[Path, str]:
    """The path and the revision in ``PATH[@REVISION]``; a path that exists is one, whatever is in its name."""
    path = named(spec)
    at = [match.start() for match in re.finditer("@", spec)]
    if not path.exists():
        for place in at:
            if (before := named(spec[:place])).is_dir():
                return before, spec[place + 1 :]
    return path, ""


def is_tree(path: Path) -> bool:
    """Whether this is a directory that looks like an unpacked kernel tree, or an archive that could be one."""
    if path.is_dir():
        return (path / "Kbuild").is_file() and (path / "Makefile").is_file()
    return path.is_file() and path.name.endswith(ARCHIVES)


def snapshot(spec: str, deadline: Deadline, at: str = "") -> Tree:
    """The tree that ``spec`` names, as it is now, or as it is ``at`` a revision.

    Nothing but what changed since the last time is read again: a second or two, and half a minute to a minute the
    first time without git, in which all files become objects. Raises RequestError if it is no tree, HostError.
    """
    path, revision = split(spec)
    if at:
        spec, revision = f"{path}@{at}", at
    checkout, home = opened(path, deadline)
    with cache.locked(deadline, "tree", home.name):
        with suppress(OSError):
            os.utime(home)
        if checkout is None:
            if revision:
                raise RequestError(f"{path} is no git repository, so it has no revision {revision}")
            oid = _unpacked(home, path, deadline) if path.is_file() else _directory(home, path, deadline)
            return finished(home, spec, oid, "", deadline)
        with cache.writing(home):
            Repository(home / "repository").make(checkout.objects, deadline, checkout.form)
        if revision:
            return finished(home, spec, _revision(checkout, path, revision, deadline), revision, deadline)
        if checkout.top is None:
            raise RequestError(f"{path} is a bare repository", hint=f"say which revision: {path}@master")
        return _worktree(home, spec, checkout, deadline)


def opened(path: Path, deadline: Deadline) -> tuple[Checkout | None, Path]:
    """The checkout at ``path``, if that is one, and where in the cache its tree is. Raises RequestError, HostError."""
    if not path.exists():
        raise RequestError(f"{path} does not exist", hint="a tree is a directory, a .tar.xz, or PATH@REVISION")
    if shutil.which("git") is None:
        raise HostError("git is not installed, and the harness keeps its trees with it", hint="apt-get install git")
    checkout = Checkout.of(path, deadline) if path.is_dir() else None
    # One for each kind of object that has ever been at that path: a repository has but one.
    place = os.fsencode(path.resolve()) + (checkout.form if checkout else "").encode()
    return checkout, cache.directory("trees", hashlib.sha256(place).hexdigest()[:16])


def finished(home: Path, spec: str, oid: str, described: str, deadline: Deadline) -> Tree:
    """The Tree of that object, with its release. Raises RequestError if it has none, so that it is no kernel tree."""
    tree = Tree(spec, oid, "", described, home)
    _demand(spec, tree.repository.git("ls-tree", "--name-only", oid, *MARKS, deadline=deadline).splitlines())
    text = tree.read("Makefile", deadline)
    parts = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", text, re.MULTILINE))
    if not {"VERSION", "PATCHLEVEL"} <= parts.keys():
        raise TreeError(f"{spec} is not a kernel source tree: its Makefile has no VERSION and PATCHLEVEL")
    release = ".".join(parts[name] for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL") if parts.get(name))
    return Tree(spec, oid, release + parts.get("EXTRAVERSION", ""), described, home)


def _demand(spec: str, there: list[str]) -> None:
    """Raise RequestError unless all of MARKS are ``there``."""
    if missing := [name for name in MARKS if name not in there]:
        raise TreeError(f"{spec} is not a kernel source tree: it has no {', '.join(missing)}")


def _revision(checkout: Checkout, path: Path, revision: str, deadline: Deadline) -> str:
    try:
        return checkout.git(
            "rev-parse", "--verify", "--end-of-options", f"{revision}^{{tree}}", deadline=deadline
        ).strip()
    except GitError as error:
        raise RequestError(f"{path} has no revision {revision!r}", cause=error.cause) from error


def _worktree(home: Path, spec: str, checkout: Checkout, deadline: Deadline) -> Tree:
    """A checkout as it lies there: with what is changed and new, without what git ignores."""
    assert checkout.top is not None
    repository, index = Repository(home / "repository"), home / "index"
    with cache.writing(home):
        (repository.path / "info").mkdir(exist_ok=True)
        (repository.path / "info/exclude").write_text(checkout.ignored(deadline), errors="surrogateescape")
    head = described = ""
    with suppress(GitError):  # no commit yet
        head = checkout.git("rev-parse", "--verify", "HEAD^{tree}", deadline=deadline).strip()
        described = checkout.git("rev-parse", "--short=12", "HEAD", deadline=deadline).strip()
    _follow(repository, checkout, index, deadline)
    oid = _added(repository, checkout.top, index, ["."], deadline, base=head)
    if head and oid != head:
        if conflict := repository.conflict(head, oid, deadline):
            hint = "resolve it, or name what is committed: PATH@HEAD"
            raise RequestError(f"{spec} has a merge conflict in it", cause=conflict, hint=hint)
        described += " (dirty)"
    return finished(home, spec, oid, described, deadline)


def _follow(repository: Repository, checkout: Checkout, index: Path, deadline: Deadline) -> None:
    """Make ``index`` the user's: what that knows of the files need not be read again.

    And only it tells what is tracked though it is ignored, and what is not there because the checkout is sparse.
    """
    theirs, copy, seen = checkout.index, index.with_name("theirs"), index.with_name("theirs.key")
    now = cache.file_key(theirs) if theirs.is_file() else ""
    with cache.writing(index):
        if not seen.is_file() or seen.read_text() != now:
            seen.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
            unlock(copy)
            if now:
                for half in theirs.parent.glob("sharedindex.*"):  # git-update-index(1), SPLIT INDEX
                    shutil.copyfile(half, repository.path / half.name)
                shutil.copyfile(theirs, copy)
                with suppress(GitError):  # some files have changed, or it is damaged: both are seen to later
                    # What the user's git shall believe to be unchanged is looked at here.
                    words = ["update-index", "-q", "--really-refresh"]
                    repository.git(*words, deadline=deadline, work=checkout.top, index=copy)
            seen.write_text(now)
        # What was new the last time is not tracked by that, and may be ignored now.
        index.unlink(missing_ok=True)
        if copy.is_file():
            shutil.copyfile(copy, index)


def _directory(home: Path, path: Path, deadline: Deadline) -> str:
    """A directory without git: all of it but what a build has left there."""
    _demand(str(path), [name for name in MARKS if (path / name).is_file()])
    repository = Repository(home / "repository")
    repository.make(None, deadline)
    return _added(repository, path, home / "index", _sources(path), deadline)


def _sources(top: Path) -> list[str]:
    """The words for git-add(1) that mean all files below ``top`` but what a build has left there."""
    names = [f":(exclude,glob){name}" for name in PRODUCTS]
    if (top / BUILT).is_file():
        made = (path.with_name(path.name[1:].removesuffix(".cmd")) for path in top.rglob(".*.cmd"))
        others = (path for path in made if path.suffix not in (".o", ".a", ".s", ".ko", ".mod"))
        names += [f":(exclude,literal){path.relative_to(top)}" for path in others]
    return ["--force", "--", ".", *names]


def _added(
    repository: Repository, work: Path, index: Path, what: list[str], deadline: Deadline, *, base: str = ""
) -> str:
    """The tree object of ``work``, whose ``index`` tells what has not changed since the last time.

    If that is of no use, what is tracked is taken from the tree object ``base``.
    """

    def added() -> str:
        # A file that is there counts, whatever the user's sparse checkout says (git-sparse-checkout(1)).
        words = ["-c", "core.bigFileThreshold=1", "-c", "core.sparseCheckout=true", "add", "--all", *what]
        repository.git(*words, deadline=deadline, work=work, index=index, writes=True)
        words = ["write-tree", "--missing-ok"]  # what has not changed may be borrowed
        return repository.git(*words, deadline=deadline, work=work, index=index, writes=True).strip()

    try:
        unlock(index)
        try:
            return added()
        except GitError:
            # It is damaged, or names objects that the user's repository no longer has.
            index.unlink(missing_ok=True)
            if base:
                repository.git("read-tree", base, deadline=deadline, work=work, index=index)
            return added()
    except GitError as error:
        raise HostError(f"{work} cannot be read as a tree", cause=error.cause) from error


def unlock(index: Path) -> None:
    """Remove the lock that a git of a killed run left; who calls this holds our own."""
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)


def _unpacked(home: Path, archive: Path, deadline: Deadline) -> str:
    """What is in an archive, unpacked once as long as it is the same file."""
    identity = cache.file_key(archive)
    known = home / "archive.json"
    with suppress(OSError, ValueError, TypeError):
        seen, oid = json.loads(known.read_text())
        if seen == identity:
            return str(oid)
    repository = Repository(home / "repository")
    repository.make(None, deadline)
    with cache.scratch("tree") as scratch, cache.writing(scratch):
        inside = scratch / "inside"
        inside.mkdir()
        done = process.run(
            ["tar", "--extract", "--no-same-owner", "--file", archive.absolute(), "--directory", inside],
            deadline,
            env={**os.environ, "LC_ALL": "C", "TAR_OPTIONS": ""},
        )
        if done.returncode:
            cache.full(done.stderr, scratch)
            cause = next(filter(None, done.stderr.splitlines()), f"tar ended with status {done.returncode}")
            if "Cannot exec" in cause:
                raise HostError(f"{archive} cannot be unpacked", cause=cause, hint=PACKERS)
            raise RequestError(f"{archive} cannot be unpacked", cause=cause)
        tops = list(inside.iterdir())
        if len(tops) != 1 or not is_tree(tops[0]):
            names = ", ".join(sorted(path.name for path in tops)[:5]) or "nothing"
            raise RequestError(f"{archive} is not an archive of one kernel source tree", cause=f"in it: {names}")
        _demand(str(archive), [name for name in MARKS if (tops[0] / name).is_file()])
        index = scratch / "index"
        oid = _added(repository, tops[0], index, _sources(tops[0]), deadline)
        # What was unpacked is the first checkout: to write it once more would take as long again.
        slot = home / "slots" / "0"
        if not slot.exists():
            made = scratch / "slot"
            made.mkdir()
            repository.git("clean", "-ffdxq", deadline=deadline, work=tops[0], index=index)
            tops[0].rename(made / "source")
            index.rename(made / "index")
            (made / "oid").write_text(oid)
            cache.publish(made, slot)
    cache.write(known, json.dumps([identity, oid]).encode())
    return oid

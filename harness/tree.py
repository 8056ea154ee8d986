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
from harness.errors import HostError, RequestError
from harness.git import Checkout, GitError, Repository

#: Files that every kernel source tree has had since Linux 2.6.
MARKS = ("Kbuild", "Kconfig", "Makefile", "scripts/kconfig/merge_config.sh")
#: Archives that tar(1) unpacks by their names.
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst")
#: What a build in the tree itself leaves there, where no .gitignore can be trusted: Debian's ignores all of the tree.
PRODUCTS = (
    *("**/*.o", "**/*.a", "**/*.ko", "**/*.mod", "**/*.mod.c", "**/*.order", "**/.*.cmd", "**/.git", "Module.symvers"),
    *(".config", ".config.old", "vmlinux", "vmlinux.*", "System.map", ".tmp_*", "include/config", "include/generated"),
    *("arch/*/include/generated", "arch/*/boot/bzImage", "arch/*/boot/Image", "arch/*/boot/Image.gz"),
)
#: More changed files than anybody resolves by hand are not looked through for conflicts.
MANY = 5000


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


def split(spec: str) -> tuple[Path, str]:
    """The path and the revision in ``PATH[@REVISION]``; a path that exists is one, whatever is in its name."""
    path = Path(spec).expanduser()
    at = [match.start() for match in re.finditer("@", spec)]
    if not path.exists():
        for place in at:
            if (before := Path(spec[:place]).expanduser()).is_dir():
                return before, spec[place + 1 :]
    return path, ""


def is_tree(path: Path) -> bool:
    """Whether this is a directory that looks like an unpacked kernel tree, or an archive that could be one."""
    if path.is_dir():
        return (path / "Kbuild").is_file() and (path / "Makefile").is_file()
    return path.is_file() and path.name.endswith(ARCHIVES)


def snapshot(spec: str, deadline: Deadline) -> Tree:
    """The tree that ``spec`` names, as it is now. Raises RequestError if it is none, HostError.

    Nothing but what changed since the last time is read again (0.4 s where nothing did; 30 s the first time without
    git).
    """
    path, revision = split(spec)
    if not path.exists():
        raise RequestError(f"{path} does not exist", hint="a tree is a directory, a .tar.xz, or PATH@REVISION")
    if shutil.which("git") is None:
        raise HostError("git is not installed, and the harness keeps its trees with it", hint="apt-get install git")
    checkout = Checkout.of(path, deadline) if path.is_dir() else None
    home = cache.directory("trees", hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16])
    with cache.locked(deadline, "tree", home.name):
        with suppress(OSError):
            os.utime(home)
        if checkout is None:
            if revision:
                raise RequestError(f"{path} is no git repository, so it has no revision {revision}")
            oid = _unpacked(home, path, deadline) if path.is_file() else _directory(home, path, deadline)
            return _finished(home, spec, oid, "", deadline)
        with cache.writing(home):
            Repository(home / "repository").make(checkout.objects, deadline, checkout.form)
        if revision:
            oid, commit = _revision(checkout, path, revision, deadline), revision
            return _finished(home, spec, oid, commit, deadline)
        if checkout.top is None:
            raise RequestError(f"{path} is a bare repository", hint=f"say which revision: {path}@master")
        return _worktree(home, spec, checkout, deadline)


def _finished(home: Path, spec: str, oid: str, described: str, deadline: Deadline) -> Tree:
    """With the release. Raises RequestError if it has none, so that it is no kernel tree."""
    tree = Tree(spec, oid, "", described, home)
    listed = tree.repository.git("ls-tree", "--name-only", oid, *MARKS, deadline=deadline).splitlines()
    if missing := [name for name in MARKS if name not in listed]:
        raise not_a_tree(spec, missing)
    text = tree.read("Makefile", deadline)
    parts = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", text, re.MULTILINE))
    if not {"VERSION", "PATCHLEVEL"} <= parts.keys():
        raise RequestError(f"{spec} is not a kernel source tree: its Makefile has no VERSION and PATCHLEVEL")
    release = ".".join(parts[name] for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL") if parts.get(name))
    return Tree(spec, oid, release + parts.get("EXTRAVERSION", ""), described, home)


def not_a_tree(spec: str, missing: list[str]) -> RequestError:
    """The error for what has not all the files that a kernel tree has."""
    return RequestError(f"{spec} is not a kernel source tree: it has no {', '.join(missing)}")


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
        if not index.exists() and checkout.index.exists():
            # What the user's index knows of the files need not be read again.
            shutil.copyfile(checkout.index, index)
    oid = _added(repository, checkout.top, index, ["."], deadline)
    try:
        head = checkout.git("rev-parse", "--verify", "HEAD^{tree}", deadline=deadline).strip()
        described = checkout.git("rev-parse", "--short=12", "HEAD", deadline=deadline).strip()
    except GitError:  # no commit yet
        return _finished(home, spec, oid, "", deadline)
    if oid != head:
        _refuse_conflicts(repository, spec, head, oid, deadline)
        described += " (dirty)"
    return _finished(home, spec, oid, described, deadline)


def _directory(home: Path, path: Path, deadline: Deadline) -> str:
    """A directory without git: all of it but what a build has left there."""
    if missing := [name for name in MARKS if not (path / name).is_file()]:
        raise not_a_tree(str(path), missing)
    repository = Repository(home / "repository")
    repository.make(None, deadline)
    return _added(
        repository,
        path,
        home / "index",
        ["--force", "--", ".", *(f":(exclude,glob){name}" for name in PRODUCTS)],
        deadline,
    )


def _added(repository: Repository, work: Path, index: Path, what: list[str], deadline: Deadline) -> str:
    """The tree object of ``work``, whose ``index`` tells what has not changed since the last time."""
    words = ["-c", "core.bigFileThreshold=1", "add", "--all", *what]
    try:
        unlock(index)
        try:
            repository.git(*words, deadline=deadline, work=work, index=index, objects=repository.written)
        except GitError:
            # An index that was damaged, or that is one half of a split one: it saves time, and nothing else.
            index.unlink(missing_ok=True)
            repository.git(*words, deadline=deadline, work=work, index=index, objects=repository.written)
        # What is borrowed is missing there; the checkout will see whether it is elsewhere.
        words = ["write-tree", "--missing-ok"]
        return repository.git(*words, deadline=deadline, work=work, index=index, objects=repository.written).strip()
    except GitError as error:
        raise HostError(f"{work} cannot be read as a tree", cause=error.cause) from error


def unlock(index: Path) -> None:
    """Remove the lock that a git of a killed run left; who calls this holds our own."""
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)


def _refuse_conflicts(repository: Repository, spec: str, head: str, oid: str, deadline: Deadline) -> None:
    """Raise RequestError if a changed file has both ends of a merge conflict in it."""
    words = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=AMT", head, oid]
    names = [name for name in repository.git(*words, deadline=deadline).split("\0") if name]
    if not 0 < len(names) <= MANY:
        return
    words = ["grep", "-I", "-n", "--all-match", "-e", "^<<<<<<< ", "--or", "-e", "^>>>>>>> ", oid, "--", *names]
    with suppress(GitError):  # nothing found
        seen = [line.removeprefix(f"{oid}:") for line in repository.git(*words, deadline=deadline).splitlines()]
        if len(seen) > 1:
            where, _, text = seen[0].partition(":<")
            raise RequestError(
                f"{spec} has a merge conflict in it",
                cause=f"{where}: <{text}",
                hint="resolve it, or name what is committed: PATH@HEAD",
            )


def _unpacked(home: Path, archive: Path, deadline: Deadline) -> str:
    """What is in an archive, unpacked once as long as it is the same file."""
    status = archive.stat()
    identity = [status.st_size, status.st_mtime_ns, status.st_ino]
    known = home / "archive.json"
    with suppress(OSError, ValueError, TypeError):
        seen, oid = json.loads(known.read_text())
        if seen == identity:
            return str(oid)
    repository = Repository(home / "repository")
    repository.make(None, deadline)
    with cache.scratch("tree") as scratch, cache.writing(scratch):
        done = process.run(
            ["tar", "--extract", "--no-same-owner", "--file", archive.absolute(), "--directory", scratch],
            deadline,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode:
            cache.full(done.stderr, scratch)
            cause = next(iter(done.stderr.splitlines()), f"tar ended with status {done.returncode}")
            raise RequestError(f"{archive} cannot be unpacked", cause=cause)
        tops = [path for path in scratch.iterdir() if path.name != ".held"]
        if len(tops) != 1 or not is_tree(tops[0]):
            names = ", ".join(sorted(path.name for path in tops)[:5]) or "nothing"
            raise RequestError(f"{archive} is not an archive of one kernel source tree", cause=f"in it: {names}")
        if missing := [name for name in MARKS if not (tops[0] / name).is_file()]:
            raise not_a_tree(str(archive), missing)
        index = scratch / "index"
        oid = _added(repository, tops[0], index, ["--force", "--", "."], deadline)
        # What was unpacked is the first checkout: to write it once more would take as long again.
        slot = home / "slots" / "0"
        if not slot.exists():
            made = scratch / "slot"
            made.mkdir()
            tops[0].rename(made / "source")
            index.rename(made / "index")
            (made / "oid").write_text(oid)
            cache.publish(made, slot)
    cache.write(known, json.dumps([identity, oid]).encode())
    return oid

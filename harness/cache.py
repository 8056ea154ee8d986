# SPDX-License-Identifier: GPL-2.0-only
"""The one directory where everything the harness keeps lives. It can be deleted at any time."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.deadline import Deadline
from harness.errors import HostError

#: Moves the whole cache.
VARIABLE = "NULLFS_HARNESS_CACHE"
#: Seconds that another run may take to sweep what killed runs left behind.
SWEEPING = 60.0
#: Seconds between two looks at a lock that another run holds: at first, and at most.
PAUSES = (0.01, 0.5)
#: From linux/fcntl.h.
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def root() -> Path:
    """$NULLFS_HARNESS_CACHE, else $XDG_CACHE_HOME/nullfs-harness, else ~/.cache/nullfs-harness."""
    if named := os.environ.get(VARIABLE):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "nullfs-harness"


def keep_bytecode() -> None:
    """Have python keep compiled modules here, where the environment forbids it to keep them beside their sources.

    Many container images do. It costs more to compile the harness and pytest's versions of the checks than a guest.
    """
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(root() / "bytecode")


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn the errors of a full or closed disk into a HostError that names ``where``."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise
        raise HostError(
            f"cannot write to the cache below {where}",
            cause=error.strerror or str(error),
            hint=f"make room there (`rm -rf {root()}` loses nothing), or set {VARIABLE} to another directory",
        ) from error


def full(text: str, where: Path) -> None:
    """Raise the cache's own HostError if a program has printed that the disk is full."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            with writing(where):
                raise OSError(number, os.strerror(number))


def directory(*parts: str) -> Path:
    """A directory of the cache, made if it is not there. Raises HostError if it cannot be made."""
    path = root().joinpath(*parts)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(deadline: Deadline, *parts: str) -> Iterator[None]:
    """Hold the lock named by ``parts``: one process at a time makes a thing, the others wait for it.

    A free lock is had even after the deadline. Raises HostError when it passes while another run holds the lock.
    """
    lock = directory("locks") / "-".join(parts)
    with writing(lock), lock.open("w") as handle:
        pause, longest = PAUSES
        while not acquired(handle):
            if deadline.passed:
                raise HostError(
                    f"another run holds the lock {lock.name}",
                    cause=f"it did not let go of {lock} within {deadline.seconds:.0f} s",
                    hint="let that run finish, or end it (lslocks shows its process)",
                )
            time.sleep(min(pause, deadline.left()))
            pause = min(2 * pause, longest)
        yield


def acquired(handle: IO[str]) -> bool:
    """Take the lock on an open file, unless someone else has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A directory that is gone when the block is left.

    It is held by a lock, so that what a killed run left behind is known as such and is swept here.
    """
    base = directory("tmp")
    with locked(Deadline.after(SWEEPING), "tmp"):  # nobody sweeps what is just being made
        sweep(base)
        with writing(base):
            path = Path(tempfile.mkdtemp(prefix=prefix + "-", dir=base))
            held = (path / ".held").open("w")
        acquired(held)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        held.close()


def sweep(base: Path) -> None:
    """Remove the scratch directories whose owners are dead."""
    for path in base.iterdir():
        try:
            with (path / ".held").open("r+") as held:
                alive = not acquired(held)
        except OSError:
            alive = False  # killed before it could hold anything
        if not alive:
            shutil.rmtree(path, ignore_errors=True)


def file_key(path: Path) -> str:
    """A word that changes when a file is replaced or written."""
    status = path.stat()
    facts = (os.path.realpath(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def write(final: Path, data: bytes) -> Path:
    """Put ``data`` into a file of the cache in one step; an older one there is replaced. Raises HostError."""
    with scratch("write") as where, writing(final):
        made = where / final.name
        made.write_bytes(data)
        return publish(made, final)


def publish(made: Path, final: Path) -> Path:
    """Move a finished file or directory to its place in one step; an older one there is replaced."""
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        if made.is_dir() and final.exists():
            if exchange(made, final):
                shutil.rmtree(made, ignore_errors=True)
                return final
            shutil.rmtree(final)
        made.replace(final)
    return final


def used(path: Path) -> bool:
    """Whether ``path`` is there; from now on it is the one that was used last (see ``prune``)."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a cache that cannot be written to is not pruned either
        return path.exists()
    return True


def prune(paths: Iterable[Path], kept: int, *, sparing: Path | None = None) -> None:
    """Remove those of the files and directories ``paths`` that were used longest ago, until ``kept`` are left.

    ``sparing`` is one of those that are left. Whoever has a file of a removed one open does not notice.
    """
    dated = []
    for path in paths:
        with suppress(OSError):  # somebody else removes it just now
            dated.append((path == sparing, path.stat().st_mtime, path))
    for _, _, old in sorted(dated)[:-kept]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with suppress(OSError):
                old.unlink()


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step (renameat2(2)). Returns whether the file system could; NFS cannot."""
    libc = ctypes.CDLL(None)
    return bool(libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)

# SPDX-License-Identifier: GPL-2.0-only
"""Places in the cache where trees are checked out and built: slots, shared by all that build the same files."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness import cache
from harness.deadline import Deadline
from harness.errors import HostError
from harness.git import GitError
from harness.tree import Tree, unlock

#: Trees of which the cache keeps objects and checkouts, 2 GB each; the one used longest ago goes first.
KEPT = 6
#: Seconds for which a patch that somebody resolves by hand keeps its tree.
WAITING = 30 * 24 * 3600
#: Seconds between two looks whether a slot has become free.
PAUSE = 0.05


@contextmanager
def checked_out(tree: Tree, deadline: Deadline, beside: str = "") -> Iterator[Path]:
    """A directory with ``source``, the files of ``tree``, which stay so for the length of the block.

    What else is put into it stays for the next time; one that has a directory ``beside`` is taken first. Others may use
    the same one at the same time. Only files that differ are written, so that a build that was done there before goes
    on from there. Raises HostError.
    """
    slots = tree.home / "slots"
    with cache.writing(slots):
        slots.mkdir(parents=True, exist_ok=True)
    while not deadline.passed:
        names = sorted(path for path in slots.iterdir() if path.is_dir())
        names.sort(key=lambda slot: (not (slot / (beside or ".")).is_dir(), _holds(slot) != tree.oid))
        for slot in [*names, slots / str(len(names))]:
            with _locked(slot, fcntl.LOCK_SH) as mine:
                if mine and _holds(slot) == tree.oid:
                    yield slot
                    return
            with _locked(slot, fcntl.LOCK_EX) as mine:
                if mine:
                    if not slot.exists():
                        _sweep(tree.home)
                    _fill(slot, tree, deadline)
                    break  # and once more round, to share it
        time.sleep(PAUSE)
    raise HostError(f"no checkout of {tree.spec} could be had within {deadline.seconds:.0f} s")


def _holds(slot: Path) -> str:
    with suppress(OSError):
        return (slot / "oid").read_text()
    return ""


@contextmanager
def _locked(slot: Path, how: int) -> Iterator[bool]:
    """Try to lock a slot; whether that went well."""
    with (slot.parent / f"{slot.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _fill(slot: Path, tree: Tree, deadline: Deadline) -> None:
    source, index = slot / "source", slot / "index"
    with cache.writing(slot):
        killed = source.exists() and not (slot / "oid").exists()
        source.mkdir(parents=True, exist_ok=True)
        (slot / "oid").unlink(missing_ok=True)
        unlock(index)
    try:
        try:
            tree.repository.git("read-tree", "--reset", "-u", tree.oid, deadline=deadline, work=source, index=index)
        except GitError:  # the index is damaged, or a file was where now a directory is
            shutil.rmtree(source)
            source.mkdir()
            index.unlink(missing_ok=True)
            tree.repository.git("read-tree", "--reset", "-u", tree.oid, deadline=deadline, work=source, index=index)
        if killed:  # files that the other tree has and this one has not
            tree.repository.git("clean", "-ffdxq", deadline=deadline, work=source, index=index)
    except GitError as error:
        (tree.home / "index").unlink(missing_ok=True)  # then all is read anew the next time
        raise HostError(
            f"{tree.spec} could not be checked out in {source}",
            cause=error.cause,
            hint=f"rm -rf {tree.home}; nothing is lost by it but time",
        ) from error
    with cache.writing(slot):
        (slot / "oid").write_text(tree.oid)


def _sweep(wanted: Path) -> None:
    """Remove the trees that nobody has used for longest, unless somebody does now, or has a series to go on with."""
    with suppress(FileNotFoundError):  # somebody else sweeps, too
        others = sorted((path for path in wanted.parent.iterdir() if path != wanted and not _waits(path)), key=_used)
        for old in others[: max(0, len(others) + 1 - KEPT)]:
            with ExitStack() as stack, suppress(HostError):
                stack.enter_context(cache.locked(Deadline.after(0), "tree", old.name))
                slots = [path for path in (old / "slots").glob("*") if path.is_dir()]
                if all(stack.enter_context(_locked(slot, fcntl.LOCK_EX)) for slot in slots):
                    # In one step: what is half removed would be taken for a tree.
                    old.rename(stack.enter_context(cache.scratch("old")) / old.name)


def _used(home: Path) -> float:
    return home.stat().st_mtime


def _waits(home: Path) -> bool:
    return any(_used(path) > time.time() - WAITING for path in home.glob("series/*/tree"))

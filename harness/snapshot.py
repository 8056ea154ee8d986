# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots in the cache: guests stopped at the agent's READY, for this run and the next ones.

A snapshot is a directory: ``ram``, the guest's memory; ``state``, what QEMU says of its devices; ``console``, what
the boot printed; ``facts.json``, by which the other three are known to be whole and to be what is asked for.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from harness import cache, qemu
from harness.deadline import Deadline

#: Raised when a snapshot's files change their meaning.
FORMAT = 1
#: Snapshots that are kept, the last used ones; each takes 50 to 150 MB.
KEPT = 16
#: Seconds that QEMU's --version may take.
ASKING = 20.0
_BLOCK = 64 << 10
# linux/falloc.h
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_NAMES = ("ram", "state", "console")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anchors:
    """Descriptors that PID 1 has open when it is stopped: the kernel's log, and its source of randomness."""

    kmsg: int
    random: int


@dataclass(frozen=True)
class Snapshot:
    """One that is whole, its files open, so that nobody can take it away any more."""

    ram: int
    state: int
    console: bytes
    anchors: Anchors


def key(setup: qemu.Setup) -> dict[str, str]:
    """All that makes a guest stopped at READY what it is. Raises HostError."""
    argv = qemu.arguments(setup, console=Path("console"), qmp=0)
    at = argv.index("-kernel")
    facts = {
        "format": str(FORMAT),
        "qemu": qemu.version(setup.arch, Deadline.after(ASKING)),
        "program": qemu.file_key(Path(argv[0])),
        "machine": " ".join(argv[1:at]),
        "parameters": setup.parameters,
        "kernel": _digest(setup.kernel),
        "initrd": _digest(setup.initrd),
    }
    if setup.accel == "kvm":  # such a guest has seen the host's processor
        facts["host"] = hashlib.sha256(Path("/proc/cpuinfo").read_bytes().split(b"\n\n")[0]).hexdigest()
    return facts


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def place(facts: dict[str, str]) -> Path:
    """Where the snapshot of that key is, or would be."""
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return cache.root() / "snapshots" / name


@contextmanager
def mine(facts: dict[str, str], deadline: Deadline) -> Iterator[None]:
    """Nobody else looks for or makes the snapshot of that key meanwhile. Raises HostError at the deadline."""
    with cache.locked(deadline, "snapshot", place(facts).name):
        yield


def found(facts: dict[str, str], stack: ExitStack) -> Snapshot | None:
    """The cache's snapshot of that key, open for as long as ``stack`` is; one that is damaged is thrown away."""
    where = place(facts)
    if not where.is_dir():
        return None
    files = ExitStack()
    try:
        known = json.loads((where / "facts.json").read_text(encoding="utf-8"))
        if known["key"] != facts:
            raise ValueError("it is of another key")
        # QEMU opens a guest's memory for writing even where it maps it privately.
        handles = {name: files.enter_context((where / name).open("r+b")) for name in _NAMES}
        for name, handle in handles.items():
            if known["files"][name] != [os.fstat(handle.fileno()).st_size, checksum(handle)]:
                raise ValueError(f"{name} is not what was saved")
        snapshot = Snapshot(
            handles["ram"].fileno(),
            handles["state"].fileno(),
            handles["console"].read(),
            Anchors(**known["anchors"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        files.close()
        log.warning("the snapshot %s is thrown away: %s", where, error)
        discard(facts)
        return None
    stack.push(files.pop_all())
    with suppress(OSError):
        os.utime(where)
    return snapshot


def discard(facts: dict[str, str]) -> None:
    """Forget the snapshot of that key."""
    shutil.rmtree(place(facts), ignore_errors=True)


@contextmanager
def memory(setup: qemu.Setup, scratch: Path) -> Iterator[qemu.Ram]:
    """An empty memory for a guest that is to be saved. Raises HostError if the disk has no room for it.

    The room is taken at once: a guest that meets a full disk while it writes to its memory dies by SIGBUS.
    """
    path = scratch / "ram"
    with cache.writing(path), path.open("w+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, setup.memory << 20)
        yield qemu.Ram(handle.fileno(), shared=True)


def publish(facts: dict[str, str], scratch: Path, anchors: Anchors) -> None:
    """Put the snapshot whose files are in ``scratch`` into the cache, whole or not at all. Raises HostError."""
    known: dict[str, object] = {"key": facts, "anchors": asdict(anchors)}
    sums = {}
    with cache.writing(scratch):
        for name in _NAMES:
            with (scratch / name).open("r+b") as handle:
                sums[name] = [os.fstat(handle.fileno()).st_size, checksum(handle, punch=name == "ram")]
        (scratch / "facts.json").write_text(json.dumps(known | {"files": sums}), encoding="utf-8")
        whole = scratch / "whole"
        whole.mkdir()
        for name in (*_NAMES, "facts.json"):
            (scratch / name).rename(whole / name)
    cache.publish(whole, place(facts))
    _prune()


def _prune() -> None:
    """Delete the snapshots that were not used for longest. Whoever has one open does not notice."""
    paths = cache.directory("snapshots").iterdir()
    dated = []
    for path in paths:
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    for used, path in sorted(dated)[:-KEPT]:
        log.debug("forget %s, unused for %.0f s", path, time.time() - used)
        shutil.rmtree(path, ignore_errors=True)


def checksum(handle: IO[bytes], *, punch: bool = False) -> int:
    """A CRC-32 of a file's content, whatever parts of it are holes: zeroes and holes are the same to it.

    With ``punch``, blocks of zeroes become holes.
    """
    fd = handle.fileno()
    size, crc, at = os.fstat(fd).st_size, 0, 0
    block = bytearray(_BLOCK)
    nothing = bytes(_BLOCK)
    while at < size:
        try:
            # Room that was taken and never written to may count as a hole already, and is still taken.
            at = at if punch else os.lseek(fd, at, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError:  # ENXIO: from here on there is only a hole
            break
        length = os.preadv(fd, [block], at)
        if length == _BLOCK and block == nothing:
            if punch:
                ctypes.CDLL(None).fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(at), ctypes.c_long(length))
        else:
            crc = zlib.crc32(memoryview(block)[:length], zlib.crc32(at.to_bytes(8, "little"), crc))
        at += length
    os.lseek(fd, 0, os.SEEK_SET)
    return crc

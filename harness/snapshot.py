# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots in the cache: guests stopped at the agent's READY, for this run and the next ones.

A snapshot is a directory: ``ram``, the guest's memory; ``state``, what QEMU says of its devices; ``console``, what
the boot printed; ``facts.json``, by which the other three are known to be whole and to be what is asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import cache, qemu
from harness.deadline import Deadline

#: Raised when a snapshot's files change their meaning.
FORMAT = 1
#: Snapshots that are kept, the last used ones: four kernels, and six profiles of each, twice. Of a guest of 256 MiB it
#: takes 60 to 100 MB of the disk, of one of 512 MiB 75 to 130.
KEPT = 48
_BLOCK = 64 << 10
#: Fields of /proc/cpuinfo, of x86_64 and arm64, that say what a guest with the host's processor sees.
_LASTING = frozenset({"vendor_id", "cpu family", "model", "stepping", "microcode", "flags", "CPU implementer",
                      "CPU variant", "CPU part", "CPU revision", "Features"})  # fmt: skip
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

    where: Path
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
        "qemu": qemu.version(setup.arch),
        "program": cache.file_key(Path(argv[0])),
        "machine": " ".join(argv[1:at]),
        "parameters": setup.parameters,
        "kernel": _digest(setup.kernel),
        "initrd": _digest(setup.initrd),
        "loaded": " ".join(setup.loaded),
    }
    if setup.accel == "kvm":  # such a guest has seen the host's processor
        facts["host"] = processor(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return facts


def processor(cpuinfo: str) -> str:
    """A word for the host's processor, by what /proc/cpuinfo says of it that does not change while it runs."""
    named = [line.partition(":") for line in cpuinfo.split("\n\n", maxsplit=1)[0].splitlines()]
    lasting = [value.strip() for name, _, value in named if name.strip() in _LASTING]
    return hashlib.sha256("\n".join(lasting).encode()).hexdigest()


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
            if known["files"][name] != _summary(handle.fileno()):
                raise ValueError(f"{name} is not what was saved")
        snapshot = Snapshot(
            where,
            handles["ram"].fileno(),
            handles["state"].fileno(),
            (where / "console").read_bytes(),
            Anchors(**known["anchors"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        files.close()
        log.warning("the snapshot %s is thrown away: %s", where, error)
        discard(where)
        return None
    stack.push(files.pop_all())
    cache.used(where)
    return snapshot


def discard(where: Path) -> None:
    """Forget the snapshot in that place."""
    shutil.rmtree(where, ignore_errors=True)


@dataclass(frozen=True)
class Draft:
    """Where a guest boots that is to be saved: descriptors of its memory, and of what QEMU will say of its devices.

    They have no place on a disk yet. A guest that met a full one while it writes to its memory would die by SIGBUS,
    one that boots in a file's pages has to wait for the file system at each new one, and a run that is killed in
    the middle leaves nothing behind.
    """

    ram: int
    state: int


@contextmanager
def draft(setup: qemu.Setup) -> Iterator[Draft]:
    """An empty one, which is gone when the block is left."""
    fds = os.memfd_create("ram"), os.memfd_create("state")
    try:
        os.ftruncate(fds[0], setup.memory << 20)
        yield Draft(*fds)
    finally:
        for fd in fds:
            os.close(fd)


def publish(facts: dict[str, str], made: Draft, console: bytes, anchors: Anchors) -> None:
    """Put a snapshot into the cache, whole or not at all. Raises HostError."""
    with cache.scratch("snapshot") as scratch, cache.writing(scratch):
        whole = scratch / "whole"
        whole.mkdir()
        _copy(made.ram, whole / "ram")
        _copy(made.state, whole / "state")
        (whole / "console").write_bytes(console)
        # Of what is copied, not of the copies: whoever finds them compares.
        files = {"ram": _summary(made.ram), "state": _summary(made.state)}
        with (whole / "console").open("rb") as handle:
            files["console"] = _summary(handle.fileno())
        known = {"key": facts, "anchors": asdict(anchors), "files": files}
        (whole / "facts.json").write_text(json.dumps(known), encoding="utf-8")
        cache.publish(whole, place(facts))
    cache.prune(cache.directory("snapshots").iterdir(), KEPT)


def _summary(fd: int) -> list[int]:
    return [os.fstat(fd).st_size, checksum(fd)]


def checksum(fd: int) -> int:
    """A CRC-32 of a file's content, whatever parts of it are holes: zeroes and holes are the same to it."""
    crc = 0
    for at, block in _blocks(fd):
        crc = zlib.crc32(block, zlib.crc32(at.to_bytes(8, "little"), crc))
    return crc


def _copy(fd: int, to: Path) -> None:
    with to.open("wb") as handle:
        handle.truncate(os.fstat(fd).st_size)
        for at, block in _blocks(fd):
            handle.seek(at)
            handle.write(block)


def _blocks(fd: int) -> Iterator[tuple[int, memoryview]]:
    """Where each block of a file is that is not all zero, and what is in it until the next one."""
    size, at = os.fstat(fd).st_size, 0
    block, nothing = bytearray(_BLOCK), bytes(_BLOCK)
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError:  # ENXIO: from here on there is only a hole
            return
        length = os.preadv(fd, [block], at)
        if length < _BLOCK or block != nothing:
            yield at, memoryview(block)[:length]
        at += _BLOCK

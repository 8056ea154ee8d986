# SPDX-License-Identifier: GPL-2.0-only
"""What makes a snapshot another one, and how its files are known to be whole."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cache, qemu, snapshot
from harness.arch import ARM64, X86_64
from harness.snapshot import Anchors

MIB = 1 << 20


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> qemu.Setup:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    for name in ("image", "initrd"):
        (tmp_path / name).write_bytes(name.encode())
    return qemu.Setup(ARM64, tmp_path / "image", tmp_path / "initrd", memory=4)


def make(setup: qemu.Setup, memory: bytes = b"memory") -> dict[str, str]:
    """A snapshot with made-up files; returns its key."""
    facts = snapshot.key(setup)
    with snapshot.draft(setup) as made:
        os.pwrite(made.ram, memory, MIB)
        os.write(made.state, b"state")
        snapshot.publish(facts, made, b"console", Anchors(3, 4))
    return facts


def test_what_is_found_is_what_was_saved(setup: qemu.Setup) -> None:
    facts = make(setup)
    with ExitStack() as stack:
        found = snapshot.found(facts, stack)
        assert found is not None
        assert (found.console, found.anchors) == (b"console", Anchors(3, 4))
        assert os.pread(found.ram, 6, MIB) == b"memory"
        assert os.fstat(found.ram).st_size == 4 * MIB
        assert os.pread(found.state, 9, 0) == b"state"


def test_memory_that_nobody_used_takes_no_room(setup: qemu.Setup) -> None:
    ram = snapshot.place(make(setup)) / "ram"
    assert ram.stat().st_blocks * 512 < MIB


def test_everything_that_goes_in_makes_another_one(setup: qemu.Setup) -> None:
    keys = [snapshot.key(setup)]
    for other in (
        replace(setup, memory=8),
        replace(setup, cmdline=("quiet",)),
        replace(setup, arch=X86_64),
        replace(setup, accel="kvm"),
        replace(setup, arch=replace(ARM64, cpu="max")),
        replace(setup, arch=replace(ARM64, machine="virt,gic-version=3")),
    ):
        keys.append(snapshot.key(other))
    for path in (setup.kernel, setup.initrd):
        path.write_bytes(b"changed")
        keys.append(snapshot.key(setup))
    assert len({snapshot.place(facts) for facts in keys}) == len(keys)


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 17
flags\t\t: fpu vme {flag}
cpu MHz\t\t: {mhz}

processor\t: 1
cpu MHz\t\t: 1.0
"""


def test_a_processor_is_the_same_at_any_speed() -> None:
    slow, fast, other = (
        snapshot.processor(CPUINFO.format(mhz=mhz, flag=flag))
        for mhz, flag in (("1000.0", "sse"), ("3000.0", "sse"), ("1000.0", "avx"))
    )
    assert slow == fast != other


def test_where_the_kernel_lies_does_not_matter(setup: qemu.Setup, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(setup.kernel.read_bytes())
    assert snapshot.key(replace(setup, kernel=copy)) == snapshot.key(setup)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1', "null"], ids=repr)
def test_nonsense_is_thrown_away(setup: qemu.Setup, text: str) -> None:
    facts = make(setup)
    (snapshot.place(facts) / "facts.json").write_text(text)
    with ExitStack() as stack:
        assert snapshot.found(facts, stack) is None
    assert not snapshot.place(facts).exists()


def test_a_checksum_does_not_depend_on_holes(tmp_path: Path) -> None:
    content = bytes(MIB) + b"some" + bytes(MIB) + b"more"
    (tmp_path / "full").write_bytes(content)
    with (tmp_path / "holes").open("wb") as sparse:
        for place, piece in ((MIB, b"some"), (2 * MIB + 4, b"more")):
            sparse.seek(place)
            sparse.write(piece)
    sums = set()
    for name in ("full", "holes"):
        with (tmp_path / name).open("rb") as handle:
            sums.add(snapshot.checksum(handle.fileno()))
        assert (tmp_path / name).read_bytes() == content
    assert len(sums) == 1


@pytest.mark.parametrize("place", [0, 1000, MIB, MIB + 70000, 2 * MIB + 7])
def test_a_checksum_sees_every_bit_and_where_it_is(tmp_path: Path, place: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(MIB) + b"some" + bytes(MIB + 4))
    with path.open("r+b") as handle:
        before = snapshot.checksum(handle.fileno())
        os.pwrite(handle.fileno(), b"\x01", place)
        assert snapshot.checksum(handle.fileno()) != before


def test_the_oldest_go(setup: qemu.Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "KEPT", 2)
    made = []
    for number in range(3):
        made.append(make(replace(setup, cmdline=(f"number={number}",))))
        os.utime(snapshot.place(made[-1]), (number, number))
    with ExitStack() as stack:
        assert snapshot.found(made[1], stack) is not None  # used again, so it is not the oldest any more
    make(replace(setup, cmdline=("number=3",)))
    assert [snapshot.place(facts).exists() for facts in made] == [False, True, False]

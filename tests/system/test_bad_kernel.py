# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that are real but broken: a few bytes of Debian's own were changed, and no check can run on them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from program import Done, Program, results

pytestmark = pytest.mark.boots

#: "b ." of A64, a jump to itself.
FOR_EVER = struct.pack("<I", 0x14000000)


def broken(image: Path, target: Path, old: bytes, new: bytes) -> Path:
    """A copy of the image with every ``old`` replaced."""
    assert len(old) == len(new)
    data = image.read_bytes()
    assert old in data, f"{image} has no {old!r} to be replaced"
    target.write_bytes(data.replace(old, new))
    return target


def judge(program: Program, kernel: Path, verdict: str, *words: str) -> Done:
    """Run two checks, which must both end in ``verdict`` after one single boot, of which no snapshot is kept."""
    snapshots = program.cache / "snapshots"
    before = set(snapshots.glob("*"))
    report, evidence = program.directory / "results.json", program.directory / "evidence"
    only = ["--check", "root", "--check", "kcmp"]
    done = program.run("--kernel", kernel, *only, "--json", report, "--evidence", evidence, *words)
    assert done.status == 1, done
    found = results(report)
    assert {name: result["verdict"] for name, result in found.items()} == {"root": verdict, "kcmp": verdict}, done
    assert not any(result["ok"] for result in found.values())
    assert [path.name for path in evidence.rglob("*.console")] == ["0-boot.console"]
    assert set(snapshots.glob("*")) == before
    assert str(next(evidence.rglob("*.console"))) in done.text
    return done


def test_without_devtmpfs(program: Program, image: Path) -> None:
    kernel = broken(image, program.directory / "Image", b"devtmpfs\0", b"devtmpfX\0")
    done = judge(program, kernel, "fail")
    assert "cannot mount devtmpfs on /dev" in done.text
    assert "CONFIG_DEVTMPFS" in done.text


def test_without_devtmpfs_is_never_due(program: Program, image: Path) -> None:
    """A kernel too old for a promise must break that promise; not booting is another thing."""
    kernel = broken(image, program.directory / "Image", b"devtmpfs\0", b"devtmpfX\0")
    judge(program, kernel, "fail", "--expect", "none")


def test_without_a_serial_console(program: Program, image: Path) -> None:
    kernel = broken(image, program.directory / "Image", b"ttyAMA", b"ttyXMA")
    done = judge(program, kernel, "timeout", "--guest-timeout", "8")
    assert "no output at all on the serial console" in done.text


def test_that_hangs_at_once(program: Program, image: Path) -> None:
    with image.open("rb") as whole:
        start = whole.read(8)
    # The first word is an EFI signature that does no harm, the second jumps to the kernel's entry.
    kernel = broken(image, program.directory / "Image", start, start[:4] + FOR_EVER)
    done = judge(program, kernel, "timeout", "--guest-timeout", "4")
    assert "no output at all on the serial console" in done.text


def test_that_panics(program: Program, image: Path) -> None:
    # The magic of cpio archives: its own one it still knows, the one it is given it does not.
    kernel = broken(image, program.directory / "Image", b"070701", b"070799")
    done = judge(program, kernel, "crash")
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in done.text
    assert "that is, the kernel could not unpack its initramfs (Initramfs unpacking failed" in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""A request that is wrong: the message names the thing, the exit status is 2, and no machine was started for it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program import Program

#: A release that no kernel at hand has, so that only what the test is about is wrong with it.
RELEASE = b"Linux version 7.3.0 (builder@host)"


def arm64_image(path: Path) -> Path:
    """What passes for a tiny arm64 Image (Documentation/arch/arm64/booting.rst)."""
    path.write_bytes(struct.pack("<IIQQQ24x4sI", 0, 0, 0, 4096, 0xA, b"ARM\x64", 0) + RELEASE.ljust(4032, b"\0"))
    return path


def riscv_image(path: Path) -> Path:
    """The header of Documentation/arch/riscv/boot-image-header.rst."""
    path.write_bytes(struct.pack("<IIQQQIIQ8s4sI", 0, 0, 0x200000, 4096, 0, 2, 0, 0, b"RISCV\0\0\0", b"RSC\x05", 0))
    return path


def empty_directory(path: Path) -> Path:
    path.mkdir()
    return path


def text_file(path: Path) -> Path:
    path.write_text("This is no kernel.\n" * 100)
    return path


def empty_deb(path: Path) -> Path:
    """A package with nothing to boot in it."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("there is no dpkg-deb to make a package with")
    control = path.parent / "tree/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n")
    command = ["dpkg-deb", "--root-owner-group", "--build", str(path.parent / "tree"), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


def nothing(path: Path) -> Path:
    return path


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("missing", nothing, "missing does not exist"),
        ("empty", empty_directory, "empty is a directory with no kernel in it"),
        ("text", text_file, "text is no kernel image: it is a text file"),
        ("riscv", riscv_image, "riscv is .* RISC-V"),
        ("none.deb", empty_deb, "none.deb has no kernel in it"),
        ("broken.deb", text_file, "broken.deb is not a Debian package"),
    ],
)
def test_spec(program: Program, name: str, make: Callable[[Path], Path], message: str) -> None:
    done = program.run("--kernel", make(program.directory / name))
    assert done.status == 2, done
    assert done.err.startswith("error: "), done
    assert re.search(message, done.text), done
    assert "Traceback" not in done.text


def test_truncated_image(program: Program, image: Path) -> None:
    cut = program.directory / "cut"
    with image.open("rb") as whole:
        cut.write_bytes(whole.read(image.stat().st_size // 2))
    done = program.run("--kernel", cut)
    assert done.status == 2, done
    assert f"{cut} is truncated" in done.text


def test_truncated_x86_image(program: Program, x86_image: Path) -> None:
    cut = program.directory / "cut"
    cut.write_bytes(x86_image.read_bytes()[:-4096])
    done = program.run("--kernel", cut)
    assert done.status == 2, done
    assert f"{cut} is truncated" in done.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arch", "x86_64"], "is a kernel for arm64, not for x86_64"),
        (["--arch", "sparc"], "'sparc' is not an architecture this harness can boot"),
        (["--expect", "modern"], "'modern' is not an era .* none, rootfs, isolated"),
        (["--expect", "none", "--expect", "rootfs"], "1 kernels and 2 --expect"),
        (["--kernel", "debian:soon"], "soon"),
        (["--check", "fs-mood"], "fs-mood"),
        (["--json", "nowhere/results.json"], "nowhere is not a directory, so results.json cannot be written there"),
        (["--guest-timeout", "soon"], "--guest-timeout: invalid float value: 'soon'"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_words(program: Program, words: list[str], message: str) -> None:
    done = program.run("--kernel", arm64_image(program.directory / "Image"), *words)
    assert done.status == 2, done
    assert re.search(message, done.text), done
    assert "Traceback" not in done.text


def test_two_of_the_same(program: Program) -> None:
    kernel = arm64_image(program.directory / "Image")
    done = program.run("--kernel", kernel, "--kernel", kernel)
    assert done.status == 2, done
    assert "two kernels are both 7.3.0-arm64" in done.text


def test_through_pytest(program: Program) -> None:
    kernel = text_file(program.directory / "text")
    done = program.pytest(f"--kernel={kernel}")
    assert done.status == pytest.ExitCode.USAGE_ERROR, done
    assert f"{kernel} is no kernel image: it is a text file" in done.text
    assert "Traceback" not in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""What a debugger is told: its name, the symbols of the same build, the socket."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

import pytest

from harness import shell
from harness.arch import ARCHES, Arch
from harness.kernel import Kernel, find_vmlinux


def subject(image: Path, arch: Arch, contents: bytes = b"no ELF file") -> Kernel:
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(contents)
    return seen(image, arch)


def seen(image: Path, arch: Arch) -> Kernel:
    """The kernel in that file as it is now; the file is too small to be read as one."""
    elf = image if image.read_bytes().startswith(b"\x7fELF") else find_vmlinux(image, arch, "7.3.0")
    return Kernel(str(image), image, image, arch, "7.3.0", None, None, elf)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_symbols_lie_at_the_top_of_the_build_directory_or_beside_the_image(tmp_path: Path, arch: Arch) -> None:
    for image, symbols in ((tmp_path / "a build" / arch.image, "a build/vmlinux"), (tmp_path / "b/Image", "b/vmlinux")):
        kernel = subject(image, arch)
        assert shell.symbols(kernel) is None
        (tmp_path / symbols).write_bytes(b"\x7fELF and more")
        assert shell.symbols(seen(image, arch)) == tmp_path / symbols
    elf = subject(tmp_path / "vmlinux-7.3.0", arch, b"\x7fELF")
    assert shell.symbols(elf) == elf.image


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_the_line_can_be_pasted(tmp_path: Path, arch: Arch) -> None:
    kernel = subject(tmp_path / "a build" / arch.image, arch)
    assert "without symbols: there is no vmlinux" in shell.debugger(kernel, tmp_path / "gdb")
    (tmp_path / "a build/vmlinux").write_bytes(b"\x7fELF")
    program = "gdb" if arch.qemu == platform.machine() else "gdb-multiarch"
    line = shlex.split(shell.debugger(seen(kernel.image, arch), tmp_path / "gdb"))
    assert line == [program, f"{tmp_path}/a build/vmlinux", "-ex", f"target remote {tmp_path}/gdb"]

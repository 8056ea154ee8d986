# SPDX-License-Identifier: GPL-2.0-only
"""harness/image.py on images made here, byte by byte: whole, cut, and of the wrong kind."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from harness import image
from harness.arch import ARM64, X86_64
from harness.errors import RequestError

BANNER = b"Linux version 7.3.4-test (me@here) (gcc 14) #1 SMP\n\0"


def bzimage(release: bytes = b"7.3.4-test (me@here) #1 SMP", *, xloadflags: int = 0x7F, protocol: int = 0x20F) -> bytes:
    """Four setup sectors after the boot sector, then 64 KiB of protected-mode code."""
    data = bytearray(5 * 512 + 0x10000)
    data[0:2] = b"MZ"
    data[0x1F1] = 4
    struct.pack_into("<I", data, 0x1F4, 0x10000 // 16)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x206, protocol)
    struct.pack_into("<H", data, 0x20E, 0x400)
    data[0x211] = 1
    struct.pack_into("<H", data, 0x236, xloadflags)
    data[0x600 : 0x600 + len(release)] = release
    return bytes(data)


def arm64_image(banner: bytes = BANNER, *, flags: int = 0xA, machine: int = 0xAA64, stub: bool = True) -> bytes:
    """An Image with one section in its PE table; image_size is larger than the file, as with a bss."""
    data = bytearray(0x4000)
    struct.pack_into("<QQ", data, 16, 0x9000, flags)
    data[56:60] = b"ARM\x64"
    if stub:
        data[0:2] = b"MZ"
        struct.pack_into("<I", data, 0x3C, 0x40)
        data[0x40:0x44] = b"PE\0\0"
        struct.pack_into("<HH12xH", data, 0x44, machine, 1, 0xA0)
        struct.pack_into("<II", data, 0x40 + 24 + 0xA0 + 16, 0x3000, 0x1000)
    data[0x2000 : 0x2000 + len(banner)] = banner
    return bytes(data)


def zboot(payload: bytes, compression: bytes = b"gzip", machine: int = 0xAA64) -> bytes:
    """An EFI zboot header with its payload at 0x400."""
    data = bytearray(0x400)
    data[0:2] = b"MZ"
    data[4:8] = b"zimg"
    struct.pack_into("<II", data, 8, len(data), len(payload))
    data[24 : 24 + len(compression)] = compression
    data[56:60] = b"\xcd\x23\x82\x81"
    struct.pack_into("<I", data, 0x3C, 0x40)
    data[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<H", data, 0x44, machine)
    return bytes(data) + payload


def vmlinux(
    machine: int = 62, *, banner: bytes = BANNER, note: tuple[bytes, int] | None = None, bits: int = 64
) -> bytes:
    """An ELF file with one PT_LOAD and one PT_NOTE segment and no sections."""
    name, kind = note or (b"GNU", 3)
    notes = struct.pack("<III", len(name) + 1, 8, kind) + (name + b"\0").ljust((len(name) + 4) & ~3, b"\0") + bytes(8)
    contents = banner.ljust(256, b"\0")
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    if bits == 32:
        return ident + struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0) + contents
    start = 64 + 2 * 56
    head = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, start, 0, 0, len(contents), len(contents), 4)
    noted = struct.pack("<IIQQQQQQ", 4, 4, start + len(contents), 0, 0, len(notes), len(notes), 4)
    return head + load + noted + contents + notes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bzimage(), image.ImageFacts(X86_64, "7.3.4-test", "bzImage", direct=True)),
        (bzimage() + b"a signature", image.ImageFacts(X86_64, "7.3.4-test", "bzImage", direct=True)),
        (arm64_image(), image.ImageFacts(ARM64, "7.3.4-test", "Image", direct=True)),
        (arm64_image(stub=False), image.ImageFacts(ARM64, "7.3.4-test", "Image", direct=True)),
        (gzip.compress(arm64_image()), image.ImageFacts(ARM64, "7.3.4-test", "Image.gz", direct=True)),
        (zboot(gzip.compress(arm64_image())), image.ImageFacts(ARM64, "7.3.4-test", "EFI zboot (gzip)", direct=False)),
        (vmlinux(note=(b"Xen", 18)), image.ImageFacts(X86_64, "7.3.4-test", "vmlinux", direct=True)),
        (vmlinux(), image.ImageFacts(X86_64, "7.3.4-test", "vmlinux", direct=False)),
        (vmlinux(183), image.ImageFacts(ARM64, "7.3.4-test", "vmlinux", direct=False)),
    ],
    ids=["bzImage", "signed", "Image", "Image-no-stub", "Image.gz", "zboot", "vmlinux-pvh", "vmlinux", "vmlinux-arm64"],
)
def test_what_an_image_says_of_itself(tmp_path: Path, data: bytes, expected: image.ImageFacts) -> None:
    # The name says the wrong thing on purpose: only the contents count.
    path = tmp_path / "bzImage-6.1-riscv.txt"
    path.write_bytes(data)
    assert image.identify(path) == expected


RISCV = bytearray(128)
RISCV[48:56] = b"RISCV\0\0\0"
RISCV[56:60] = b"RSC\x05"
ZIMAGE = bytearray(128)
ZIMAGE[0x24:0x28] = struct.pack("<I", 0x016F2818)
ZIMAGE_X86 = bytearray(bzimage())
ZIMAGE_X86[0x211] = 0
NAMELESS = bytearray(bzimage())
NAMELESS[0x20E:0x210] = b"\0\0"
PROGRAM = bytearray(arm64_image(machine=0x14C))
PROGRAM[56:60] = bytes(4)
DAMAGED_GZIP = bytearray(gzip.compress(arm64_image()))
DAMAGED_GZIP[20:60] = b"\xff" * 40


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is an empty file"),
        (b"#!/bin/sh\necho hello\n", "it is a text file"),
        ("ein Gruß\n".encode() * 1000, "it is a text file"),
        (bytes(range(256)) * 4, "of no known format"),
        (b"\x7fELF", "damaged or truncated ELF"),
        (b"MZ", "an EFI or Windows program"),
        (bytes(PROGRAM), "an EFI or Windows program for 32-bit x86"),
        (bytes(RISCV), "a RISC-V Image"),
        (bytes(ZIMAGE), "a zImage of 32-bit ARM"),
        (b"!<arch>\ndebian-binary   ", "a Debian package"),
        (b"070701" + b"0" * 104, "a cpio archive"),
        (bzimage()[:-1], "is truncated: a bzImage of at least 68096 bytes, of which 68095 are there"),
        (bzimage()[:0x220], "is truncated: the boot header of a bzImage"),
        (bzimage(xloadflags=0), "unsupported architecture: 32-bit x86"),
        (bzimage(protocol=0x20A), "unsupported architecture: 32-bit x86"),
        (bytes(ZIMAGE_X86), "is an x86 zImage, not a bzImage"),
        (bytes(NAMELESS), "names no kernel release"),
        (bzimage(b"\xff\xff junk"), "names no kernel release"),
        (arm64_image()[:-1], "is truncated: an arm64 Image of at least 16384 bytes"),
        (arm64_image()[:0x60], "is truncated: an arm64 Image"),
        (arm64_image(stub=False)[:0x1800], "truncated arm64 Image, or no Linux"),
        (arm64_image(b"Linux version %s (%s)"), "truncated arm64 Image, or no Linux"),
        (arm64_image(flags=0xB), "unsupported architecture: big-endian arm64"),
        (gzip.compress(arm64_image())[:-20], "is a truncated gzip file"),
        (bytes(DAMAGED_GZIP), "is a damaged gzip file"),
        (gzip.compress(b"hello\n"), "it is, gzip'd, a text file"),
        (gzip.compress(vmlinux()), "is a gzip'd ELF file"),
        (zboot(gzip.compress(arm64_image()))[:-30], "is truncated: an EFI zboot image"),
        (zboot(b"x" * 64, b"lz4"), "compressed with lz4"),
        (zboot(gzip.compress(bytes(RISCV)), machine=0x5064), "unsupported architecture: RISC-V"),
        (zboot(gzip.compress(b"hello\n")), "something that is no arm64 Image"),
        (vmlinux(21), "an ELF file for an unsupported architecture: PPC64"),
        (vmlinux(22), "an ELF file for an unsupported architecture: S390"),
        (vmlinux(3, bits=32), "an ELF file for an unsupported architecture: 386"),
        (vmlinux()[:-1], "is truncated: an ELF file"),
        (vmlinux()[:100], "damaged or truncated ELF"),
        (vmlinux(banner=b"hello"), "is an ELF file for x86_64, but no Linux kernel"),
    ],
)
def test_what_is_no_kernel_for_us_is_called_by_its_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    with pytest.raises(RequestError) as caught:
        image.identify(path)
    assert message in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("make", [bzimage, arm64_image, vmlinux, lambda: zboot(gzip.compress(arm64_image(), mtime=0))])
def test_no_cut_is_taken_for_a_whole_image_or_ends_in_a_traceback(tmp_path: Path, make: object) -> None:
    assert callable(make)
    data = make()
    path = tmp_path / "image"
    for size in {*range(1, min(len(data), 0x300)), *range(0x300, len(data), 997), len(data) - 1}:
        path.write_bytes(data[:size])
        with pytest.raises(RequestError):
            image.identify(path)


def test_a_directory_or_device_is_not_read(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(RequestError, match="is not a regular file"):
            image.identify(path)


def test_a_gzip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "LARGEST", 4096)
    path = tmp_path / "Image.gz"
    path.write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(RequestError, match="unpacks to more than"):
        image.identify(path)


def test_the_wrapping_is_seen_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "image"
    for data, expected in (
        (arm64_image(), ""),
        (bzimage(), ""),
        (gzip.compress(b"x"), "Image.gz"),
        (zboot(b"x", b"zstd"), "EFI zboot (zstd)"),
    ):
        path.write_bytes(data)
        assert image.wrapping(path) == expected

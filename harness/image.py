# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel image says of itself: its architecture, release and format, read from the file alone.

The formats are those of Documentation/arch/x86/boot.rst (bzImage), Documentation/arch/arm64/booting.rst
(Image), drivers/firmware/efi/libstub/zboot-header.S (EFI zboot) and ELF (vmlinux). Nothing here runs a
program or writes a file. Every error is a RequestError that names the file.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.errors import RequestError

Bytes = bytes | mmap.mmap

ACCEPTED = "accepted: bzImage and vmlinux of x86_64; Image, Image.gz and EFI zboot (vmlinuz.efi) of arm64"
#: init/version.c: linux_banner. The format string of linux_proc_banner does not match it.
BANNER = re.compile(rb"Linux version (\d+\.\d+[^\s%]*) \(")
#: What gzip'd images are unpacked to at most; QEMU has the same limit (hw/core/loader.c).
LARGEST = 256 << 20
GZIP = b"\x1f\x8b\x08"
#: include/xen/interface/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY, the PVH entry that QEMU needs to start a vmlinux.
PVH: tuple[str, object] = ("Xen", 18)

#: (offset, magic, what it is): other things that people take for kernels we can boot.
FOREIGN = (
    (48, b"RISCV\0\0\0", "a RISC-V Image"),
    (56, b"RSC\x05", "a RISC-V Image"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage of 32-bit ARM"),
    (0x24, b"\x01\x6f\x28\x18", "a zImage of big-endian 32-bit ARM"),
    (0, b"\x27\x05\x19\x56", "a U-Boot uImage"),
    (0, b"\xd0\x0d\xfe\xed", "a flattened device tree or FIT image"),
    (0, b"!<arch>\ndebian-binary", "a Debian package (a .deb has to be named so)"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"070701", "a cpio archive, an initramfs perhaps"),
    (257, b"ustar", "a tar archive"),
)
#: include/linux/pe.h: IMAGE_FILE_MACHINE_*.
PE_MACHINES = {0x14C: "32-bit x86", 0x1C2: "32-bit ARM", 0x5064: "RISC-V", 0x6264: "LoongArch", 0xAA64: "arm64"}


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of itself. ``direct`` is whether QEMU's -kernel takes it as it is."""

    arch: Arch
    release: str
    format: str
    direct: bool


def identify(path: Path, inner: Path | None = None) -> ImageFacts:
    """Read the image at ``path``, or its contents from ``inner`` if they are unpacked there already.

    Raises RequestError if it is no kernel that can be booted here, and says what it is instead.
    """
    with contents(inner or path) as data:
        return classify(path, data)


def wrapping(path: Path) -> str:
    """What is around the arm64 Image in ``path``, as its magic says: "" if nothing."""
    with contents(path) as data:
        if data[:3] == GZIP:
            return "Image.gz"
        if data[:2] == b"MZ" and data[4:8] == b"zimg":
            return f"EFI zboot ({zboot_compression(data)})"
    return ""


@contextmanager
def contents(path: Path) -> Iterator[Bytes]:
    """The bytes of ``path``, mapped. Raises RequestError if there is nothing to read."""
    try:
        if not path.is_file():
            raise RequestError(f"{path} is not a regular file", hint=ACCEPTED)
        with path.open("rb") as handle:
            if path.stat().st_size == 0:
                raise RequestError(f"{path} is an empty file", hint=ACCEPTED)
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error)) from error


def classify(path: Path, data: Bytes) -> ImageFacts:
    """Find the format by its magic and hand over to its reader."""
    if data[:4] == b"\x7fELF":
        return vmlinux(path, data)
    if data[0x202:0x206] == b"HdrS":
        return bzimage(path, data)
    if data[:2] == b"MZ" and data[4:8] == b"zimg":
        return zboot(path, data)
    if data[56:60] == b"ARM\x64":
        return arm64_image(path, data)
    if data[:3] == GZIP:
        return gzipped(path, data)
    raise RequestError(f"{path} is no kernel image: it is {describe(data)}", hint=ACCEPTED)


def describe(data: Bytes) -> str:
    """What a file that is none of ours looks like."""
    for offset, magic, name in FOREIGN:
        if data[offset : offset + len(magic)] == magic:
            return name
    if data[:2] == b"MZ":
        machine = PE_MACHINES.get(pe_machine(data), "")
        return f"an EFI or Windows program{' for ' + machine if machine else ''}"
    start = data[:4096]
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        text = "" if error.start < len(start) - 3 else start[: error.start].decode()
    if text and all(letter.isprintable() or letter.isspace() for letter in text):
        return "a text file"
    return "of no known format"


def bzimage(path: Path, data: Bytes) -> ImageFacts:
    """x86: the real-mode header at 0x1f1 and what it points to (Documentation/arch/x86/boot.rst)."""
    if len(data) < 0x268:
        raise truncated(path, len(data), 0x268, "the boot header of a bzImage")
    (protocol,) = struct.unpack_from("<H", data, 0x206)
    if protocol < 0x200 or not data[0x211] & 1:  # loadflags: LOADED_HIGH
        raise RequestError(f"{path} is an x86 zImage, not a bzImage", hint=ACCEPTED)
    # xloadflags came with protocol 2.12 (Linux 3.8); bit 0 is XLF_KERNEL_64.
    if protocol < 0x20C or not data[0x236] & 1:
        raise unsupported(path, "32-bit x86")
    (paragraphs,) = struct.unpack_from("<I", data, 0x1F4)
    declared = ((data[0x1F1] or 4) + 1) * 512 + paragraphs * 16
    if len(data) < declared:  # a signed image is longer
        raise truncated(path, len(data), declared, "a bzImage")
    (pointer,) = struct.unpack_from("<H", data, 0x20E)
    words = data[pointer + 0x200 : pointer + 0x300].split(b"\0")[0].decode("latin-1").split()
    if not pointer or not words or not words[0][:1].isdigit():
        raise RequestError(f"{path} is a bzImage whose header names no kernel release", hint=ACCEPTED)
    return ImageFacts(X86_64, words[0], "bzImage", direct=True)


def arm64_image(path: Path, data: Bytes) -> ImageFacts:
    """arm64: the 64-byte header (Documentation/arch/arm64/booting.rst).

    Its image_size counts the bss, which is not in the file, so it cannot tell a whole file from a truncated one. The
    section table of the EFI stub can; an image without a stub (CONFIG_EFI=n) must at least contain its banner.
    """
    if data[24] & 1:  # flags, bit 0
        raise unsupported(path, "big-endian arm64")
    declared = pe_size(data)
    if len(data) < declared:
        raise truncated(path, len(data), declared, "an arm64 Image")
    found = banner(data)
    if not found:
        (size,) = struct.unpack_from("<Q", data, 16)
        raise RequestError(
            f"{path} is a truncated arm64 Image, or no Linux: there is no 'Linux version' in its {len(data)} bytes",
            cause=f"its header declares {size} bytes in memory",
            hint="copy or build it again",
        )
    return ImageFacts(ARM64, found, "Image", direct=True)


def gzipped(path: Path, data: Bytes) -> ImageFacts:
    """What is in a gzip file, which must be an arm64 Image: x86 has its compression inside the bzImage.

    QEMU unpacks it itself (hw/arm/boot.c: load_aarch64_image).
    """
    inside = gunzip(path, data)
    if inside[56:60] == b"ARM\x64":
        return ImageFacts(ARM64, arm64_image(path, inside).release, "Image.gz", direct=True)
    if inside[:4] == b"\x7fELF":
        raise RequestError(f"{path} is a gzip'd ELF file", hint=f"unpack it; {ACCEPTED}")
    raise RequestError(f"{path} is no kernel image: it is, gzip'd, {describe(inside)}", hint=ACCEPTED)


def zboot(path: Path, data: Bytes) -> ImageFacts:
    """EFI zboot: a small EFI program around a compressed Image (zboot-header.S)."""
    machine = PE_MACHINES.get(pe_machine(data), f"an unknown machine ({pe_machine(data):#x})")
    if machine != ARM64.name:
        raise unsupported(path, machine, "an EFI zboot image")
    start, size = struct.unpack_from("<II", data, 8)
    if len(data) < start + size:
        raise truncated(path, len(data), start + size, "an EFI zboot image")
    compression = zboot_compression(data)
    if compression != "gzip":
        raise RequestError(
            f"{path} is an EFI zboot image compressed with {compression}, which cannot be unpacked here",
            hint="give the plain arch/arm64/boot/Image; gzip and (with zstd installed) zstd are accepted",
        )
    inside = gunzip(path, data[start : start + size])
    if inside[56:60] != b"ARM\x64":
        raise RequestError(f"{path} is an EFI zboot image of something that is no arm64 Image", hint=ACCEPTED)
    return ImageFacts(ARM64, arm64_image(path, inside).release, "EFI zboot (gzip)", direct=False)


def zboot_compression(data: Bytes) -> str:
    """The compression that an EFI zboot header names."""
    return data[24:56].split(b"\0")[0].decode("ascii", "replace")


def gunzip(path: Path, data: Bytes) -> bytes:
    """The contents of a gzip stream. Raises RequestError if it is damaged, cut or too large."""
    stream = zlib.decompressobj(wbits=31)
    try:
        inside = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise RequestError(f"{path} is a damaged gzip file", cause=str(error), hint="copy or build it again") from error
    if stream.unconsumed_tail:
        raise RequestError(f"{path} unpacks to more than {LARGEST >> 20} MiB", hint=ACCEPTED)
    if not stream.eof:
        raise RequestError(f"{path} is a truncated gzip file", hint="copy or build it again")
    return inside


def vmlinux(path: Path, data: Bytes) -> ImageFacts:
    """An ELF file: is it a kernel, of which architecture, and can QEMU start it?"""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - slow, and no other format needs them
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import NoteSegment  # noqa: PLC0415

    try:
        with path.open("rb") as handle:
            elf = ELFFile(handle)
            machine = str(elf["e_machine"])
            sections = elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"]
            declared = max([sections, *(part["p_offset"] + part["p_filesz"] for part in elf.iter_segments())])
            pvh = any(
                (note["n_name"], note["n_type"]) == PVH
                for part in elf.iter_segments()
                if isinstance(part, NoteSegment) and part["p_offset"] + part["p_filesz"] <= len(data)
                for note in part.iter_notes()
            )
    except (ELFError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} is a damaged or truncated ELF file", cause=str(error), hint=ACCEPTED) from error
    arch = next((arch for arch in ARCHES if arch.elf_machine == machine), None)
    if arch is None:
        raise unsupported(path, machine.removeprefix("EM_"), "an ELF file")
    if len(data) < declared:
        raise truncated(path, len(data), declared, "an ELF file")
    found = banner(data)
    if not found:
        raise RequestError(f"{path} is an ELF file for {arch.name}, but no Linux kernel", hint=ACCEPTED)
    # QEMU finds the entry of an x86 vmlinux by its PVH note (hw/i386/x86.c). On arm64 there is no such note: QEMU would
    # load the ELF at the kernel's virtual addresses, where there is no memory.
    return ImageFacts(arch, found, "vmlinux", direct=pvh)


def banner(data: Bytes) -> str:
    """The release in "Linux version … (", "" if there is none."""
    found = BANNER.search(data)
    return found.group(1).decode("latin-1") if found else ""


def pe_machine(data: Bytes) -> int:
    """The COFF machine of a PE file, 0 if it is none (include/linux/pe.h)."""
    if len(data) < 0x40 or data[:2] != b"MZ":
        return 0
    (header,) = struct.unpack_from("<I", data, 0x3C)
    if data[header : header + 4] != b"PE\0\0" or len(data) < header + 24:
        return 0
    return int(struct.unpack_from("<H", data, header + 4)[0])


def pe_size(data: Bytes) -> int:
    """Where the last section of a PE file ends, 0 if it is none or its table is cut."""
    if not pe_machine(data):
        return 0
    (header,) = struct.unpack_from("<I", data, 0x3C)
    count, optional = struct.unpack_from("<6xH12xH", data, header)
    table = header + 24 + optional
    if len(data) < table + 40 * count:
        return int(table + 40 * count)
    return max((sum(struct.unpack_from("<II", data, table + 40 * n + 16)) for n in range(count)), default=0)


def truncated(path: Path, size: int, declared: int, what: str) -> RequestError:
    """The error for a file that ends too early."""
    return RequestError(
        f"{path} is truncated: {what} of at least {declared} bytes, of which {size} are there",
        hint="copy or build it again",
    )


def unsupported(path: Path, machine: str, what: str = "a kernel image") -> RequestError:
    """The error for a machine that is not ours."""
    known = " and ".join(arch.name for arch in ARCHES)
    return RequestError(
        f"{path} is {what} for an unsupported architecture: {machine}", hint=f"this harness boots {known}; {ACCEPTED}"
    )

# SPDX-License-Identifier: GPL-2.0-only
"""image.py IMAGE VMLINUX: a bzImage or Image with the right header around the whole vmlinux. Nothing that boots."""

import re
import struct
import sys
from pathlib import Path

BANNER = re.compile(rb"Linux version (\S+) (\(\S+\)) \(.*\) (#[^\n\0]*)")


def bzimage(kernel: bytes, version: bytes) -> bytes:
    """Documentation/arch/x86/boot.rst: the setup sectors, with the version at 0x600, and the kernel."""
    kernel += bytes(-len(kernel) % 16)
    data = bytearray(5 * 512)
    data[0x1F1] = 4
    struct.pack_into("<I", data, 0x1F4, len(kernel) // 16)
    struct.pack_into("<4sH6xHB", data, 0x202, b"HdrS", 0x20F, 0x400, 0)
    data[0x211] = 1
    struct.pack_into("<I", data, 0x22C, 0x7FFFFFFF)  # initrd_addr_max, which QEMU looks at
    struct.pack_into("<H", data, 0x236, 1)
    data[0x600 : 0x600 + len(version)] = version
    return bytes(data) + kernel


def arm64(kernel: bytes) -> bytes:
    """Documentation/arch/arm64/booting.rst: a header without an EFI stub, and the kernel with its banner."""
    return struct.pack("<IIQQQ24x4sI", 0, 0, 0, 64 + len(kernel), 0xA, b"ARM\x64", 0) + kernel


def main() -> None:
    """Write the image."""
    target, vmlinux = map(Path, sys.argv[1:])
    kernel = vmlinux.read_bytes()
    found = BANNER.search(kernel)
    assert found, f"{vmlinux} has no banner"
    target.write_bytes(bzimage(kernel, b" ".join(found.groups())) if target.name == "bzImage" else arm64(kernel))


main()

# SPDX-License-Identifier: GPL-2.0-only
"""What must be known of an architecture to boot it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Arch:
    """One architecture. Every field is a fact about it, none is computed elsewhere."""

    #: As in the kernel's uname(2) or ARCH=; what the user types.
    name: str
    #: The suffix of qemu-system-*, and uname -m.
    qemu: str
    #: Debian's word for it.
    debian: str
    #: Debian's package that has qemu-system-<qemu>.
    qemu_package: str
    #: Prefix of the GNU tool chain, and Debian's package with its compiler.
    cross: str
    cross_package: str
    #: QEMU's machine type and the CPU model under TCG.
    machine: str
    cpu: str
    #: The same under KVM.
    kvm_machine: str
    kvm_cpu: str
    #: The console= device of ``machine``.
    console: str
    #: Kernel parameters every guest gets.
    cmdline: tuple[str, ...]
    #: Where `make` leaves the bootable image, below the build directory.
    image: str
    #: The file name of glibc's dynamic loader.
    loader: str
    #: ELF e_machine, as pyelftools spells it.
    elf_machine: str
    #: System call numbers (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
    syscalls: Mapping[str, int] = field(hash=False)

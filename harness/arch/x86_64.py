# SPDX-License-Identifier: GPL-2.0-only
"""x86_64."""

from harness.arch import syscalls
from harness.arch.base import Arch

X86_64 = Arch(
    name="x86_64",
    qemu="x86_64",
    debian="amd64",
    qemu_package="qemu-system-x86",
    cross="x86_64-linux-gnu-",
    cross_package="gcc-x86-64-linux-gnu",
    # Not microvm: it boots 0.2 s sooner, but 1 in 3 boots of Debian's 7.3 hung there (QEMU 7.2, TCG).
    machine="q35",
    # Without cmpxchg16b: QEMU 7.2's TCG now and then leaves garbage in EFLAGS after one. 6.12, whose slab
    # allocator uses it all the time, double-faulted in 4 of 50 guests with it and in 0 of 60 without.
    cpu="qemu64,-cx16",
    kvm_machine="q35",
    kvm_cpu="host",
    # The speed matters: an emulated 8250 holds what it received for the time of four characters.
    console="ttyS0,115200",
    # no_timer_check: under load TCG's timer calibration fails now and then, and the kernel panics
    # over "8254 timer not connected to IO-APIC" (arch/x86/kernel/apic/io_apic.c).
    cmdline=("no_timer_check",),
    image="arch/x86/boot/bzImage",
    loader="ld-linux-x86-64.so.2",
    elf_machine="EM_X86_64",
    syscalls=syscalls.X86_64,
)

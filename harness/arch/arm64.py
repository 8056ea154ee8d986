# SPDX-License-Identifier: GPL-2.0-only
"""arm64."""

from harness.arch import syscalls
from harness.arch.base import Arch

ARM64 = Arch(
    name="arm64",
    qemu="aarch64",
    debian="arm64",
    qemu_package="qemu-system-arm",
    cross="aarch64-linux-gnu-",
    cross_package="gcc-aarch64-linux-gnu",
    machine="virt",
    # Faster to emulate than `max`, whose pointer authentication and MTE cost a third of a boot.
    cpu="cortex-a57",
    kvm_machine="virt,gic-version=host",
    kvm_cpu="host",
    console="ttyAMA0",
    cmdline=(),
    image="arch/arm64/boot/Image",
    loader="ld-linux-aarch64.so.1",
    elf_machine="EM_AARCH64",
    syscalls=syscalls.GENERIC,
)

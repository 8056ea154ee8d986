# SPDX-License-Identifier: GPL-2.0-only
"""An architecture is data: one short file each, and no ``if arch ==`` anywhere else."""

from __future__ import annotations

from harness.arch.arm64 import ARM64
from harness.arch.base import Arch
from harness.arch.x86_64 import X86_64
from harness.errors import RequestError

ARCHES: tuple[Arch, ...] = (X86_64, ARM64)

__all__ = ["ARCHES", "ARM64", "X86_64", "Arch", "by_name"]


def by_name(name: str) -> Arch:
    """The architecture called ``name`` by the kernel, QEMU or Debian. Raises RequestError."""
    for arch in ARCHES:
        if name in (arch.name, arch.qemu, arch.debian):
            return arch
    known = ", ".join(arch.name for arch in ARCHES)
    raise RequestError(f"{name!r} is not an architecture this harness can boot", hint=f"one of: {known}")

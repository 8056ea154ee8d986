# SPDX-License-Identifier: GPL-2.0-only
"""What this host can do, and the command that mends each lack.

Standard library only: it helps before anything is set up.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from harness import accel, cache, packages, process
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline

#: Bytes that the kernels and snapshots of a default run take.
ROOM = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``mend`` is the command or step, where something is wrong."""

    what: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{'LACKS' if self.mend else 'ok':6}{self.what:22}{self.found}"
        return f"{line}\n      {'':22}-> {self.mend}" if self.mend else line


def findings() -> Iterator[Finding]:
    """Everything that is looked at."""
    yield Finding("python", f"{platform.python_version()}")
    missing = packages.lacks(venv=False)
    for arch in ARCHES:
        yield _qemu(arch)
        yield _compiler(arch)
        yield _accel(arch)
    for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("setpriv", "util-linux")):
        path = shutil.which(program)
        yield Finding(program, path or "not installed", "" if path else f"install {package}")
    cached = cache.root()
    exists = next(path for path in (cached, *cached.parents) if path.exists())
    free = shutil.disk_usage(exists).free
    mend = "" if free > ROOM else f"make room, or set {cache.VARIABLE} to another directory"
    yield Finding("cache", f"{cached}, {free >> 20} MiB free", mend)
    if missing:
        names = " ".join(sorted(set(missing.values())))
        yield Finding("all at once", "", f"apt-get install -y --no-install-recommends {names}")


def _qemu(arch: Arch) -> Finding:
    name = f"qemu-system-{arch.qemu}"
    if shutil.which(name) is None:
        return Finding(name, "not installed", f"apt-get install --no-install-recommends {arch.qemu_package}")
    version = process.run([name, "--version"], Deadline.after(20)).stdout.splitlines()
    return Finding(name, version[0].removeprefix("QEMU emulator version ") if version else "says no version")


def _compiler(arch: Arch) -> Finding:
    package = "gcc" if platform.machine() == arch.qemu else arch.cross_package
    what = f"compiler for {arch.name}"
    if packages.has_compiler(arch):
        return Finding(what, "there")
    return Finding(what, "none", f"apt-get install --no-install-recommends {package}")


def _accel(arch: Arch) -> Finding:
    chosen = accel.known(arch)
    what = f"accelerator, {arch.name}"
    if chosen is None:
        return Finding(what, "not known yet: the next run tries KVM with a guest, and falls back to tcg")
    return Finding(what, f"{chosen.name}: {chosen.why}")


def report() -> tuple[str, bool]:
    """The whole text, and whether nothing is lacking."""
    found = list(findings())
    return "\n".join(str(finding) for finding in found), not any(finding.mend for finding in found)

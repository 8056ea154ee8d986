# SPDX-License-Identifier: GPL-2.0-only
"""What the numbers were taken on, for a number without its machine says nothing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from harness import __version__, process, qemu
from harness.arch import Arch
from harness.deadline import Deadline

from .subject import TOP

#: Seconds that git may take to name the commit.
ASKING = 20.0


def machine() -> str:
    """Processors, memory, kernel and how busy it is, on one line."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = found[1] if found else platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    kernel = f"{platform.machine()} Linux {platform.release()}"
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, {kernel}, load {os.getloadavg()[0]:.1f}"


def versions(arches: Iterable[Arch]) -> str:
    """The harness's version and commit, Python's, and that of each QEMU. Raises HostError."""
    # One QEMU may be newer than the other: they are packages of their own.
    emulators = sorted({qemu.version(arch).removeprefix("QEMU emulator version ") for arch in arches})
    done = process.run(["git", "describe", "--always", "--dirty"], Deadline.after(ASKING), cwd=TOP)
    commit = f" ({done.stdout.strip()})" if done.returncode == 0 else ""
    return f"nullfs-harness {__version__}{commit}, Python {platform.python_version()}, QEMU {' and '.join(emulators)}"

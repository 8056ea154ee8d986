# SPDX-License-Identifier: GPL-2.0-only
"""Whether KVM works here, told by a guest that really booted under it; a device that opens tells nothing."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from harness import cache
from harness.arch import Arch

#: Seconds a guest under KVM gets to come up before KVM is taken for broken: it needs about one. With the
#: two that a QEMU gets to end (process.GRACE), a KVM that hangs costs a run five seconds, once.
PROBE = 3.0
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Accel:
    """What guests of an architecture run under, and why."""

    name: str
    why: str


def known(arch: Arch, wish: str = "auto") -> Accel | None:
    """The answer without a probe: a wish, the lack of KVM, or what this boot of the host has shown; else None."""
    if wish != "auto":
        return Accel(wish, "asked for")
    if platform.machine() != arch.qemu:
        return Accel("tcg", f"this host is {platform.machine()}, so {arch.name} is emulated")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return Accel("tcg", f"no access to {_DEVICE}" if _DEVICE.exists() else f"no {_DEVICE}")
    try:
        facts = json.loads(_file().read_text(encoding="utf-8"))
        if facts["boot_id"] == _boot_id():
            return Accel(facts[arch.name]["name"], facts[arch.name]["why"])
    except (OSError, ValueError, KeyError):
        pass
    return None


def remember(arch: Arch, accel: Accel) -> None:
    """Keep the answer for as long as the host stays up."""
    text = json.dumps({"boot_id": _boot_id(), arch.name: {"name": accel.name, "why": accel.why}})
    cache.write(_file(), text.encode())


def _file() -> Path:
    return cache.root() / "accel.json"


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()

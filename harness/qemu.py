# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's arguments, as pure functions of what is to be run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.arch import Arch
from harness.errors import HostError

#: MiB of a guest unless a profile asks for more.
MEMORY = 256
#: Kernel parameters every guest gets, beside the architecture's own.
CMDLINE = (
    "panic=-1",  # a panic resets at once, and -no-reboot turns that into an end
    "oops=panic",
    "rdinit=/init",
    "printk.devkmsg=on",  # no rate limit on what the agent reports
    "loglevel=7",
    "audit=0",
    "selinux=0",
    "apparmor=0",
)


@dataclass(frozen=True)
class Setup:
    """One kind of machine: all that decides what a guest is when it starts."""

    arch: Arch
    kernel: Path
    initrd: Path
    accel: str = "tcg"
    memory: int = MEMORY
    cmdline: tuple[str, ...] = ()

    @property
    def parameters(self) -> str:
        """The kernel's command line."""
        return " ".join((f"console={self.arch.console}", *CMDLINE, *self.arch.cmdline, *self.cmdline))


def program(arch: Arch) -> str:
    """The path of QEMU for ``arch``. Raises HostError naming the package that has it."""
    name = f"qemu-system-{arch.qemu}"
    found = shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed", hint=f"apt-get install --no-install-recommends {arch.qemu_package}")
    return found


def arguments(setup: Setup, *, console: int, qmp: int, incoming: int | None = None) -> list[str]:
    """QEMU's command line; the numbers are the descriptors of its ends of the lines, already open in it.

    With ``incoming`` the machine does not boot but goes on, when it is told to (-S), where the snapshot in
    that descriptor stopped.
    """
    arch = setup.arch
    kvm = setup.accel == "kvm"
    return [
        program(arch),
        *("-M", arch.kvm_machine if kvm else arch.machine),
        *("-cpu", arch.kvm_cpu if kvm else arch.cpu),
        *("-accel", setup.accel),
        *("-m", str(setup.memory)),
        *("-smp", "1"),
        # The guest runs what the user brought: QEMU gets no network and may not start programs.
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-nic", "none"),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        *("-display", "none"),
        *("-chardev", f"socket,id=console,fd={console}"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,fd={qmp}"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-kernel", str(setup.kernel)),
        *("-initrd", str(setup.initrd)),
        *("-append", setup.parameters),
        *(() if incoming is None else ("-S", "-incoming", f"fd:{incoming}")),
    ]

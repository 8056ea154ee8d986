# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's arguments, as pure functions of what is to be run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import cache, process, profiles
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import HostError

#: Seconds that QEMU may take to say its version.
ASKING = 20.0
#: Kernel parameters every guest gets, beside the architecture's own.
CMDLINE = (
    "panic=-1",  # a panic resets at once, and -no-reboot turns that into an end
    "oops=panic",
    "sysrq_always_enabled",  # what a guest that hangs is asked by (harness/hung.py)
    "rdinit=/init",
    "printk.devkmsg=on",  # no rate limit on what the agent reports
    "loglevel=7",
    "audit=0",
    "selinux=0",
    "apparmor=0",
)


@dataclass(frozen=True)
class Ram:
    """A guest's memory in a file that is open as ``fd``; ``shared``: what the guest writes gets into the file."""

    fd: int
    shared: bool


@dataclass(frozen=True)
class Setup:
    """One kind of machine: all that decides what a guest is when it starts."""

    arch: Arch
    kernel: Path
    initrd: Path
    accel: str = "tcg"
    memory: int = profiles.MEMORY
    cmdline: tuple[str, ...] = ()
    #: ``initrd`` is no such thing, but a disk.
    disk: bool = False
    #: Modules that are loaded before it counts as started.
    loaded: tuple[str, ...] = ()

    @property
    def parameters(self) -> str:
        """The kernel's command line: what the profile says replaces what every guest gets."""
        said = {word.partition("=")[0] for word in self.cmdline}
        common = (word for word in CMDLINE if word.partition("=")[0] not in said)
        return " ".join((f"console={self.arch.console}", *common, *self.arch.cmdline, *self.cmdline))


def program(arch: Arch) -> str:
    """The path of QEMU for ``arch``. Raises HostError naming the package that has it."""
    name = f"qemu-system-{arch.qemu}"
    found = shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed", hint=f"apt-get install --no-install-recommends {arch.qemu_package}")
    return found


def version(arch: Arch) -> str:
    """What QEMU for ``arch`` calls itself. It is started to say so only once for each binary. Raises HostError."""
    path = Path(program(arch))
    known = cache.root() / "qemu" / f"{path.name}-{cache.file_key(path)}"
    if not known.is_file():
        said = process.run([path, "--version"], Deadline.after(ASKING)).stdout.splitlines()
        cache.write(known, (said[0] if said else "").encode())
    return known.read_text(encoding="utf-8")


def arguments(
    setup: Setup, *, console: Path, qmp: int, ram: Ram | None = None, incoming: bool = False, name: str = ""
) -> list[str]:
    """QEMU's command line.

    It reads what the guest hears from ``console``.in and writes what the guest says to ``console``.out; ``qmp``
    is the descriptor of its end of the monitor's socket.
    ``name`` is what `ps` shall show. With ``incoming`` the machine does not boot but waits for the snapshot
    that it shall go on from.
    """
    return [
        *_hardware(setup),
        *("-chardev", f"pipe,id=console,path={str(console).replace(',', ',,')}"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,fd={qmp}"),
        *("-mon", "chardev=qmp,mode=control"),
        *(("-name", name.replace(",", ",,")) if name else ()),
        *(() if ram is None else _memory(setup, ram)),
        *(("-incoming", "defer") if incoming else _system(setup)),
    ]


def interactive(setup: Setup, *, gdb: int | None = None) -> list[str]:
    """QEMU's command line for a guest whose console is QEMU's own stdin and stdout.

    There Ctrl-A C changes between the console and the monitor, Ctrl-A X ends QEMU, and Ctrl-C is the guest's.
    ``gdb`` is the descriptor of a socket that listens for a debugger: then the guest waits until one lets it go.
    """
    return [
        *_hardware(setup),
        *("-chardev", "stdio,id=console,mux=on,signal=off"),
        *("-serial", "chardev:console"),
        *("-mon", "chardev=console,mode=readline"),
        *(() if gdb is None else _debugger(gdb)),
        *_system(setup),
    ]


def _debugger(listening: int) -> tuple[str, ...]:
    return ("-chardev", f"socket,id=gdb,fd={listening},server=on,wait=off", "-gdb", "chardev:gdb", "-S")


def _hardware(setup: Setup) -> list[str]:
    """The machine itself: what all guests have, whoever they talk to."""
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
        *(_disk(setup.initrd) if setup.disk else ()),
    ]


def _disk(image: Path) -> tuple[str, ...]:
    # NVMe, which Debian's cloud kernels have built in. Virtio's disks are modules there.
    path = str(image).replace(",", ",,")
    return ("-drive", f"if=none,id=disk,format=raw,readonly=on,file={path}", "-device", "nvme,drive=disk,serial=disk")


def _memory(setup: Setup, ram: Ram) -> tuple[str, ...]:
    share = "on" if ram.shared else "off"
    # By descriptor: the cache may be deleted at any time, and what is open stays.
    backend = f"memory-backend-file,id=ram,size={setup.memory}M,mem-path=/proc/self/fd/{ram.fd},share={share}"
    return ("-object", backend, "-machine", "memory-backend=ram")


def _system(setup: Setup) -> tuple[str, ...]:
    # A machine that goes on needs none of this, it has it all in its memory: to read Debian's arm64 image
    # of 42 MB once more took longer than all the rest of a fork.
    initrd = () if setup.disk else ("-initrd", str(setup.initrd))
    return ("-kernel", str(setup.kernel), *initrd, "-append", setup.parameters)

# SPDX-License-Identifier: GPL-2.0-only
"""Guests on demand: each kernel is booted once, stopped, and every guest is a fork of that snapshot."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import accel, agent, cache, kconfig, machine, qemu
from harness.console import Sighting, find_troubles
from harness.deadline import Deadline
from harness.errors import GuestError, HarnessError, HostError
from harness.guest import Guest
from harness.kernel import Kernel
from harness.task import SyscallError

#: The console of the boot that the snapshot comes from; no check is called so.
BOOT = "0-boot"
#: Seconds for the agent's compilation, which is not the kernel's fault.
COMPILING = 120.0

log = logging.getLogger(__name__)


def _advice(kernel: Kernel, lack: list[str]) -> str:
    if kernel.config is not None:
        return f"its configuration lacks {', '.join(lack)}"
    return f"does its configuration have kconfigs/guest.config and kconfigs/{kernel.arch.name}.config?"


def _key(kernel: Kernel) -> str:
    return f"{kernel.arch.name}:{kernel.boot}"


@dataclass
class Booted:
    """What one boot of a kernel has brought."""

    setup: qemu.Setup
    #: The snapshot; None where QEMU could not make one, then every guest boots.
    state: Path | None
    #: PID 1's descriptor of the kernel log in the snapshot.
    kmsg: int
    console: Path
    troubles: list[Sighting]


@dataclass
class Lab:
    """Where guests are made. ``evidence`` gets the consoles, ``scratch`` what is thrown away at the end."""

    evidence: Path
    scratch: Path
    #: Seconds for a boot, and for what a check does in its guest.
    timeout: float
    wish: str = "auto"
    fork: bool = True
    accels: dict[str, accel.Accel] = field(default_factory=dict)
    _booted: dict[str, Booted | HarnessError] = field(default_factory=dict)

    @contextmanager
    def guest(self, kernel: Kernel, name: str) -> Iterator[Guest]:
        """A pristine guest, ready for a check. Raises what the kernel's boot raised, each time."""
        booted = self.boot(kernel)
        console = self._console(kernel, name)
        deadline = Deadline.after(self.timeout)
        if booted.state is None:
            with machine.running(booted.setup, console) as cold:
                yield self._ready(cold, kernel, deadline)
            return
        with cache.writing(console):
            shutil.copyfile(booted.console, console)
        with machine.running(booted.setup, console, booted.state) as running:
            running.resume(deadline)
            guest = Guest(running, kernel, deadline)
            guest.attach_log(booted.kmsg)
            guest.boot_log = booted.console.read_bytes()
            yield guest

    def boot(self, kernel: Kernel) -> Booted:
        """Boot ``kernel`` to the agent's READY, once. Raises GuestError, HostError, the same one every time."""
        key = _key(kernel)
        if key not in self._booted:
            try:
                self._booted[key] = self._boot(kernel)
            except HarnessError as error:
                if isinstance(error, GuestError) and (lack := kconfig.lacking(kernel.config or {}, kernel.arch)):
                    error.hint = error.hint or _advice(kernel, lack)
                self._booted[key] = error
        booted = self._booted[key]
        if isinstance(booted, HarnessError):
            raise booted
        return booted

    def boot_troubles(self, kernel: Kernel) -> list[Sighting]:
        """What the kernel complained about while it booted; empty if it did not boot (yet)."""
        booted = self._booted.get(_key(kernel))
        return booted.troubles if isinstance(booted, Booted) else []

    def _boot(self, kernel: Kernel) -> Booted:
        image = agent.image(kernel.arch, Deadline.after(COMPILING))
        deadline = Deadline.after(self.timeout)
        setup = qemu.Setup(kernel.arch, kernel.boot, image)
        chosen = accel.known(kernel.arch, self.wish)
        if chosen is not None:
            self.accels[kernel.arch.name] = chosen
            return self._boot_under(kernel, replace(setup, accel=chosen.name), deadline)
        try:
            booted = self._boot_under(kernel, replace(setup, accel="kvm"), deadline.within(accel.PROBE))
            chosen = accel.Accel("kvm", "a guest has booted under it")
        except (GuestError, HostError) as error:
            cause = (error.cause or error.what).splitlines()[0]
            chosen = accel.Accel("tcg", f"no guest booted under KVM within {accel.PROBE:.0f} s: {cause}")
            log.info("KVM does not work here: %s", cause)
            # Only now is it KVM's fault, and not the kernel's: it boots without.
            booted = self._boot_under(kernel, setup, Deadline.after(self.timeout))
        accel.remember(kernel.arch, chosen)
        self.accels[kernel.arch.name] = chosen
        return booted

    def _boot_under(self, kernel: Kernel, setup: qemu.Setup, deadline: Deadline) -> Booted:
        console = self._console(kernel, BOOT)
        with machine.running(setup, console) as running:
            guest = self._ready(running, kernel, deadline)
            booted = Booted(setup, None, guest.kmsg, console, find_troubles(guest.boot_log))
            if self.fork:
                state = self.scratch / f"{console.parent.name}.state"
                try:
                    running.save(state, deadline.within(30))
                    booted.state = state
                except HostError as error:
                    state.unlink(missing_ok=True)
                    log.warning("no snapshots, every check boots its own guest: %s", error)
            return booted

    @staticmethod
    def _ready(running: machine.Machine, kernel: Kernel, deadline: Deadline) -> Guest:
        guest = Guest(running, kernel, deadline)
        guest.channel.wait_ready()
        try:
            guest.prepare()
        except SyscallError as error:
            raise GuestError(
                "the kernel came up, but a system call that every check needs fails",
                cause=str(error),
                log=guest.console,
            ) from error
        return guest

    def _console(self, kernel: Kernel, name: str) -> Path:
        directory = self.evidence / re.sub(r"[^\w.+-]", "_", kernel.label)
        with cache.writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}.console"
        path.unlink(missing_ok=True)
        return path

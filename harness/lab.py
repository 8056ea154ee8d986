# SPDX-License-Identifier: GPL-2.0-only
"""Guests on demand: each kernel is booted once, stopped, and every guest is a fork of that snapshot."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import accel, agent, cache, kconfig, machine, profiles, qemu, snapshot
from harness.calls import SyscallError
from harness.console import Sighting, find_troubles
from harness.deadline import Deadline
from harness.errors import GuestError, HarnessError, HostError
from harness.guest import Guest
from harness.kernel import Kernel
from harness.profiles import Profile

#: The console of the boot that the snapshot comes from, with the profile behind it; no check is called so.
BOOT = "0-boot"
#: Seconds for the agent's compilation and the download of packages, which are not the kernel's fault.
FETCHING = 1800.0
#: Seconds for a guest's state to be written to, or read from, a file.
SAVING = 30.0

#: What a guest is unless something else is said.
MINIMAL = Profile(profiles.DEFAULT)

log = logging.getLogger(__name__)


def _advice(kernel: Kernel, lack: list[str]) -> str:
    if kernel.config is not None:
        return f"its configuration lacks {', '.join(lack)}"
    return f"does its configuration have kconfigs/guest.config and kconfigs/{kernel.arch.name}.config?"


def _key(kernel: Kernel, profile: Profile) -> str:
    return f"{_of(kernel)}{profile.name}"


def _of(kernel: Kernel) -> str:
    """How the keys of a kernel begin, whatever the profile."""
    return f"{kernel.arch.name}:{kernel.boot}:"


@dataclass
class Booted:
    """What one boot of a kernel, now or in an earlier run, has brought."""

    setup: qemu.Setup
    #: What its console printed.
    log: bytes
    #: None where every guest boots by itself; then ``why`` may say why.
    snapshot: snapshot.Snapshot | None = None
    why: str = ""


@dataclass
class Lab:
    """Where guests are made, by many threads at once.

    ``evidence`` gets the consoles. Use it as a context manager.
    """

    evidence: Path
    #: Seconds for a boot, and for what a check does in its guest.
    timeout: float
    wish: str = "auto"
    fork: bool = True
    #: What guests of each profile shall be able to load, by name, where their kernel has it.
    modules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    accels: dict[str, accel.Accel] = field(default_factory=dict)
    #: Seconds that each stage took, of all threads together.
    stages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _booted: dict[str, Booted | HarnessError] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _files: ExitStack = field(default_factory=ExitStack)
    _running: set[machine.Machine] = field(default_factory=set)
    _over: bool = False

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def _lock(self, name: str) -> threading.Lock:
        return self._locks.setdefault(name, threading.Lock())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done in the block is part of that stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            with self._lock("stages"):
                self.stages[name] += time.monotonic() - begun

    def stop(self) -> None:
        """Take all guests away at once, and make no more: whoever waits for one gets an error."""
        self._over = True
        for running in list(self._running):
            running.child.kill()

    @contextmanager
    def _machine(
        self, setup: qemu.Setup, console: Path, ram: qemu.Ram | None = None, state: int | None = None
    ) -> Iterator[machine.Machine]:
        with machine.running(setup, console, ram, state) as running:
            self._running.add(running)
            try:
                if self._over:
                    raise HostError("the run was ended")
                yield running
            finally:
                self._running.discard(running)

    @contextmanager
    def guest(self, kernel: Kernel, name: str, profile: Profile = MINIMAL) -> Iterator[Guest]:
        """A pristine guest, ready for the check ``name``. Raises what the kernel's boot raised, each time."""
        booted = self.boot(kernel, profile)
        seconds = max(self.timeout, profile.timeout)
        with ExitStack() as stack:
            try:
                guest = self._fork(stack, kernel, booted, name, seconds)
            except HostError as error:
                if self._over:
                    raise
                stack.close()
                self._give_up(booted, error)
                guest = None
            if guest is None:
                running = stack.enter_context(self._machine(booted.setup, self._console(kernel, name)))
                guest = self._ready(running, kernel, booted.setup, Deadline.after(seconds))
                booted.log = booted.log or guest.boot_log
            guest.loadable = self.modules.get(profile.name, ())
            yield guest

    def _fork(self, stack: ExitStack, kernel: Kernel, booted: Booted, name: str, seconds: float) -> Guest | None:
        """A guest that goes on from the snapshot, until ``stack`` is closed; None if there is no snapshot."""
        deadline, origin = Deadline.after(seconds), booted.snapshot
        if origin is None:
            return None
        console = self._console(kernel, name, booted.log)
        # A descriptor of its own: the others of the same file share their position.
        state = os.open(f"/proc/self/fd/{origin.state}", os.O_RDONLY)
        stack.callback(os.close, state)
        ram = qemu.Ram(origin.ram, shared=False)
        running = stack.enter_context(self._machine(booted.setup, console, ram, state))
        running.restore(state, deadline.within(SAVING))
        guest = Guest(running, kernel, deadline)
        guest.wake(origin.anchors)
        guest.boot_log = booted.log
        return guest

    @staticmethod
    def _give_up(booted: Booted, error: HostError) -> None:
        if booted.why:  # another thread was faster
            return
        if booted.snapshot is not None:
            snapshot.discard(booted.snapshot.where)
        booted.snapshot, booted.why = None, str(error.cause or error.what)
        log.warning("no snapshot, every check boots its own guest: %s", error)

    def boot(self, kernel: Kernel, profile: Profile = MINIMAL) -> Booted:
        """Boot ``kernel`` to the agent's READY, once for each profile.

        Raises GuestError, HostError, RequestError, the same one every time.
        """
        key = _key(kernel, profile)
        with self._lock(key):
            if key not in self._booted:
                try:
                    with self.stage("boots"):
                        self._booted[key] = self._boot(kernel, profile)
                except HarnessError as error:
                    if isinstance(error, GuestError) and (lack := kconfig.lacking(kernel.config or {}, kernel.arch)):
                        error.hint = error.hint or _advice(kernel, lack)
                    self._booted[key] = error
        booted = self._booted[key]
        if isinstance(booted, HarnessError):
            raise booted
        return booted

    def _tried(self, kernel: Kernel) -> list[Booted | HarnessError]:
        """What came of each profile that ``kernel`` was booted with, the default one first."""
        tried = {key: self._booted[key] for key in list(self._booted) if key.startswith(_of(kernel))}
        return [tried[key] for key in sorted(tried, key=lambda key: key != _key(kernel, MINIMAL))]

    def booted(self, kernel: Kernel) -> Booted | None:
        """What the first boot of ``kernel`` has brought that came to its end; None if none did (yet)."""
        return next((each for each in self._tried(kernel) if isinstance(each, Booted)), None)

    def boot_troubles(self, kernel: Kernel) -> list[Sighting]:
        """What the kernel complained about while it booted; empty if it did not boot (yet)."""
        logs = [each.log for each in self._tried(kernel) if isinstance(each, Booted)]
        return list(dict.fromkeys(seen for log in logs for seen in find_troubles(log)))

    def no_boot(self, kernel: Kernel) -> str:
        """Why the kernel boots with no profile, if that is its own fault; else empty."""
        tried = self._tried(kernel)
        error = next(iter(tried), None)
        booted = any(isinstance(each, Booted) for each in tried)
        return error.brief.splitlines()[0] if isinstance(error, GuestError) and not booted else ""

    def _boot(self, kernel: Kernel, profile: Profile) -> Booted:
        loadable = self.modules.get(profile.name, ())
        image = agent.image_with(kernel, loadable, profile, Deadline.after(FETCHING))
        deadline = Deadline.after(self.timeout)
        name = BOOT if profile.name == profiles.DEFAULT else f"{BOOT}-{profile.name}"
        setup = qemu.Setup(
            kernel.arch, kernel.boot, image, memory=profile.memory, cmdline=profile.cmdline, disk=profile.disk,
            loaded=tuple(name for name in profile.modules if name in loadable),
        )  # fmt: skip
        with self._lock(f"accel {kernel.arch.name}"):  # one probe is enough
            chosen = accel.known(kernel.arch, self.wish)
            if chosen is None:
                try:
                    booted = self._boot_under(kernel, name, replace(setup, accel="kvm"), deadline.within(accel.PROBE))
                    chosen = accel.Accel("kvm", "a guest has booted under it")
                except (GuestError, HostError) as error:
                    cause = (error.cause or error.what).splitlines()[0]
                    chosen = accel.Accel("tcg", f"no guest booted under KVM within {accel.PROBE:.0f} s: {cause}")
                    log.info("KVM does not work here: %s", cause)
                # Only now is it KVM's fault, and not the kernel's: it boots without.
                accel.remember(kernel.arch, chosen)
                if chosen.name == "kvm":
                    self.accels[kernel.arch.name] = chosen
                    return booted
                deadline = Deadline.after(self.timeout)
            self.accels[kernel.arch.name] = chosen
        return self._boot_under(kernel, name, replace(setup, accel=chosen.name), deadline)

    def _boot_under(self, kernel: Kernel, name: str, setup: qemu.Setup, deadline: Deadline) -> Booted:
        if setup.disk and accel.known(kernel.arch, self.wish):
            # QEMU cannot save an NVMe disk (hw/nvme/ctrl.c: nvme_vmstate), so each check boots its own guest anyway.
            return Booted(setup, b"")
        if setup.disk or not self.fork:
            return self._boot_cold(kernel, name, setup, deadline)
        facts = snapshot.key(setup)
        with snapshot.mine(facts, deadline):
            kept = snapshot.found(facts, self._files)
            if kept is None:
                booted = self._boot_to_save(kernel, name, setup, facts, deadline)
                booted.snapshot = None if booted.why else snapshot.found(facts, self._files)
                return booted
        self._console(kernel, name, kept.console)
        return Booted(setup, kept.console, kept)

    def _boot_cold(self, kernel: Kernel, name: str, setup: qemu.Setup, deadline: Deadline) -> Booted:
        with self._machine(setup, self._console(kernel, name)) as running:
            return Booted(setup, self._ready(running, kernel, setup, deadline).boot_log)

    def _boot_to_save(
        self, kernel: Kernel, name: str, setup: qemu.Setup, facts: dict[str, str], deadline: Deadline
    ) -> Booted:
        booted = None
        try:
            with snapshot.draft(setup) as made:
                ram = qemu.Ram(made.ram, shared=True)
                with self._machine(setup, self._console(kernel, name), ram) as running:
                    guest = self._ready(running, kernel, setup, deadline)
                    booted = Booted(setup, guest.boot_log)
                    running.save(made.state, deadline.within(SAVING))
                snapshot.publish(facts, made, booted.log, guest.anchors)
        except HostError as error:
            if self._over or booted is None:
                raise  # it did not boot, which has nothing to do with snapshots
            self._give_up(booted, error)
        return booted

    @staticmethod
    def _ready(running: machine.Machine, kernel: Kernel, setup: qemu.Setup, deadline: Deadline) -> Guest:
        guest = Guest(running, kernel, deadline)
        guest.channel.wait_ready()
        try:
            guest.prepare(setup.loaded)
        except SyscallError as error:
            raise GuestError(
                "the kernel came up, but a system call that every check needs fails",
                cause=str(error),
                log=guest.console,
            ) from error
        return guest

    def _console(self, kernel: Kernel, name: str, text: bytes = b"") -> Path:
        """The file for a guest's console, which begins with ``text``."""
        directory = self.evidence / re.sub(r"[^\w.+-]", "_", kernel.label)
        path = directory / f"{name}.console"
        with cache.writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if text:
                path.write_bytes(text)
        return path

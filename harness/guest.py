# SPDX-License-Identifier: GPL-2.0-only
"""A running machine whose PID 1 is the agent: what a check has in its hands."""

from __future__ import annotations

import errno
import os
import random
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness import abi, modules, oops
from harness.calls import Pending, SyscallError
from harness.channel import Channel
from harness.console import Sighting, find_troubles
from harness.deadline import Deadline
from harness.errors import GuestError, HostError, RequestError
from harness.kernel import Kernel
from harness.machine import Machine
from harness.protocol import Out, Ref
from harness.snapshot import Anchors
from harness.task import Task

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

#: PRINTK_MESSAGE_MAX of kernel/printk/internal.h, in bytes.
_RECORD = 2048
#: Bytes of randomness for a fork: what the kernel's generator has as its key.
_SEED = 32
#: Nanoseconds that a guest rests between two looks at what is waited for.
_LOOK = 20_000_000
_SYMBOL = {"proc": "PROC_FS", "sysfs": "SYSFS", "devtmpfs": "DEVTMPFS"}


@dataclass(frozen=True)
class Kthread:
    """A kernel thread, as /proc shows it."""

    pid: int
    name: str


class Guest(Task):
    """PID 1 of a guest; other tasks come from ``spawn``, ``thread`` and ``caller``."""

    def __init__(self, machine: Machine, kernel: Kernel, deadline: Deadline) -> None:
        super().__init__(Channel(machine.console, deadline), kernel.arch, (), 1)
        self.machine = machine
        self.kernel = kernel
        #: Descriptors of PID 1 that a snapshot keeps.
        self.anchors = Anchors(-1, -1)
        self._expected: set[str] = set()
        self._checked = 0
        #: What the kernel printed before the checks began.
        self.boot_log = b""
        #: PID 1 is another program by now, and only the console is left.
        self.handed_over = False
        #: What tests of the kernel's tree have said here: see Result.tests.
        self.tests: dict[str, str] = {}
        #: The modules that are in its image, as far as its kernel has them.
        self.loadable: Collection[str] = ()
        #: How the last ``caller`` was called.
        self.caller_argv: tuple[str, ...] = ()

    @property
    def console(self) -> Path:
        """The file with the whole console log."""
        return self.machine.console.path

    def prepare(self, loaded: Collection[str] = ()) -> None:
        """What every check may count on: /proc, /sys, /dev, and a kernel log that begins now.

        Of the modules ``loaded`` those that are there get loaded; why one cannot be, the check tells that needs it.
        Raises GuestError when the kernel lacks what kconfigs/guest.config asks for.
        """
        for kind, where in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")):
            try:
                self.mount(kind, where, kind)
            except SyscallError as error:
                symbol = f"CONFIG_{_SYMBOL[kind]}"
                built = (self.kernel.config or {}).get(symbol) == "y"
                raise GuestError(
                    f"this kernel cannot mount {kind} on {where}, which every check needs",
                    cause=str(error.strerror),
                    log=self.console,
                    hint=f"it has {symbol}, so see its console"
                    if built and error.errno != errno.ENODEV
                    else f"build it with {symbol}=y (kconfigs/guest.config has all that is needed)",
                ) from error
        self.attach_log()
        for path in self.module_files(*loaded) if loaded else ():
            with suppress(SyscallError):
                self._load(path)
        self.anchors = replace(self.anchors, random=self.open("/dev/urandom"))
        self.settle(self.channel.deadline)
        self._checked = len(self.machine.console.text)
        self.boot_log = bytes(self.machine.console.text)

    def attach_log(self) -> None:
        """Begin to read the kernel's log at its present end."""
        flags = abi.O_RDWR | abi.O_NONBLOCK | abi.O_CLOEXEC
        kmsg, _ = self.all(("openat", abi.AT_FDCWD, "/dev/kmsg", flags, 0), ("lseek", Ref(0), 0, 2))  # SEEK_END
        self.anchors = replace(self.anchors, kmsg=kmsg)

    def wake(self, anchors: Anchors) -> None:
        """Go on from a snapshot: with the clock of today, and randomness that no other fork has.

        Raises GuestError, SyscallError.
        """
        self.anchors = anchors
        now, behind = divmod(time.time_ns(), 10**9)
        seed = struct.pack("<ii", 8 * _SEED, _SEED) + os.urandom(_SEED)
        self.all(
            ("clock_settime", abi.CLOCK_REALTIME, struct.pack("<qq", now, behind)),
            # Credited, and used at once (drivers/char/random.c: random_ioctl()).
            ("ioctl", anchors.random, abi.RNDADDENTROPY, seed),
            ("ioctl", anchors.random, abi.RNDRESEEDCRNG),
        )

    def log(self) -> list[str]:
        """The kernel's own messages since the last call, or since ``attach_log``."""
        lines: list[str] = []
        while True:
            out = Out(_RECORD, limit=True)
            try:
                self.call("read", self.anchors.kmsg, out, out.size)
            except SyscallError as error:
                if error.errno == errno.EAGAIN:
                    return lines
                if error.errno != errno.EPIPE:  # EPIPE: records were overwritten; goes on with the oldest
                    raise
                continue
            head, _, text = out.value.decode(errors="replace").partition(";")
            # Facility 0 is the kernel (Documentation/ABI/testing/dev-kmsg).
            if int(head.split(",")[0]) < 8:
                lines.append(text.splitlines()[0])

    def caller(self, unless: Pending | Task | None = None) -> Task | None:
        """The next program that the kernel, or execve(), has started with the agent's file.

        None when ``unless`` comes first: a system call that returns, or a task that is gone.
        """
        caller = self.channel.wait_caller(lambda: unless is not None and unless.ended)
        if caller is None:
            return None
        self.caller_argv = caller.argv
        return Task(self.channel, self.arch, caller.route, caller.pid)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
        """Look again and again until ``condition`` is true, for so many seconds by the guest's clock and by the host's.

        Raises AssertionError, which says ``what`` was waited for; GuestCrash, GuestTimeout.
        """
        # Both: a busy host keeps the guest waiting, and x86_64's clock may run a hundred times too fast there (TCG).
        begun, host = 0, time.monotonic()
        while not condition():
            out = Out(16)
            rest = struct.pack("<qq", 0, _LOOK)
            self.all(("nanosleep", rest, 0), ("clock_gettime", abi.CLOCK_MONOTONIC, out))
            whole, more = struct.unpack("<qq", out.value)
            now = whole * 10**9 + more
            begun = begun or now
            if min(now - begun, (time.monotonic() - host) * 10**9) > seconds * 10**9:
                raise AssertionError(f"waited {seconds:g} s: {what}")

    def boot_troubles(self) -> list[Sighting]:
        """What the kernel complained about before the checks began."""
        return find_troubles(self.boot_log)

    def expect_trouble(self, name: str) -> None:
        """This check provokes that kind of complaint of the kernel (see harness/console.py) on purpose."""
        self._expected.add(name)

    def settle(self, deadline: Deadline) -> None:
        """Wait until all that the kernel has said is on the console, where it may print in a thread of its own.

        Raises GuestCrash, GuestTimeout.
        """
        if self.handed_over:  # nobody is there who could be asked to print something
            self.machine.console.settle(deadline)
            return
        mark = f"nullfs-harness: mark {random.getrandbits(32):08x}".encode()
        # Without its newline it could still be continued, and would not be printed (kernel/printk: vprintk_store()).
        self.call("write", self.anchors.kmsg, b"<6>" + mark + b"\n", len(mark) + 4)
        self.machine.console.wait_text(mark, deadline)

    def troubles(self) -> list[Sighting]:
        """What the kernel complained about in this guest, and nobody expected."""
        seen = find_troubles(bytes(self.machine.console.text[self._checked :]))
        return [sighting for sighting in seen if sighting.name not in self._expected]

    def restart(self) -> None:
        """Become a fresh PID 1 by execve() of /init, which opens /dev/console as it is now. All children are lost."""
        self.execve("/init", "/init", "again")
        self.channel.wait_ready()
        self.attach_log()

    def hand_over(self, path: str, *argv: str) -> None:
        """Have PID 1 become another program, for good: nobody answers any more, what is printed can be waited for.

        Raises HostError if the guest has no such program.
        """
        if not self.exists(path):
            raise HostError(f"the guest has no {path}", hint=self.remedy(path))
        self.handed_over = True
        self.execve(path, path, *argv)

    def wait_printed(self, words: str) -> str:
        """What is on the console, once ``words`` are. Raises GuestTimeout, GuestCrash."""
        self.machine.console.wait_text(words.encode(), self.channel.deadline)
        return self.machine.console.text.decode(errors="replace")

    def kthreads(self) -> list[Kthread]:
        """Every kernel thread there is: PF_KTHREAD in the flags of /proc/PID/stat."""
        pids = [name for name in self.listdir("/proc") if name.isdigit()]
        found = []
        # As far as the flags: pid, name (a worker's can have 64 bytes), state and five numbers come before.
        for stat in self.read_small([f"/proc/{pid}/stat" for pid in pids], 160).values():
            pid, _, rest = stat.decode(errors="replace").partition(" (")
            name, _, fields = rest.rpartition(") ")
            if int(fields.split()[6]) & abi.PF_KTHREAD:
                found.append(Kthread(int(pid), name))
        return sorted(found, key=lambda kthread: kthread.pid)

    def load_module(self, name: str) -> None:
        """Load a module of the kernel under test and what it depends on, unless the kernel has it built in.

        Raises GuestError if one cannot be loaded; RequestError if no check has declared it, so that it is not in the
        guest, wherever the kernel has it.
        """
        if name not in self.loadable:
            raise RequestError(
                f"a check loads the module {name}, and no check declares it",
                hint=f'let it say so in its file: @check(…, modules="{name}")',
            )
        if modules.built_in(self.kernel, name):
            return
        for path in self.module_files(name):
            begin = len(self.machine.console.text)
            try:
                self._load(path)
            except SyscallError as error:
                self.settle(self.channel.deadline)
                raise GuestError(
                    f"{self.kernel.release} does not load its module {path.removeprefix(self._modules)}",
                    cause=f"{error.strerror}; {self._said_of(path, begin)}",
                    log=self.console,
                ) from error

    def _load(self, path: str) -> None:
        opening = ("openat", abi.AT_FDCWD, path, abi.O_CLOEXEC, 0)
        try:
            self.all(opening, ("finit_module", Ref(0), "", modules.load_flags(path)), ("close", Ref(0)))
        except SyscallError as error:
            if error.errno != errno.EEXIST:  # loaded already
                raise

    @property
    def _modules(self) -> str:
        """The directory of the kernel's modules, in the guest."""
        return f"/{modules.GUEST}/{self.kernel.release}/"

    def module_files(self, *names: str) -> list[str]:
        """The files of those modules that are in the guest and of all that they need, in load order, each once."""
        dep = f"{self._modules}modules.dep"
        text = self.read_text(dep) if self.exists(dep) else ""
        paths = dict.fromkeys(path for name in names for path in modules.load_order(text, name))
        return [f"{self._modules}{path}" for path in paths]

    def _said_of(self, path: str, begin: int) -> str:
        """What the kernel said of a module, on the console from byte ``begin`` on."""
        name = modules.spelt(path.rpartition("/")[2].partition(".")[0])
        text = self.machine.console.text[begin:].decode(errors="replace")
        # That it is not signed is said of nearly all.
        said = [line for line in map(oops.message, text.splitlines()) if name in modules.spelt(line)]
        said = [line for line in said if "module verification failed" not in line]
        return "the kernel: " + "; ".join(said) if said else "the kernel says no more, so it was the module's own init"

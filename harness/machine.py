# SPDX-License-Identifier: GPL-2.0-only
"""A running QEMU: started, spoken to and taken away in one context manager."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from harness import cache, process, qemu
from harness.cache import writing
from harness.console import Console
from harness.deadline import Deadline
from harness.errors import GuestCrash, HostError
from harness.qmp import Monitor

#: Bytes that a line holds: the most that a user may have (pipe(7)).
PIPE = 1 << 20


class Machine:
    """One QEMU process, its serial line and its monitor."""

    def __init__(self, child: subprocess.Popen[bytes], console: Console, monitor: Monitor, errors: IO[bytes]) -> None:
        self.child = child
        self.console = console
        self._monitor = monitor
        self._errors = errors
        #: CPU seconds that QEMU took in ``metered()``; None where that was not seen.
        self.spent: float | None = None

    @contextmanager
    def metered(self) -> Iterator[None]:
        """What the guest does in the block is ``spent`` when it is left, whatever else the host has to do.

        Under TCG a guest's own clock goes on while its host is busy elsewhere, so it cannot tell.
        """
        begun = self._burnt()
        try:
            yield
        finally:
            with suppress(OSError):  # it has ended, and somebody has asked for its status
                self.spent = round(self._burnt() - begun, 2)

    def _burnt(self) -> float:
        """CPU seconds of all QEMU's threads so far, those of one that has ended too until it is reaped."""
        stat = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="ascii", errors="replace")
        user, system = stat.rpartition(")")[2].split()[11:13]  # proc(5): utime, stime
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def complaint(self) -> str:
        """What QEMU wrote on its stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    @contextmanager
    def _doing(self, what: str, deadline: Deadline) -> Iterator[Monitor]:
        try:
            yield self._monitor
        except HostError as error:
            self.console.settle(deadline)  # a guest that dies takes its QEMU away: then that is the news
            words = [error.what, error.cause, self.complaint()]
            raise HostError(f"QEMU could not {what}", cause=": ".join(word for word in words if word)) from error

    def save(self, to: int, deadline: Deadline) -> None:
        """Write the state of all devices to descriptor ``to``; the memory stays in its file. The guest cannot go on.

        Raises HostError if QEMU cannot (docs/devel/migration of QEMU).
        """
        with self._doing("save the guest", deadline) as monitor:
            _capabilities(monitor, deadline)
            # The default of 128 MiB/s would cost more time than the disk does.
            monitor.command("migrate-set-parameters", deadline, max_bandwidth=1 << 40)
            monitor.command("getfd", deadline, fd=to, fdname="state")
            monitor.command("migrate", deadline, uri="fd:state")
            while (status := monitor.event("MIGRATION", deadline)["status"]) != "completed":
                if status in ("failed", "cancelled"):
                    raise HostError(f"the migration {status}")

    def restore(self, state: int, deadline: Deadline) -> None:
        """Let the guest that was saved to descriptor ``state`` go on here. Raises HostError.

        What is sent on its line before it does is lost.
        """
        with self._doing("restore the guest", deadline) as monitor:
            _capabilities(monitor, deadline)
            monitor.command("migrate-incoming", deadline, uri=f"fd:{state}")
            monitor.event("RESUME", deadline)

    def sysrq(self, key: str, deadline: Deadline) -> None:
        """Press a magic SysRq key on the serial line, which works though PID 1 may be stuck.

        A kernel without CONFIG_MAGIC_SYSRQ_SERIAL does nothing, and a second key before the first was taken would call
        that off (include/linux/serial_core.h: uart_handle_break()). Raises HostError, GuestCrash.
        """
        self._monitor.command("chardev-send-break", deadline, id="console")
        self.console.type(key.encode())


def _capabilities(monitor: Monitor, deadline: Deadline) -> None:
    # Measured with Debian's cloud kernels on QEMU 10.0.2, x86_64 and arm64, in milliseconds, loaded host: memory in
    # the stream saves in 301 and 67, restores in 91 and 172; mapped-ram (since 9.0) 168 and 346, 41 and 78; kept out
    # of it, in a file that forks map privately, 4 and 22, 3 and 9. On 7.2 it is as fast.
    # Nothing is copied then but the pages that a fork writes to, and the file is read from the page cache by all.
    wanted = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
    monitor.command("migrate-set-capabilities", deadline, capabilities=wanted)


@contextmanager
def running(setup: qemu.Setup, log: Path, ram: qemu.Ram | None = None, state: int | None = None) -> Iterator[Machine]:
    """A machine that is there for the length of the block, booting, or waiting for ``restore(state)``.

    All its lines are pipes and sockets without a name, so that nothing of them is left. ``log`` gets the console.
    Raises HostError when QEMU cannot be started, and turns the crash of a guest whose QEMU ended over an error of
    its own into that HostError.
    """
    with ExitStack() as stack:
        (said, they_say), (they_hear, answer) = _pipe(stack), _pipe(stack)
        qmp, their_qmp = socket.socketpair()
        stack.callback(qmp.close)
        stack.callback(their_qmp.close)
        errors = stack.enter_context(tempfile.TemporaryFile())
        argv = qemu.arguments(
            setup,
            console=_line(they_hear.fileno(), they_say.fileno()),
            qmp=their_qmp.fileno(),
            ram=ram,
            incoming=state is not None,
            name=f"guest={log}",
        )
        kept = (they_hear.fileno(), they_say.fileno(), their_qmp.fileno(), state, ram.fd if ram else None)
        passed = [fd for fd in kept if fd is not None]
        # At its end there is nothing that QEMU would have to put in order.
        child = stack.enter_context(process.spawn(argv, pass_fds=passed, stderr=errors, grace=0))
        they_hear.close()
        they_say.close()
        their_qmp.close()
        with writing(log):
            console = Console(said.fileno(), answer.fileno(), log)
        stack.callback(console.close)
        machine = Machine(child, console, Monitor(qmp), errors)
        try:
            yield machine
        except GuestCrash as crash:
            complaint = machine.complaint()
            if not console.text and complaint:
                raise HostError(
                    f"{Path(argv[0]).name} gave up", cause=complaint.splitlines()[0], hint=process.pasteable(argv)
                ) from crash
            raise


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """A pipe that holds all that may ever be on its way, open until ``stack`` is closed.

    Not a socket: QEMU's serial port writes byte by byte, of which a socket takes 278 before it is full. QEMU's
    8250 then drops what it holds.
    """
    reader, writer = os.pipe()
    ends = os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)
    for end in ends:
        stack.enter_context(end)
    with suppress(OSError):  # it has 64 KiB anyway
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    return ends


def _line(hear: int, say: int) -> Path:
    """What QEMU's pipe device is to be called so that it takes these two descriptors: it wants names in a directory.

    They are links that mean something only to who follows them, so they may stay for the next one.
    """
    line = cache.directory("lines") / f"{hear}-{say}"
    with writing(line):
        for suffix, fd in ((".in", hear), (".out", say)):
            with suppress(FileExistsError):
                line.with_suffix(suffix).symlink_to(f"/proc/self/fd/{fd}")
    return line

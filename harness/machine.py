# SPDX-License-Identifier: GPL-2.0-only
"""A running QEMU: started, spoken to and taken away in one context manager."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from qemu.qmp import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol

from harness import process, qemu
from harness.cache import writing
from harness.console import Console
from harness.deadline import Deadline
from harness.errors import GuestCrash, HostError

# Ctrl-C in the middle of a command leaves tasks of qemu.qmp behind, whose complaints help nobody.
for _name in ("asyncio", "qemu.qmp"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Machine:
    """One QEMU process, its serial line and its monitor."""

    def __init__(self, child: subprocess.Popen[bytes], console: Console, qmp: socket.socket, errors: IO[bytes]) -> None:
        self.child = child
        self.console = console
        self._qmp = qmp
        self._errors = errors

    def complaint(self) -> str:
        """What QEMU wrote on its stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    @contextmanager
    def _monitor(self, deadline: Deadline, doing: str) -> Iterator[QEMUMonitorProtocol]:
        monitor = QEMUMonitorProtocol(self._qmp.dup())
        try:
            monitor.settimeout(max(deadline.left(), 1.0))
            monitor.connect()
            yield monitor
        except (QMPError, OSError, EOFError) as error:
            self.console.settle(deadline)  # a guest that dies takes its QEMU away: then that is the news
            raise HostError(f"QEMU could not {doing}", cause=f"{error} {self.complaint()}".strip()) from error
        finally:
            with suppress(QMPError, OSError, EOFError):
                monitor.close()

    def save(self, to: Path, deadline: Deadline) -> None:
        """Write the guest's state to ``to``; it cannot go on afterwards.

        Raises HostError if QEMU cannot (docs/interop/qmp-spec, ``migrate``), or the disk is full.
        """
        with self._monitor(deadline, "save the guest") as monitor, writing(to), to.open("wb") as handle:
            monitor.send_fd_scm(handle.fileno())
            monitor.cmd("getfd", fdname="snapshot")
            # The default of 128 MiB/s would cost more time than the disk does.
            monitor.cmd("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
            monitor.cmd("migrate", uri="fd:snapshot")
            while (state := _field(monitor, "query-migrate", "status")) != "completed":
                if state in ("failed", "cancelled") or deadline.passed:
                    raise HostError("QEMU could not save the guest", cause=f"the migration is {state}")
                time.sleep(0.005)

    def resume(self, deadline: Deadline) -> None:
        """Let a restored guest go on; what is sent on its line before it does is lost. Raises HostError."""
        # It waits for us (-S): qemu.qmp takes an event that comes before the answer to its greeting, as
        # RESUME once did, for a broken session.
        with self._monitor(deadline, "restore the guest") as monitor:
            monitor.cmd("cont")
            while not _field(monitor, "query-status", "running"):
                if deadline.passed:
                    raise HostError("QEMU could not restore the guest", cause=self.complaint())
                monitor.pull_event(wait=deadline.left())


def _field(monitor: QEMUMonitorProtocol, query: str, name: str) -> object:
    answer = monitor.cmd(query)
    return answer.get(name) if isinstance(answer, dict) else None


@contextmanager
def running(setup: qemu.Setup, log: Path, incoming: Path | None = None) -> Iterator[Machine]:
    """A machine that is there for the length of the block, booting or going on from the snapshot ``incoming``.

    All its lines are socket pairs, so that nothing is left in any directory. ``log`` gets the console.
    Raises HostError when QEMU cannot be started, and turns the crash of a guest whose QEMU ended over
    an error of its own into that HostError.
    """
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        qmp, their_qmp = socket.socketpair()
        for line in (ours, theirs, qmp, their_qmp):
            stack.callback(line.close)
        errors = stack.enter_context(tempfile.TemporaryFile())
        fds = [theirs.fileno(), their_qmp.fileno()]
        if incoming is not None:
            state = os.open(incoming, os.O_RDONLY)
            stack.callback(os.close, state)
            fds.append(state)
        argv = qemu.arguments(setup, console=fds[0], qmp=fds[1], incoming=fds[2] if incoming is not None else None)
        child = stack.enter_context(process.spawn(argv, pass_fds=fds, stderr=errors))
        theirs.close()
        their_qmp.close()
        with writing(log):
            console = Console(ours, log)
        stack.callback(console.close)
        machine = Machine(child, console, qmp, errors)
        try:
            yield machine
        except GuestCrash as crash:
            complaint = machine.complaint()
            if not console.text and complaint:
                raise HostError(
                    f"{Path(argv[0]).name} gave up", cause=complaint.splitlines()[0], hint=process.pasteable(argv)
                ) from crash
            raise

# SPDX-License-Identifier: GPL-2.0-only
"""Requests to the tasks of a guest, and their answers, over one console line."""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from harness.console import Console
from harness.deadline import Deadline
from harness.errors import GuestError
from harness.protocol import Message, Op, Say

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

Route = tuple[int, ...]

#: Seconds without an answer after which the agent is asked to say its last message again.
PATIENCE = 5.0


class TaskGone(GuestError):
    """The task that was asked is not there any more."""


@dataclass(frozen=True)
class Caller:
    """A program that called home: it was started by the kernel, or by execve()."""

    route: Route
    pid: int
    argv: tuple[str, ...]


class Channel:
    """Every request has a number that no other fork of the same snapshot is likely to use."""

    def __init__(self, console: Console, deadline: Deadline) -> None:
        self.console = console
        self.deadline = deadline
        self._next = random.getrandbits(32)
        self._posted = Message(0, Op.REPEAT)
        self._answers: dict[int, Message] = {}
        self._gone: set[Route] = set()
        self.callers: deque[Caller] = deque()
        self.readies = 0

    def wait_ready(self) -> None:
        """Wait until an agent says that it is PID 1. Raises GuestCrash, GuestTimeout."""
        before = self.readies
        while self.readies == before:
            # Nothing is sent until then: the console may still echo, and nobody may be there to read.
            message = self.console.receive(self.deadline, self.deadline.left())
            if message is None:
                self.console.send_message(Message(0, Op.REPEAT))  # it came damaged, so somebody is there
            else:
                self._sort(message)

    def post(self, op: Op, route: Route, body: bytes) -> int:
        """Send a request without waiting; the number is for ``answer``."""
        self._next = self._next % 0xFFFFFFFF + 1  # never 0, which is nobody's number
        self._gone.discard(route)
        self._posted = Message(self._next, op, route, body)
        self.console.send_message(self._posted)
        return self._next

    def answer(self, number: int, route: Route, deadline: Deadline | None = None) -> bytes:
        """The answer to request ``number``. Raises TaskGone, GuestCrash, GuestTimeout."""
        deadline = deadline or self.deadline
        while number not in self._answers:
            if any(route[: len(gone)] == gone for gone in self._gone):
                raise TaskGone("the task ended before it answered", log=self.console.path)
            self._take(deadline)
        return self._answers.pop(number).body

    def answered(self, number: int) -> bool:
        """Whether the answer to request ``number`` has come."""
        return number in self._answers

    def gone(self, route: Route) -> bool:
        """Whether the task at ``route`` is known to have ended."""
        return route in self._gone

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Take messages until ``condition`` is true. Raises GuestCrash, GuestTimeout."""
        while not condition():
            self._take(self.deadline)

    def wait_gone(self, route: Route) -> None:
        """Wait until the task at ``route`` is no more. Raises GuestCrash, GuestTimeout."""
        self.wait_for(lambda: self.gone(route))

    def wait_caller(self, otherwise: Callable[[], bool]) -> Caller | None:
        """The next program that calls home; None when ``otherwise`` comes true first."""
        self.wait_for(lambda: bool(self.callers) or otherwise())
        return self.callers.popleft() if self.callers else None

    def _take(self, deadline: Deadline) -> None:
        message = self.console.receive(deadline, PATIENCE)
        if message is None or message.op == Say.DAMAGED:
            # Something was lost on the line, or the guest is slow: asked again, the agent does nothing twice.
            self.console.send_message(self._posted)
            return
        self._sort(message)

    def _sort(self, message: Message) -> None:
        if message.op == Say.RESULT:
            self._answers[message.id] = message
        elif message.op == Say.READY:
            self.readies += 1
        elif message.op == Say.GONE:
            self._gone.add(message.route)
        elif message.op == Say.HELLO:
            (pid,) = struct.unpack_from("<I", message.body)
            argv = message.body[4:].rstrip(b"\0").decode(errors="replace").split("\0")
            caller = Caller(message.route, pid, tuple(argv))
            if caller not in self.callers:
                self.callers.append(caller)
            self._gone.discard(message.route)

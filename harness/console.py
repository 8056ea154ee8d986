# SPDX-License-Identifier: GPL-2.0-only
"""A guest's serial line: the kernel's text kept whole and watched by pexpect, the agent's messages taken out of it."""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pexpect
from pexpect.fdpexpect import fdspawn

from harness import oops, protocol, wire
from harness.cache import writing
from harness.deadline import Deadline
from harness.errors import GuestCrash, GuestTimeout

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True


@dataclass(frozen=True)
class Trouble:
    """A kind of message that no healthy kernel prints. ``fatal``: nothing sensible comes after it."""

    name: str
    pattern: bytes
    fatal: bool = False


@dataclass(frozen=True)
class Sighting:
    """A line of a console or kernel log that is trouble."""

    name: str
    line: str


#: Order matters where two patterns fit at the same place: the first one names the trouble.
TROUBLES: tuple[Trouble, ...] = (
    # kernel/panic.c
    Trouble("panic", rb"Kernel panic - not syncing", fatal=True),
    # kernel/locking/lockdep.c, kernel/rcu/update.c; all of them turn lockdep off.
    Trouble(
        "lockdep", rb"WARNING: (?:possible |inconsistent |suspicious RCU|bad unlock|held lock|lock held|Nested lock)"
    ),
    Trouble("lockdep", rb"BUG: (?:held lock freed|MAX_LOCK)|INFO: trying to register non-static key"),
    # kernel/panic.c: __warn()
    Trouble("warn", rb"WARNING: (?:CPU: \d|[\w./-]+:\d+ at|at )"),
    # mm/kasan/report.c, mm/kfence/report.c, kernel/kcsan/report.c, mm/slub.c
    Trouble("sanitizer", rb"BUG: K(?:ASAN|FENCE|CSAN|MSAN)|UBSAN: |BUG [\w-]+ \((?:Not tainted|Tainted)"),
    # kernel/watchdog.c
    Trouble("lockup", rb"watchdog: (?:BUG: soft lockup|Watchdog detected hard LOCKUP)"),
    # arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c, arch/arm64/mm/fault.c, arch/arm64/kernel/traps.c
    Trouble("oops", rb"BUG: unable to handle|BUG: kernel NULL pointer|Unable to handle kernel|Oops:|Internal error: "),
    # lib/bug.c
    Trouble("bug", rb"kernel BUG at|BUG: |Bad page state|general protection fault"),
    # kernel/rcu/tree_stall.h
    Trouble("rcu-stall", rb"rcu: INFO: \w+ (?:self-)?detected (?:expedited )?stall"),
    # kernel/hung_task.c
    Trouble("hung-task", rb"INFO: task \S+ blocked (?:in I/O wait )?for more than"),
)

_LINES = [re.compile(rb"(?:" + trouble.pattern + rb")[^\r\n]*[\r\n]") for trouble in TROUBLES]
# Stands in pexpect's buffer for a message of the agent, or one that came damaged: bytes that the demultiplexer
# never leaves in the text.
_MESSAGE = b"\xc0\xc1"
_NEWLINE = re.compile(rb"\n")
_CHUNK = 4096
#: Seconds after a damaged frame in which a good one may still come, before it is asked for again.
REPAIR = 0.3
#: Seconds a dying kernel gets to print the rest of its last words.
LAST_WORDS = 10.0


def find_troubles(text: bytes) -> list[Sighting]:
    """Every line of ``text`` that is trouble, in order, each once."""
    found = []
    for line in text.splitlines():
        for trouble in TROUBLES:
            if re.search(trouble.pattern, line):
                found.append(Sighting(trouble.name, line.decode(errors="replace").strip()))
                break
    return found


def _deadliness(sighting: Sighting) -> int:
    """Of several complaints of a guest that died, the first of the lowest is what it died of."""
    if sighting.name == "oops" or "kernel BUG at" in sighting.line:
        return 0
    return 1 if sighting.name == "panic" else 2


class Console(fdspawn):  # type: ignore[misc]
    """One guest's line: what it says is read from one descriptor, what is said to it is written to another.

    Everything the kernel prints goes to ``log`` as it comes, the agent's frames do not.
    """

    def __init__(self, said: int, answer: int, log: Path) -> None:
        super().__init__(said, maxread=_CHUNK, searchwindowsize=2 * _CHUNK, use_poll=True)
        self._answer = answer
        self.delayafterread = None  # pexpect would sleep after each read
        self.path = log
        self._log_file = log.open("ab")
        self._demultiplexer = protocol.Demultiplexer()
        self._messages: deque[protocol.Message] = deque()
        self.text = bytearray()
        self.sightings: list[Sighting] = []
        self._watched = self.compile_pattern_list([_MESSAGE, pexpect.EOF, pexpect.TIMEOUT, *_LINES])

    def close(self) -> None:
        """Close the log; the line belongs to who made it."""
        with suppress(OSError):  # a full disk has been told about already
            self._log_file.close()
        self.closed = True

    @property
    def damaged(self) -> int:
        """Frames that came damaged so far."""
        return self._demultiplexer.damaged

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> bytes:
        """Read what there is, for pexpect: the kernel's text, with a mark for each frame of the agent."""
        data = super().read_nonblocking(size, timeout)
        damaged = self.damaged
        messages, text = self._demultiplexer.feed(data)
        self._messages += messages
        if text:
            self.text += text
            with writing(self.path):
                self._log_file.write(text)
                self._log_file.flush()
        return text + _MESSAGE * (len(messages) + self.damaged - damaged)

    def send_message(self, message: protocol.Message) -> None:
        """Send one message to the agent. Raises GuestCrash if nobody is there any more."""
        self.type(wire.encode(message.pack()))

    def type(self, data: bytes) -> None:
        """Send ``data`` as it is. Raises GuestCrash if nobody is there any more."""
        try:
            while data:
                data = data[os.write(self._answer, data) :]
        except OSError as error:
            self._drain(Deadline.after(LAST_WORDS))  # nobody is there any more, but its last words are still unread
            raise self._died() from error

    def receive(self, deadline: Deadline, patience: float) -> protocol.Message | None:
        """The agent's next message; None when none came for ``patience`` seconds, or one came damaged.

        Raises GuestTimeout at the deadline, GuestCrash when the guest dies.
        """
        soon = deadline.within(patience)
        damaged = self.damaged
        while not self._messages:
            which = self.expect_list(self._watched, timeout=min(soon.left(), 1.0))
            if which == 1:
                raise self._died()
            if which >= 3:
                self._saw(which - 3)
            elif self.damaged > damaged:
                # Whatever broke a frame may go on for a while: asked again at once, the line would only get fuller.
                damaged, soon = self.damaged, soon.within(REPAIR)
            elif which == 2 and deadline.passed:
                raise GuestTimeout(
                    f"the guest gave no answer within {deadline.seconds:.0f} s", cause=self.last_line(), log=self.path
                )
            elif which == 2 and soon.passed:
                return None
        return self._messages.popleft()

    def wait_text(self, words: bytes, deadline: Deadline, begin: int = 0) -> None:
        """Read until the kernel has printed ``words``, as byte ``begin`` or later. Raises GuestTimeout, GuestCrash."""
        while self.text.find(words, begin) < 0:
            which = self.expect_list([*self._watched, _NEWLINE], timeout=min(deadline.left(), 1.0))
            if which == 1:
                raise self._died()
            if 3 <= which < len(self._watched):
                self._saw(which - 3)
            elif which == 2 and deadline.passed:
                raise GuestTimeout(f"{words.decode()!r} was not printed", cause=self.last_line(), log=self.path)

    def settle(self, deadline: Deadline) -> None:
        """Read what is there, without waiting for more. Raises GuestCrash if it is the end of the guest."""
        while not self.flag_eof and not deadline.passed:
            which = self.expect_list(self._watched, timeout=0)
            if which == 1 and find_troubles(bytes(self.text)):
                raise self._died()
            if which in (1, 2):
                break
            if which >= 3:
                self._saw(which - 3)

    def _saw(self, which: int) -> None:
        trouble = TROUBLES[which]
        self.sightings.append(Sighting(trouble.name, self.after.decode(errors="replace").strip()))
        if trouble.fatal:
            self._drain(Deadline.after(LAST_WORDS))
            raise self._died()

    def _drain(self, deadline: Deadline) -> None:
        while (
            self.expect(
                [pexpect.EOF, pexpect.TIMEOUT, re.compile(rb"end Kernel panic[^\n]*\n")], timeout=deadline.left()
            )
            == 2
        ):
            deadline = deadline.within(1.0)  # what little comes after the last line

    def _died(self) -> GuestCrash:
        text = bytes(self.text)
        if seen := find_troubles(text):
            first = min(seen, key=_deadliness)
            words = oops.decode(text, first.line).words
            if first != seen[0]:
                words += f"\nbefore that: {seen[0].name}: {oops.message(seen[0].line)}"
            return GuestCrash(f"the guest died: {first.name}", cause=words, log=self.path)
        return GuestCrash("the guest went away without a word", cause=self.last_line(), log=self.path)

    def last_line(self) -> str:
        """The last line that the kernel printed, or what to say when it printed none."""
        lines = self.text.decode(errors="replace").split("\n")
        return next(
            (line.strip() for line in reversed(lines) if line.strip()), "no output at all on the serial console"
        )

    def tail(self, lines: int) -> str:
        """The last ``lines`` lines of the console."""
        return _last(bytes(self.text), lines)


def tail_of(log: Path, lines: int) -> str:
    """The last ``lines`` lines of a console log; empty if there is none."""
    return _last(log.read_bytes(), lines) if log.is_file() else ""


def _last(text: bytes, lines: int) -> str:
    return "\n".join(text.decode(errors="replace").replace("\r", "").splitlines()[-lines:])

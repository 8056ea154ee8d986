# SPDX-License-Identifier: GPL-2.0-only
"""The line to a real guest: kernel messages in the middle of the agent's, and forks that are not each other."""

from __future__ import annotations

import fcntl
import itertools
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import eventually

from harness import abi, cache, kernel
from harness.arch import ARM64, X86_64
from harness.deadline import Deadline
from harness.guest import Guest
from harness.initramfs import pattern
from harness.kernel import Kernel
from harness.lab import Lab
from harness.protocol import Batch, Message, Op, Out, Say
from harness.task import Task
from harness.wire import encode

pytestmark = pytest.mark.boots

#: Messages of each child, and how long it sleeps after each, so that answers come in between: 5 ms.
MESSAGES = 150
PAUSE = struct.pack("<QQ", 0, 5_000_000)
GATE = "/unpack/fifo"


@pytest.fixture(scope="module")
def subject(image: Path) -> Kernel:
    return kernel.resolve(str(image), [ARM64], Deadline.after(60))[0]


@pytest.fixture(scope="module")
def lab(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One boot for all of these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(warm))
        with Lab(tmp_path_factory.mktemp("evidence"), 120.0, "tcg") as made:
            yield made


class Flood:
    """Children of PID 1 that all print at once, beginning when the gate is opened."""

    def __init__(self, guest: Guest, texts: list[bytes], children: int = 3) -> None:
        self.guest = guest
        self.gate = guest.open(GATE, abi.O_RDWR)
        self.floods = [(child, *self._post(child, texts)) for child in [guest.spawn() for _ in range(children)]]
        self.ends = [f"/tmp/end-{child.pid}" for child, _, _ in self.floods]
        guest.call("write", self.gate, bytes(children), children)

    def _post(self, child: Task, texts: list[bytes]) -> tuple[Batch, int]:
        # One message to the child with all that it is to do: it prints on its own while PID 1 answers us.
        batch, numbers = Batch(), ARM64.syscalls
        gate = batch.add(numbers["openat"], (abi.AT_FDCWD, GATE, abi.O_RDWR, 0))
        kmsg = batch.add(numbers["openat"], (abi.AT_FDCWD, "/dev/kmsg", abi.O_WRONLY, 0))
        batch.add(numbers["read"], (gate, Out(1), 1))
        for text in itertools.islice(itertools.cycle(texts), MESSAGES):
            line = b"<6>" + text + b"\n"
            batch.add(numbers["write"], (kmsg, line, len(line)))
            batch.add(numbers["nanosleep"], (PAUSE, 0))
        batch.add(numbers["openat"], (abi.AT_FDCWD, f"/tmp/end-{child.pid}", abi.O_WRONLY | abi.O_CREAT, 0o600))
        return batch, child.channel.post(Op.CALL, child.route, batch.pack())

    @property
    def over(self) -> bool:
        """Whether every child has come to its end; its answer may be damaged while others still print."""
        return all(self.guest.exists(end) for end in self.ends)

    def check(self) -> None:
        """Every message was really printed, and every child's own answer came over whole."""
        for child, batch, number in self.floods:
            assert min(batch.unpack(child.channel.answer(number, child.route))) >= 0


CLEAN = {
    "ascii": [b"a message as any other, number %d" % number for number in range(20)],
    "utf8": ["µ§€ 😀 in the middle".encode(), "😀".encode() * 30],
}
DIRTY = {
    "raw": [bytes(range(0x80, 0x100)), b"\xc0", b"\xc1\xc0", b"\xe2\x82", b"\xf0"],
    "frames": [
        *(encode(Message(number, Say.RESULT, (), bytes(8)).pack()) for number in range(1, 5)),
        encode(Message(7, Say.DAMAGED).pack()),
        encode(Message(7, Say.RESULT, (), b"x" * 40).pack())[:-9],
        encode(Message(7, Say.RESULT, (), b"x" * 40).pack()).replace(b"\x80", b"\x81"),
    ],
}


def printed(guest: Guest, texts: list[bytes]) -> int:
    """How many of its lines on the console are whole messages of a flood."""
    lines = bytes(guest.machine.console.text).splitlines()
    return sum(any(line.endswith(b"] " + text) for text in texts) for line in lines)


@pytest.mark.parametrize("kind", CLEAN)
def test_messages_in_between(lab: Lab, subject: Kernel, kind: str) -> None:
    """Whole characters of any language cost nothing: no frame is damaged, and large answers come while they do."""
    with lab.guest(subject, f"between-{kind}") as guest:
        flood, console = Flood(guest, CLEAN[kind]), guest.machine.console
        before = len(console.text)
        assert guest.read_file("/unpack/hard") == pattern(70001)
        assert len(console.text) > before, "no message came in between"
        while not flood.over:
            assert guest.read_file("/unpack/hard") == pattern(70001)
        flood.check()
        assert console.damaged == 0
        while printed(guest, CLEAN[kind]) < 3 * MESSAGES:  # the kernel may print in a thread of its own
            assert guest.getpid() == 1
        assert printed(guest, CLEAN[kind]) == 3 * MESSAGES


@pytest.mark.parametrize("kind", DIRTY)
def test_messages_that_damage(lab: Lab, subject: Kernel, kind: str) -> None:
    """Bytes of no language, and what looks like answers: frames are damaged and sent again, no answer is wrong."""
    with lab.guest(subject, f"damage-{kind}") as guest:
        flood = Flood(guest, DIRTY[kind])
        while not flood.over:
            assert guest.statx("/unpack/hard").size == 70001
            assert guest.getpid() == 1
        assert guest.read_file("/unpack/hard") == pattern(70001)
        assert guest.machine.console.damaged > 0


def test_forks_are_not_each_other(lab: Lab, subject: Kernel) -> None:
    with lab.guest(subject, "one") as one, lab.guest(subject, "other") as other:
        one.write_file("/tmp/mine", "one")
        other.write_file("/tmp/mine", "other")
        assert (one.read_file("/tmp/mine"), other.read_file("/tmp/mine")) == (b"one", b"other")
        one.write_file("/dev/kmsg", "<6>said by one\n", 0)
        while b"said by one" not in one.machine.console.text:
            assert (one.getpid(), other.getpid()) == (1, 1)
        assert b"said by one" not in other.machine.console.text
        # The same requests in the same order, and yet an answer of one is none for the other.
        asked = [guest.start("getpid") for guest in (one, other)]
        assert asked[0].number != asked[1].number
        assert [pending.result() for pending in asked] == [1, 1]
        other.machine.child.kill()
        assert one.read_file("/unpack/hard") == pattern(70001)


def test_a_host_that_reads_late(warm: Path, x86_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated 8250 that cannot get rid of its bytes drops them; so there is room for all of them."""
    monkeypatch.setenv(cache.VARIABLE, str(warm))
    subject = kernel.resolve(str(x86_image), [X86_64], Deadline.after(60))[0]
    body = pattern(40_000)
    with Lab(tmp_path, 120.0, "tcg") as made, made.guest(subject, "late") as guest:
        line = guest.machine.console.child_fd
        pending = guest.start("getpid", out := Out(len(body), body))
        assert eventually(lambda: waiting(line) > len(body)), f"only {waiting(line)} bytes came"
        assert pending.result() == 1
        assert out.value == body
        assert guest.machine.console.damaged == 0


def waiting(line: int) -> int:
    """Bytes that can be read at once (ioctl_tty(2))."""
    return int.from_bytes(fcntl.ioctl(line, termios.FIONREAD, bytes(4)), "little")

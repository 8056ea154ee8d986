# SPDX-License-Identifier: GPL-2.0-only
"""What the console's watch makes of real lines of real kernels, and of a line that ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import hung
from harness.console import TROUBLES, Console, find_troubles
from harness.deadline import Deadline
from harness.errors import GuestCrash, GuestTimeout
from harness.machine import Machine
from harness.protocol import Message, Say
from harness.wire import encode

LINES = {
    "panic": [
        "[    0.5] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        "[    1.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
    ],
    "warn": [
        "[    2.4] WARNING: CPU: 0 PID: 1 at arch/x86/kernel/traps.c:1120 exc_debug_kernel+0xca/0x160",
        "[    2.4] WARNING: fs/fs_struct.c:206 at switch_fs_struct+0x40/0x90, CPU#0: init/1",
    ],
    "lockdep": [
        "[    3.0] WARNING: possible circular locking dependency detected",
        "[    3.0] WARNING: suspicious RCU usage",
        "[    3.0] INFO: trying to register non-static key.",
    ],
    "oops": [
        "[    2.4] Oops: double fault: 0000 [#1] PREEMPT SMP NOPTI",
        "[    9.9] BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "[    9.9] Unable to handle kernel paging request at virtual address ffff800012345678",
        "[    9.9] Internal error: Oops: 0000000096000006 [#1]  SMP",
    ],
    "bug": [
        "[    1.0] kernel BUG at fs/namespace.c:3240!",
        "[    1.0] BUG: sleeping function called from invalid context",
    ],
    "sanitizer": [
        "[    1.0] BUG: KASAN: slab-use-after-free in set_fs_root+0x10/0x20",
        "[    1.0] UBSAN: shift-out-of-bounds",
    ],
    "rcu-stall": ["[   21.0] rcu: INFO: rcu_preempt self-detected stall on CPU"],
    "hung-task": ["[  123.0] INFO: task kworker/0:1:12 blocked for more than 120 seconds."],
    "lockup": ["[   26.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]"],
}
HARMLESS = [
    "[    0.0] Warning: unable to open an initial console.",
    "[    0.0] VFS: Pid 1 stopped sharing filesystem state",
    "[    0.0] ACPI BIOS Warning (bug): something",
    "[    0.0] debug: panic=-1 oops=panic",
    "[    0.0] rcu: Hierarchical RCU implementation.",
]


def test_every_trouble_has_an_example() -> None:
    assert set(LINES) == {trouble.name for trouble in TROUBLES}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in LINES.items() for line in lines])
def test_trouble_is_named(name: str, line: str) -> None:
    (seen,) = find_troubles(f"[    0.1] before\r\n{line}\r\nafter\r\n".encode())
    assert (seen.name, seen.line) == (name, line)


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_are_none(line: str) -> None:
    assert find_troubles(line.encode()) == []


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Console, socket.socket]]:
    ours, theirs = socket.socketpair()
    console = Console(ours.fileno(), ours.fileno(), tmp_path / "console")
    yield console, theirs
    console.close()
    theirs.close()
    ours.close()


def test_text_is_kept_whole_and_messages_come_out(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    frame = encode(Message(5, Say.READY).pack())
    kernel.sendall(b"[    0.0] Linux" + frame[:6] + b" version\r\n" + frame[6:])
    message = console.receive(Deadline.after(20), 20)
    assert message == Message(5, Say.READY)
    assert console.path.read_bytes() == b"[    0.0] Linux version\r\n"


def test_a_long_burst_hides_no_trouble(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.sendall(b"x" * 30000 + b"\r\n" + LINES["warn"][0].encode() + b"\r\n" + b"y" * 30000)
    kernel.sendall(encode(Message(1, Say.READY).pack()))
    assert console.receive(Deadline.after(20), 20) is not None
    assert [seen.name for seen in console.sightings] == ["warn"]


def test_a_panic_is_a_crash_with_its_line(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.sendall(LINES["panic"][0].encode() + b"\r\n[    0.6] the end\r\n")
    kernel.close()
    with pytest.raises(GuestCrash, match="panic") as caught:
        console.receive(Deadline.after(20), 20)
    assert "Attempted to kill init" in caught.value.cause
    assert caught.value.log == console.path
    assert "the end" in console.tail(5)


def test_who_died_before_it_was_asked_is_heard_out(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.sendall(LINES["panic"][0].encode() + b"\r\n[    0.6] the end\r\n")
    kernel.close()
    with pytest.raises(GuestCrash, match="panic"):
        console.send_message(Message(1, Say.READY))
    assert "the end" in console.tail(5)


def test_an_end_without_a_word_is_a_crash(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.close()
    with pytest.raises(GuestCrash, match="without a word") as caught:
        console.receive(Deadline.after(20), 20)
    assert "no output at all" in caught.value.cause


def test_silence_is_a_timeout_at_the_deadline(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.sendall(b"[    0.0] the last thing\r\n")
    with pytest.raises(GuestTimeout) as caught:
        console.receive(Deadline.after(0.3), 20)
    assert "the last thing" in caught.value.cause


def test_patience_and_damage_ask_for_a_repetition(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    assert console.receive(Deadline.after(60), 0.1) is None
    kernel.sendall(b"\xc0\x80\x80\x80\x80\x80\x80\x80\xc1")
    assert console.receive(Deadline.after(60), 60) is None
    assert console.damaged == 1


class Deaf(Machine):
    """A guest whose kernel has no CONFIG_MAGIC_SYSRQ_SERIAL."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def sysrq(self, key: str, deadline: Deadline) -> None:
        """Press a key in vain."""


def test_a_hang_that_cannot_be_asked_about_says_so(
    line: tuple[Console, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hung, "ASKING", 0.2)
    assert "does not answer to SysRq-W (no CONFIG_MAGIC_SYSRQ_SERIAL" in hung.explain(Deaf(line[0]))


def test_a_guest_that_dies_of_being_asked_says_so(line: tuple[Console, socket.socket]) -> None:
    console, kernel = line
    kernel.sendall(LINES["panic"][0].encode() + b"\r\n")
    kernel.close()
    assert "and when its kernel was asked what hangs, the guest died: panic" in hung.explain(Deaf(console))

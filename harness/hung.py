# SPDX-License-Identifier: GPL-2.0-only
"""What hangs in a guest that gives no answer: asked of its kernel by SysRq, for PID 1 may be what is stuck."""

from __future__ import annotations

from harness import oops
from harness.deadline import Deadline
from harness.errors import GuestCrash, GuestTimeout, HostError
from harness.machine import Machine

#: Seconds for all of it.
ASKING = 10.0
#: What the kernel prints first for a key (drivers/tty/sysrq.c).
SAID = {"w": b"sysrq: Show Blocked State", "l": b"sysrq: Show backtrace of all active CPUs"}
#: A harmless key, the loglevel that a guest has anyway, and its last word: all before it has been printed then.
LAST, END = "7", b"Loglevel set to 7"
#: Frames of a blocked task's trace that are shown.
FRAMES = 4


def explain(machine: Machine) -> str:
    """The blocked tasks of a guest, or what its processor does, in a few lines; their stacks are on its console then.

    If that cannot be had, why. Raises nothing.
    """
    deadline = Deadline.after(ASKING)
    console = machine.console
    try:
        begin = len(console.text)
        _ask(machine, "w", deadline)
        if blocked := oops.blocked(bytes(console.text[begin:])):
            lines = [f"blocked: {each.task} in {oops.arrows(each.trace, FRAMES)}" for each in blocked[: oops.TASKS]]
            more = len(blocked) - oops.TASKS
            return "\n".join([*lines, f"blocked: {more} more, see its console"] if more > 0 else lines)
        _ask(machine, "l", deadline)
    except GuestTimeout:
        return "its kernel does not answer to SysRq-W (no CONFIG_MAGIC_SYSRQ_SERIAL, or its interrupts are off)"
    except GuestCrash as crash:
        return f"and when its kernel was asked what hangs, {crash.brief}"
    except HostError as error:
        return f"its kernel could not be asked what hangs: {error.brief}"
    if busy := oops.running(bytes(console.text[begin:])):
        where = f" in {busy.where}" if busy.where else ", in no system call"
        trace = f"\ntrace: {oops.arrows(busy.trace)}" if busy.trace else ""
        return f"no task is blocked; {busy.task} is running{where}{trace}"
    return "no task is blocked, and the processor is idle: somebody waits for what nobody does"


def _ask(machine: Machine, key: str, deadline: Deadline) -> None:
    for press, answer in ((key, SAID[key]), (LAST, END)):
        begin = len(machine.console.text)
        machine.sysrq(press, deadline)
        machine.console.wait_text(answer, deadline, begin)

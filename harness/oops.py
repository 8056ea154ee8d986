# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's last words and complaints mean: oopses, panics, warnings and sysrq-w, out of a console's text.

Pure functions. Nothing here needs debug information: the kernel itself says function and offset, and in a WARN or
BUG the line of its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

#: Functions of a trace that are shown, and blocked tasks.
DEPTH, TASKS = 8, 5
#: What stands before a message: the time and, with CONFIG_PRINTK_CALLER, who printed it (kernel/printk/printk.c).
STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *([TC]\d+)\])? ?")
PLACE = r"[\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[^\]]+\])?"
#: One line of a trace. x86 marks with "? " what only lies on the stack; behind may be a note as "(P)" (arm64).
FRAME = re.compile(rf" +({PLACE}|0x[0-9a-f]{{8,}})(?: \(\w+\))?$")
#: Where it happened (arch/x86/kernel/dumpstack.c, arch/arm64/kernel/process.c). RIP 0033 is the program's.
AT = re.compile(rf"(?:RIP: 0010:|pc : )({PLACE}|0x[0-9a-f]+)")
#: kernel/panic.c: __warn(), of 6.18 and before it; mm/kasan/report.c
WARN = re.compile(rf"WARNING: (?:CPU: \d+ PID: \d+ )?at (\S+:\d+) ({PLACE})|WARNING: (\S+:\d+) at ({PLACE})")
BUG = re.compile(r"kernel BUG at (\S+?:\d+)")
IN = re.compile(rf" in ({PLACE})")
#: lib/dump_stack.c: dump_stack_print_info(); behind a WARN: kernel/panic.c
TASK = re.compile(r"^CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: (.+?) (?:Not tainted|Tainted)")
ON = re.compile(r", CPU#\d+: (\S.*)/(\d+)$")
#: A guest that boots from a disk (init/main.c).
ROOT = re.compile(r"Kernel command line: (?:.* )?(root=\S+)")
#: Another trouble begins: what follows is not about this one. An oops goes on with "[#1]".
NEXT = re.compile(r"Unable to handle kernel|BUG: |kernel BUG at|^WARNING: |\[#[2-9]\d*\]")
END = re.compile(r"---\[ end |Kernel panic - not syncing")
#: Frames that say only that a system call, an interrupt or an exception was on its way, or how a stack is printed.
ENTRY = re.compile(
    r"(?:invoke_syscall|el[01]\w*|do_el0_svc|do_syscall_64|x64_sys_call|entry_\w+|asm_\w+|ret_from_fork\w*|irqentry\w*)$"
)
PRINTING = re.compile(
    r"(?:show_stack|dump_stack\w*|dump_backtrace|v?panic|nbcon_panic|__warn\w*|report_bug|die|oops_\w+)$"
)
#: The frame of an interrupt in what it has interrupted.
INTERRUPT = re.compile(r"(?:el[01]\w+_irq|asm_\w+)$")
#: Frames of the scheduler: every task that waits is in them.
WAITING = re.compile(r"(?:__switch_to|(?:io_)?schedule\w*|__schedule\w*|__wait_for_common|context_switch)$")
#: kernel/sched/core.c: sched_show_task()
BLOCKED = re.compile(r"^task:(.{1,15}?) +state:\S .*?\bpid:(\d+)")


@dataclass(frozen=True)
class Report:
    """One thing that a kernel said. What it did not say is empty."""

    #: Its first line, without the time.
    what: str
    #: The function and offset where it happened: "switch_fs_struct+0x40/0x90".
    where: str = ""
    #: The line of its source: "fs/fs_struct.c:206".
    source: str = ""
    #: "init/1": name and PID.
    task: str = ""
    #: The functions it came through, the innermost first, without those of every system call.
    trace: tuple[str, ...] = ()
    #: What it means, where its words do not say it.
    meaning: str = ""

    @property
    def words(self) -> str:
        """All of it, in a few lines; the first one alone says what happened and where, and what that means."""
        where = "" if not self.where or self.where in self.what else f" in {self.where}"
        # A panic's first sentence: advice for who has a boot loader may follow.
        lines = [self.what.partition(".  ")[0] + where + (f"; that is, {self.meaning}" if self.meaning else "")]
        if self.source and self.source not in self.what:
            lines.append(f"source: {self.source}")
        if self.task and not self.what.endswith(f" {self.task}"):
            lines.append(f"task: {self.task}")
        if self.trace:
            lines.append(f"trace: {arrows(self.trace)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Blocked:
    """A task that waits and cannot be interrupted."""

    task: str
    #: The innermost first, without the scheduler.
    trace: tuple[str, ...]


def arrows(trace: tuple[str, ...], depth: int = DEPTH) -> str:
    """A trace in one line."""
    return " ← ".join(trace[:depth]) + (" ← …" if len(trace) > depth else "")


def message(line: str) -> str:
    """A line of a console without the time, and without who printed it."""
    return STAMP.sub("", line.rstrip("\r\n"), count=1)


def decode(text: bytes, line: str) -> Report:
    """What begins with the first occurrence of ``line`` in a console's text."""
    lines = text.decode(errors="replace").splitlines()
    start = next((n for n, each in enumerate(lines) if each.strip() == line.strip()), len(lines))
    what = message(line).strip()
    own = list(_own(lines[start + 1 :], line, panic="Kernel panic" in what))
    where = next((found[1] for each in own if (found := AT.match(each))), "")
    source = ""
    if warn := WARN.search(what):
        source, where = (warn[1], warn[2]) if warn[1] else (warn[3], warn[4])
    elif bug := BUG.search(what):
        source = bug[1]
    elif named := IN.search(what):
        where = named[1]
    task = next((f"{found[2]}/{found[1]}" for each in own if (found := TASK.match(each))), "")
    if on := ON.search(what):
        task = f"{on[1]}/{on[2]}"
    places = _places(own)
    if not where and places:
        where = places[0]
    trace = [_name(place) for place in places]
    if where and _name(where) in trace:
        trace = trace[trace.index(_name(where)) + 1 :]
    return Report(what, where, source, task, tuple(trace), _meaning(what, text))


def blocked(text: bytes) -> list[Blocked]:
    """The tasks that sysrq-w has listed, the last time it did."""
    lines = [message(line) for line in text.decode(errors="replace").splitlines()]
    begin = max((n for n, line in enumerate(lines) if "Show Blocked State" in line), default=len(lines))
    found = []
    at = [n for n in range(begin, len(lines)) if BLOCKED.match(lines[n])]
    for start, end in pairwise([*at, len(lines)]):
        task = BLOCKED.match(lines[start])
        assert task is not None
        trace = [_name(place) for place in _places(lines[start:end])]
        found.append(Blocked(f"{task[1]}/{task[2]}", tuple(name for name in trace if not WAITING.match(name))))
    return found


def running(text: bytes) -> Report | None:
    """What sysrq-l has interrupted, ``where`` empty for a program; None if the kernel did not say, or was idle."""
    said = [
        message(line) for line in text[text.rfind(b"Show backtrace of all") :].decode(errors="replace").splitlines()
    ]
    task = next((found for line in said if (found := TASK.match(line))), None)
    if task is None or task[2].startswith("swapper/"):
        return None
    frames = [FRAME.match(line) for line in said]
    # Before that are the frames of the interrupt, and of who prints.
    begin = max((n for n, frame in enumerate(frames) if frame and INTERRUPT.match(_name(frame[1]))), default=0)
    places = [found[1] for line in said[begin + 1 :] if (found := AT.match(line) or FRAME.match(line))]
    names = [name for name in map(_name, places[1:]) if not ENTRY.match(name)]
    return Report("it is running", places[0] if places else "", "", f"{task[2]}/{task[1]}", tuple(names))


def _own(lines: list[str], first: str, *, panic: bool) -> Iterator[str]:
    """The messages that belong to a report whose first line was ``first``."""
    who = _who(first)
    for line in lines:
        said = message(line)
        if _who(line) != who:
            continue
        if END.search(said) or (NEXT.search(said) and not panic):
            return
        yield said


def _who(line: str) -> str | None:
    stamp = STAMP.match(line.strip())
    return stamp[1] if stamp else None


def _places(messages: list[str]) -> list[str]:
    """The places of the first trace, the innermost first; other lines may have got in between."""
    places = []
    started = False
    for said in messages:
        if said.lower().startswith("call trace:"):
            if started:
                break
            started = True
        elif started and (said.startswith(("Code: ", " </TASK>", "RIP: 0033"))):
            break
        elif started and (frame := FRAME.match(said)) and not _is(frame[1], PRINTING, ENTRY) and not _behind(said):
            places.append(frame[1])
    return places


def _behind(frame: str) -> bool:
    """Whether a frame names the function behind the one that is meant: a call that does not return may be its last."""
    return "+0x0/" in frame and not frame.endswith(")")


def _is(place: str, *kinds: re.Pattern[str]) -> bool:
    return any(kind.match(_name(place)) for kind in kinds)


def _name(place: str) -> str:
    """A function's name, without the compiler's endings ("do_one.constprop.0")."""
    return re.sub(r"\.(?:constprop|isra|part|cold)\b.*", "", place.partition("+")[0])


def _meaning(what: str, text: bytes) -> str:
    if re.search(r"VFS: Unable to mount root fs|No working init found|Requested init", what):
        return _no_init(what, text)
    if killed := re.search(r"Attempted to kill init! exitcode=0x([0-9a-f]+)", what):
        status = int(killed[1], 16)
        end = f"was killed by signal {status & 0x7F}" if status & 0x7F else f"ended with status {status >> 8}"
        return f"PID 1 {end}, without which no kernel goes on"
    if re.search(r"System is deadlocked on memory|Out of memory", what):
        return "the guest has too little memory for this kernel and its image"
    return ""


def _no_init(what: str, text: bytes) -> str:
    said = [message(line).strip() for line in text.decode(errors="replace").splitlines()]
    if root := next((found[1] for line in said if (found := ROOT.match(line))), ""):
        failed = "its root file system ({}) {}{}"
        if "mount root" not in what:
            return failed.format(root, "was mounted, and no program in it runs as PID 1", "")
        why = next((f" ({line})" for line in said if line.startswith("VFS: Cannot open root device")), "")
        return failed.format(root, "cannot be mounted", why)
    if failed := next((line for line in said if "nitramfs unpacking failed" in line or "invalid magic" in line), ""):
        return f"the kernel could not unpack its initramfs ({failed}), so there is no /init"
    if ran := [line for line in said if re.match(r"Failed to execute /init|Run /init as init", line)]:
        return f"the initramfs was unpacked, and its /init does not run ({ran[-1]})"
    missed = next((line for line in said if re.match(r"check access for rdinit=|Failed to create /dev/root", line)), "")
    return (
        f"the kernel found no /init{f' ({missed})' if missed else ''}, though each guest's initramfs has one: it was "
        "not unpacked, or not where /init is looked for"
    )

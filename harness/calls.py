# SPDX-License-Identifier: GPL-2.0-only
"""System calls that a task in the guest performs."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from harness import abi
from harness.arch import Arch
from harness.channel import Channel, Route
from harness.deadline import Deadline
from harness.protocol import Argument, Batch, Op, Out, Pointers, Ref

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

#: One system call of several: its name and its arguments.
Request = tuple[str | Argument, ...]


class SyscallError(OSError):
    """A system call in the guest failed: ``errno`` and ``strerror`` as the kernel said it, ``call`` as it was asked."""

    def __init__(self, number: int, call: str) -> None:
        super().__init__(number, f"{call}: {errno_name(number)}")
        self.call = call


def errno_name(number: int) -> str:
    """EPERM and the like."""
    return errno.errorcode.get(number, f"errno {number}")


def _show(name: str, arguments: tuple[Argument, ...]) -> str:
    words = []
    for argument in arguments:
        if isinstance(argument, Out | Ref | Pointers) or (isinstance(argument, bytes) and len(argument) > 40):
            words.append("…")
        elif argument == abi.AT_FDCWD:
            words.append("AT_FDCWD")
        else:
            words.append(repr(argument))
    return f"{name}({', '.join(words)})"


@dataclass(frozen=True)
class Pending:
    """A system call that was asked for and is not waited for yet."""

    task: Calls
    number: int
    batch: Batch
    name: str
    arguments: tuple[Argument, ...]

    @property
    def ended(self) -> bool:
        """Whether it has returned; its task may be gone instead."""
        return self.task.channel.answered(self.number) or self.task.ended

    def result(self, deadline: Deadline | None = None) -> int:
        """What it returned. Raises SyscallError, and TaskGone when the task ended instead."""
        channel = self.task.channel
        value = self.batch.unpack(channel.answer(self.number, self.task.route, deadline))[0]
        if value < 0:
            raise SyscallError(-value, _show(self.name, self.arguments))
        return value


class Calls:
    """A task that performs system calls, and nothing else yet."""

    def __init__(self, channel: Channel, arch: Arch, route: Route, pid: int) -> None:
        self.channel = channel
        self.arch = arch
        self.route = route
        #: As its parent saw it.
        self.pid = pid

    def _number(self, name: str) -> int:
        try:
            return self.arch.syscalls[name]
        except KeyError:
            raise AttributeError(f"harness/arch/syscalls.py does not know {name}") from None

    @property
    def ended(self) -> bool:
        """Whether the task is known to be gone."""
        return self.channel.gone(self.route)

    # -- calling ------------------------------------------------------------------------------------------

    def start(self, name: str, *arguments: Argument) -> Pending:
        """Ask for a system call and do not wait for it."""
        batch = Batch()
        batch.add(self._number(name), arguments)
        return Pending(self, self.channel.post(Op.CALL, self.route, batch.pack()), batch, name, arguments)

    def call(self, name: str, *arguments: Argument) -> int:
        """Do a system call; int are plain, str and bytes go by address, Out comes back. Raises SyscallError."""
        return self.start(name, *arguments).result()

    def outcome(self, name: str, *arguments: Argument) -> str:
        """``ok``, or the name of the error with which the kernel refused."""
        try:
            self.call(name, *arguments)
        except SyscallError as error:
            return errno_name(error.errno or 0)
        return "ok"

    def calls(self, *requests: Request) -> list[int]:
        """Do several system calls in one message, and return what each returned: a negative errno if it failed.

        A ``Ref`` stands for the result of an earlier one of them.
        """
        batch = Batch()
        for name, *arguments in requests:
            batch.add(self._number(str(name)), arguments)
        number = self.channel.post(Op.CALL, self.route, batch.pack())
        return batch.unpack(self.channel.answer(number, self.route))

    def all(self, *requests: Request) -> list[int]:
        """As ``calls``; all are tried, and the first that failed is raised as a SyscallError."""
        results = self.calls(*requests)
        for (name, *arguments), result in zip(requests, results, strict=True):
            if result < 0:
                raise SyscallError(-result, _show(str(name), tuple(arguments)))
        return results

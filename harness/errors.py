# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong, as types: each knows its exit status and what the reader should do next."""

from __future__ import annotations

from pathlib import Path

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_BAD_REQUEST = 2
EXIT_HOST = 3
#: A kernel that cannot be judged (git-bisect(1): run).
EXIT_SKIP = 125


class HarnessError(Exception):
    """Something the reader has to act on.

    ``what`` is one sentence naming the thing; ``cause`` the first cause (a tool's own words, a
    kernel message); ``log`` the file that has the whole story; ``hint`` the next command or step.
    """

    exit_status = EXIT_HOST

    def __init__(self, what: str, *, cause: str = "", log: Path | None = None, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.log = log
        self.hint = hint

    @property
    def brief(self) -> str:
        """What happened and the first cause, without what to do."""
        return f"{self.what}: {self.cause}" if self.cause else self.what

    def __str__(self) -> str:
        lines = [self.what]
        if self.cause:
            # Of several lines each is on its own, below the first.
            lines.append("  cause: " + self.cause.replace("\n", "\n         "))
        if self.log is not None:
            lines.append(f"  log:   {self.log}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)


class RequestError(HarnessError):
    """The request was wrong: no such file, unknown option, contradiction. Exit status 2."""

    exit_status = EXIT_BAD_REQUEST


class TreeError(RequestError):
    """It cannot be done with what is in this tree; with another revision of it, it may. Exit status 2."""


class HostError(HarnessError):
    """The host could not do it: no QEMU, no compiler, disk full, mirror away. Exit status 3."""

    exit_status = EXIT_HOST


class GuestError(HarnessError):
    """The kernel under test did something a working kernel does not do. Exit status 1."""

    exit_status = EXIT_CHECK_FAILED


class GuestCrash(GuestError):
    """The guest died: panic, reset, or a QEMU that went away with it."""


class KernelComplaint(GuestError):
    """The kernel warned, and nobody had expected it to: never a due failure, whatever the check saw."""


class GuestTimeout(GuestError):
    """The guest did not answer before the deadline."""

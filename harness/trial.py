# SPDX-License-Identifier: GPL-2.0-only
"""One check on one kernel, from its guest's first breath to its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness import hung, oops, profiles
from harness.calls import SyscallError
from harness.checks import BROKEN, Check
from harness.errors import GuestError, GuestTimeout, KernelComplaint
from harness.guest import Guest
from harness.kernel import Kernel
from harness.lab import Lab

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

#: Seconds that a guest gets to print what it has to say after a check that failed.
LAST_LOOK = 10.0


@dataclass(frozen=True)
class Outcome:
    """How a check ended."""

    #: What it raised; None if it passed.
    error: BaseException | None
    seconds: float
    #: CPU seconds that its guest took from the check's beginning to its end; None if it did not come so far.
    cpu: float | None
    #: Unexpected warnings of the kernel: "name: line".
    troubles: tuple[str, ...]
    console: Path | None
    #: Result.tests
    tests: dict[str, str] = field(default_factory=dict)


def perform(lab: Lab, kernel: Kernel, check: Check, body: Callable[[Guest], object]) -> Outcome:
    """Do ``body`` with a pristine guest of its own. Raises nothing: whatever comes is in the outcome."""
    begun = time.monotonic()
    guest = None
    error: BaseException | None = None
    try:
        profile = profiles.by_name(check.profile)
        lab.boot(kernel, profile)  # a stage by itself, and no part of making the guest
        with ExitStack() as stack:
            with lab.stage("guests"):
                guest = stack.enter_context(lab.guest(kernel, check.id, profile))
            with lab.stage("checks"), judged(guest):
                body(guest)
            with lab.stage("ends"):
                stack.close()
    except BaseException as raised:  # noqa: BLE001 - pytest's skip and fail are no Exceptions
        error = raised
    return outcome(guest, error, time.monotonic() - begun)


def outcome(guest: Guest | None, error: BaseException | None, seconds: float) -> Outcome:
    """The outcome of a check that ended with ``error`` in ``guest``, if it came so far as to have one."""
    console = error.log if isinstance(error, GuestError) else None
    troubles: tuple[str, ...] = ()
    cpu = None
    if guest is not None:
        console, cpu = guest.console, guest.machine.spent
        troubles = tuple(f"{seen.name}: {seen.line}" for seen in guest.troubles())
    return Outcome(error, seconds, cpu, troubles, console, guest.tests if guest else {})


@contextmanager
def judged(guest: Guest) -> Iterator[None]:
    """A warning of the kernel fails the check that provoked it, and a guest that dies is worse news than either."""
    try:
        with guest.machine.metered():
            yield
    except GuestTimeout as error:
        # A fork's console may have nothing but what came before the check.
        last = f"\nlast line of its console: {oops.message(error.cause)}" if guest.machine.console.text.strip() else ""
        error.cause = hung.explain(guest.machine) + last
        raise
    except BROKEN as error:
        with suppress(GuestTimeout, SyscallError):  # the check may have left PID 1 waiting, or without its log
            guest.settle(guest.channel.deadline.within(LAST_LOOK))
        _complain(guest, error)
        raise
    with suppress(SyscallError):
        guest.settle(guest.channel.deadline)
    _complain(guest, None)


def _complain(guest: Guest, error: BaseException | None) -> None:
    if troubles := guest.troubles():
        text = bytes(guest.machine.console.text)
        words = [f"{seen.name}: {oops.decode(text, seen.line).words}" for seen in troubles]
        words += [f"and the check failed: {error}"] if error else []
        raise KernelComplaint("the kernel complained", cause="\n".join(words), log=guest.console) from error

# SPDX-License-Identifier: GPL-2.0-only
"""What a machine's guest takes of the host, of children that are no QEMU."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest

from harness.deadline import Deadline
from harness.machine import Machine

#: What is told of two moments in whole ticks may be wrong by, in seconds.
TICKS = 3 / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A child that does nothing but take time, until it is killed."""
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as child:
        yield child
        child.kill()


def machine(child: subprocess.Popen[bytes]) -> Machine:
    nothing: Any = Mock()
    return Machine(child, nothing, nothing, nothing)


def taken(child: subprocess.Popen[bytes]) -> float:
    """Its CPU seconds (clock_getcpuclockid(3), include/linux/posix-timers.h)."""
    return time.clock_gettime(~child.pid << 3 | 2)


def burn(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the child have so many CPU seconds more."""
    until, deadline = taken(child) + seconds, Deadline.after(120)
    while taken(child) < until:
        assert not deadline.passed
        time.sleep(0.01)


def test_what_a_guest_takes_in_a_block_and_not_before(busy: subprocess.Popen[bytes]) -> None:
    subject = machine(busy)
    burn(busy, 0.3)
    before = taken(busy)
    with subject.metered():
        burn(busy, 0.1)
    assert subject.spent is not None
    assert 0.1 - TICKS <= subject.spent <= taken(busy) - before + TICKS


def test_a_guest_that_dies_has_taken_what_it_took(busy: subprocess.Popen[bytes]) -> None:
    subject = machine(busy)
    with suppress(ValueError), subject.metered():
        burn(busy, 0.1)
        busy.kill()
        os.waitid(os.P_PID, busy.pid, os.WEXITED | os.WNOWAIT)
        raise ValueError
    assert subject.spent is not None
    assert subject.spent >= 0.1 - TICKS


def test_of_one_that_is_gone_nothing_is_known(busy: subprocess.Popen[bytes]) -> None:
    subject = machine(busy)
    with subject.metered():
        busy.kill()
        busy.wait()
    assert subject.spent is None

# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C, SIGTERM and SIGKILL at several moments: no QEMU and no temporary file may survive."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from program import Program, eventually

pytestmark = pytest.mark.boots

#: Words on stdout after which the signal is sent.
BOOTING, CHECKING = ("for arm64", "[2] ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", [BOOTING, CHECKING], ids=["booting", "checking"])
def test_stopped(program: Program, image: Path, moment: str, number: signal.Signals) -> None:
    with program.started("--kernel", image) as running:
        running.read_until(moment)
        assert eventually(lambda: bool(program.qemus()))
        running.child.send_signal(number)
        done = running.end()
    assert done.status == 128 + number, done
    assert done.err == "interrupted\n"
    assert program.left() == []


def test_stopped_twice(program: Program, image: Path) -> None:
    """An impatient user does not get less cleaned up."""
    with program.started("--kernel", image) as running:
        running.read_until(CHECKING)
        for _ in range(3):
            running.child.send_signal(signal.SIGTERM)
        done = running.end()
    assert done.status == 128 + signal.SIGTERM, done
    assert program.left() == []


def test_killed(program: Program, image: Path) -> None:
    """Nothing can be cleaned up then; QEMU dies all the same (see test_snapshots.py for one that is being saved)."""
    with program.started("--kernel", image) as running:
        running.read_until(CHECKING)
        assert eventually(lambda: bool(program.qemus()))
        running.child.kill()
        done = running.end()
    assert done.status == -signal.SIGKILL, done
    assert eventually(lambda: not program.qemus())
    assert program.run("--kernel", image, "--check", "kcmp").status == 0
    assert program.left() == []


def test_nobody_reads_on(program: Program, image: Path) -> None:
    """A pipe to `head`: it ends, and nothing is left."""
    with program.started("--kernel", image) as running:
        running.read_until(CHECKING)
        running.stop_reading()
        done = running.end()
    assert done.status == 128 + signal.SIGPIPE, done
    assert "Traceback" not in done.err
    assert program.left() == []

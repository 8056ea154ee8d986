# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C, SIGTERM and SIGKILL at several moments: no QEMU and no temporary file may survive."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from program import Program, eventually

pytestmark = pytest.mark.boots

#: What a QEMU is started with: at the first that has it, the signal is sent.
BOOTING, CHECKING = "-kernel", "-incoming"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", [BOOTING, CHECKING], ids=["booting", "checking"])
def test_stopped(cold: Program, image: Path, moment: str, number: signal.Signals) -> None:
    with cold.started("--kernel", image) as running:
        assert eventually(lambda: bool(cold.qemus(moment)))
        running.child.send_signal(number)
        done = running.end()
    assert done.status == 128 + number, done
    assert done.err == "interrupted\n"
    assert cold.left() == []


def test_stopped_twice(cold: Program, image: Path) -> None:
    """An impatient user does not get less cleaned up."""
    with cold.started("--kernel", image) as running:
        assert eventually(lambda: bool(cold.qemus(CHECKING)))
        for _ in range(3):
            running.child.send_signal(signal.SIGTERM)
        done = running.end()
    assert done.status == 128 + signal.SIGTERM, done
    assert cold.left() == []


def test_killed(cold: Program, image: Path) -> None:
    """Nothing can be cleaned up then; QEMU dies all the same (see test_snapshots.py for one that is being saved)."""
    with cold.started("--kernel", image) as running:
        assert eventually(lambda: bool(cold.qemus(CHECKING)))
        running.child.kill()
        done = running.end()
    assert done.status == -signal.SIGKILL, done
    assert eventually(lambda: not cold.qemus())
    assert cold.run("--kernel", image, "--check", "kcmp").status == 0
    assert cold.left() == []


def test_nobody_reads_on(cold: Program, image: Path) -> None:
    """A pipe to `head`: it ends, and nothing is left."""
    with cold.started("--kernel", image) as running:
        running.read_until("[2] ")
        running.stop_reading()
        done = running.end()
    assert done.status == 128 + signal.SIGPIPE, done
    assert "Traceback" not in done.err
    assert cold.left() == []

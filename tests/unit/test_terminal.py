# SPDX-License-Identifier: GPL-2.0-only
"""What a terminal shows while something goes on."""

from __future__ import annotations

from harness.make import Progress
from harness.terminal import Screen


def test_a_build_that_nobody_waits_for_shows_nothing_and_ends_nothing() -> None:
    screen = Screen()
    screen.building(Progress(1, None, None))
    with screen.waiting("building"):
        screen.building(Progress(2, 10, 1.0))

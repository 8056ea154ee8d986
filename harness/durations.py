# SPDX-License-Identifier: GPL-2.0-only
"""How long each check took when it last ran here, so that the longest are begun first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import cache
from harness.errors import HostError
from harness.results import Result


def known() -> dict[str, float]:
    """How long each check took when it last ran, in seconds."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(_file().read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember(results: Sequence[Result]) -> None:
    """Keep what can be said of how long checks take."""
    took = {result.check: result.seconds for result in results if result.verdict in ("pass", "fail")}
    if not took:
        return
    # A disk that is full here only makes the next run a little longer.
    with suppress(HostError):
        cache.write(_file(), json.dumps(known() | took).encode())


def _file() -> Path:
    return cache.root() / "durations.json"

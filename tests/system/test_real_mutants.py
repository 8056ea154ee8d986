# SPDX-License-Identifier: GPL-2.0-only
"""Three defects in Debian's 7.3 source, really built: each is caught by the check that is named for it, by no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import harness

pytestmark = [pytest.mark.boots, pytest.mark.builds]

#: Their kernels are built on from the one of test_real_tree.py; the first is one of test_real_series.py, too.
NAMES = ("core-file", "any-thread", "helper-umask")


def test_each_is_caught_and_the_second_time_known(tmp_path: Path) -> None:
    out = tmp_path / "mutants.json"
    words = [word for name in NAMES for word in ("--mutant", name)]
    for known in (False, True):
        done = harness("mutate", "debian:7.3", "--arch", "arm64", "--json", out, *words)
        assert done.status == 0, done
        data = json.loads(out.read_text())
        assert set(data["base"][0]["verdicts"].values()) == {"pass"}
        assert {outcome["name"]: (outcome["kind"], outcome["red"]) for outcome in data["outcomes"]} == {
            "core-file": ("caught", ["core-suid", "cut-core"]),
            "any-thread": ("caught", ["silent-thread"]),
            "helper-umask": ("caught", ["core-pipe", "modprobe"]),
        }
        assert not known or all(outcome["known"] for outcome in data["outcomes"])
        assert "arm64: 3 of 3 mutants caught (100 %)." in done.text

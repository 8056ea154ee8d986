# SPDX-License-Identifier: GPL-2.0-only
"""What a series does to the checks: where they turn, what heals, what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness import bisection, stepreport, turns
from harness.turns import Report, Stage

SUBJECTS = ("the base", "fs: one", "fs: two", "fs: three", "fs: four")


def stage(
    n: int, *, passing: str = "", failing: str = "", arch: str = "arm64", warnings: tuple[str, ...] = ()
) -> Stage:
    verdicts = dict.fromkeys(passing.split(), "pass") | dict.fromkeys(failing.split(), "fail")
    return Stage(n, arch, built=True, booted=True, verdicts=verdicts, warnings=warnings, seconds=2.0)


def report(*stages: Stage, **expected: int) -> Report:
    return Report("fs: toys v2", "~/linux", SUBJECTS[: max(each.n for each in stages) + 1], stages, expected)


def words(told: Report) -> str:
    return " ".join(stepreport.text(told).split())


def test_a_promise_is_kept_from_its_patch_on() -> None:
    told = report(stage(0, failing="root", passing="boot"), stage(1, failing="root"), stage(2, passing="root"), root=2)
    [turn] = turns.turns(told)
    assert (turn.check, turn.n, turn.since, turn.passes, turn.back) == ("root", 2, 1, True, None)
    assert turns.findings(told) == []
    assert "now pass: root" in words(told)
    assert "3 of 3 steps build, 3 boot; 1 check turned; at the end 1 pass." in words(told)


def test_a_promise_is_kept_from_another_patch_on() -> None:
    told = report(stage(0, failing="root"), stage(1, passing="root"), stage(2, passing="root"), root=2)
    [(kind, text)] = turns.findings(told)
    assert (kind, text) == ("place", "root: kept from 1/2 fs: one (arm64) on, though patches/ says 2/2 fs: two")
    assert turns.bad(turns.findings(told))


def test_what_breaks_and_stays_broken() -> None:
    told = report(stage(0, passing="root fsid"), stage(1, failing="root fsid"), stage(2, failing="root fsid"))
    [(kind, text)] = turns.findings(told)
    assert (kind, text) == ("worse", "root, fsid: broken by 1/2 fs: one (arm64), and no later patch mends it")
    assert "now fail: root, fsid" in words(told)


def test_what_a_later_patch_heals() -> None:
    """Both ends pass: a table of them alone would hide it."""
    told = report(*(stage(n, passing="root") for n in (0, 3, 4)), stage(1, failing="root"), stage(2, failing="root"))
    told = replace(told, stages=tuple(sorted(told.stages, key=lambda each: each.n)))
    [(kind, text)] = turns.findings(told)
    assert kind == "bisect"
    assert text.startswith("root: broken by 1/4 fs: one (arm64), healed by 3/4 fs: three")
    assert turns.bad(turns.findings(told))


def test_a_step_that_does_not_build() -> None:
    broken = Stage(1, "arm64", built=False, why="fs/x.c:3: error: no", log="/log")
    told = report(stage(0, failing="root"), broken, stage(2, passing="root"), root=1)
    [(kind, text)] = turns.findings(told)
    assert kind == "build"
    assert text.startswith("1/2 fs: one (arm64): fs/x.c:3: error: no (log: /log); it does again from 2/2 fs: two on")
    [turn] = turns.turns(told)
    assert (turn.since, turn.n) == (0, 2)  # so 1 may be the one that turned it
    assert "2 of 3 steps build" in words(told)


def test_a_step_that_does_not_boot() -> None:
    dead = replace(stage(2), booted=False, why="panic", verdicts={})
    told = report(stage(0, passing="root"), stage(1, passing="root"), dead)
    assert turns.findings(told) == [("boot", "2/2 fs: two (arm64): panic")]


def test_what_may_be_an_earlier_patch_is_said() -> None:
    dead = replace(stage(1), booted=False, why="panic", verdicts={})
    told = report(stage(0, passing="root"), dead, stage(2, failing="root"))
    assert "broken by 2/2 fs: two (arm64), or a patch before it: 1 could not be judged" in words(told)


@pytest.mark.parametrize("verdict", ["skip", "timeout", "error"])
def test_no_verdict_is_no_turn(verdict: str) -> None:
    told = report(stage(0, passing="root"), replace(stage(1), verdicts={"root": verdict}), stage(2, passing="root"))
    assert turns.turns(told) == []
    assert ("1 without a verdict" in words(told)) == (verdict != "skip")


def test_warnings_are_told_where_they_come() -> None:
    one, two = "fs/x.c:1:2: warning: one", "fs/y.c:1:2: warning: two"
    moved = one.replace(":1:", ":9:")
    told = report(stage(0, warnings=(one,)), stage(1, warnings=(moved,)), stage(2, warnings=(moved, two)), stage(3))
    assert turns.findings(told) == [("warning", f"2/3 fs: two (arm64): {two}")]
    assert not turns.bad(turns.findings(told))
    assert "+1" in stepreport.text(told)
    assert "-2" in stepreport.text(told)


def test_architectures_are_told_apart() -> None:
    told = report(
        *(stage(0, passing="root", arch=arch) for arch in ("arm64", "x86_64")),
        stage(1, passing="root"), stage(1, failing="root", arch="x86_64"),
    )  # fmt: skip
    assert [turn.arch for turn in turns.turns(told)] == ["x86_64"]
    assert stepreport.text(told).count("━━") > 1
    assert "step, x86_64" in words(told)


def test_the_json_has_what_the_table_says() -> None:
    told = report(stage(0, passing="root"), stage(1, failing="root"))
    data = json.loads(told.to_json())
    assert data["schema"] == turns.SCHEMA
    assert data["stages"][1]["verdicts"] == {"root": "fail"}
    assert data["turns"] == [
        {"check": "root", "arch": "arm64", "n": 1, "since": 0, "passes": False, "back": None},
    ]
    assert [each["kind"] for each in data["findings"]] == ["worse"]


@pytest.mark.parametrize("at", range(1, 25))
def test_bisection_asks_few_steps(at: int) -> None:
    asked: list[int] = []

    def passes(n: int) -> bool:
        asked.append(n)
        return n >= at

    assert bisection.bisected(0, 24, passes) == [at]
    assert len(asked) <= 6


@pytest.mark.parametrize("lost", [{11}, {11, 12, 13}, {10, 11}, set(range(1, 24))])
def test_bisection_goes_round_what_cannot_be_judged(lost: set[int]) -> None:
    found = bisection.bisected(0, 24, lambda n: None if n in lost else n >= 12)
    assert 12 in found
    judged = [n for n in range(25) if n not in lost]
    assert found == [*range(max(n for n in judged if n < 12) + 1, min(n for n in judged if n >= 12) + 1)]

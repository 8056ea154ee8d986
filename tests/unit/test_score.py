# SPDX-License-Identifier: GPL-2.0-only
"""What became of a defect, by what the checks said of its kernel; and the score."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness import score
from harness.mutant import Defect, Edit
from harness.score import Outcome, Score
from harness.turns import Stage

EDIT = Edit("fs/file.c", "f", "drop", "x")
NAMED = Defect("d", "fs: a slip", (EDIT,), "one", ("one", "two"))


def stage(*, booted: bool = True, why: str = "", **verdicts: str) -> Stage:
    given = {"one": "pass", "two": "pass", "three": "pass"} | verdicts
    return Stage(
        1, "arm64", built=True, booted=booted, why=why, verdicts=given if booted else {}, reasons={"one": "no"}
    )


@pytest.mark.parametrize(
    ("verdicts", "kind", "words"),
    [
        ({"one": "fail"}, "caught", "caught by one"),
        ({"one": "crash", "two": "fail"}, "caught", "caught by one; also two"),
        ({"one": "timeout"}, "caught", "caught by one"),
        ({"one": "fail", "three": "fail"}, "surprise", "caught by one; should not have noticed: three"),
        ({"two": "fail"}, "elsewhere", "missed by one; caught by two"),
        ({}, "missed", "missed by all checks: one: pass"),
        ({"one": "skip"}, "missed", "missed by all checks: one: skip, no"),
        ({"one": "error"}, "lost", "not judged: no"),
    ],
)
def test_who_noticed(verdicts: dict[str, str], kind: str, words: str) -> None:
    found = score.judged(NAMED, replace(stage(), verdicts={**stage().verdicts, **verdicts}))
    assert (found.kind, found.words) == (kind, words)


def test_what_ends_before_any_check() -> None:
    dead, unbuilt = stage(booted=False, why="panic"), Stage(1, "arm64", built=False, why="x.c:1: error")
    ends = {ends: Defect("d", "t", (EDIT,), ends=ends) for ends in ("no boot", "no build")}
    kinds = [score.judged(ends[how], it).kind for how in ends for it in (dead, unbuilt, stage(one="fail"))]
    assert kinds == ["caught", "ended", "missed", "ended", "refused", "missed"]
    assert score.judged(ends["no boot"], dead).words == "caught: does not boot: panic"
    assert score.judged(ends["no boot"], stage(one="fail")).words.endswith("it was to end with no boot; red: one")
    assert score.judged(NAMED, dead).words == "ends before any check: does not boot: panic"
    assert score.judged(NAMED, unbuilt).kind == "ended"


def test_what_nobody_can_notice() -> None:
    defect = Defect("d", "t", (EDIT,), equivalent="nobody looks")
    assert score.judged(defect, stage()).words == "equivalent: nobody looks"
    found = score.judged(defect, stage(two="fail"))
    assert (found.kind, found.words) == ("told", "noticed, though it is said that nobody can: two")


def told(*kinds: str, base: Stage | None = None) -> Score:
    outcomes = tuple(Outcome(f"d{n}", "arm64", "t", kind, "one") for n, kind in enumerate(kinds))
    return Score("tree", "7.3.4", "now", (base or stage(),), outcomes)


@pytest.mark.parametrize(
    ("kinds", "well", "closing"),
    [
        (["caught"] * 3, True, "7.3.4, arm64: 3 of 3 mutants caught (100 %)."),
        (["caught", "equivalent"], True, "7.3.4, arm64: 1 of 1 mutants caught (100 %); 1 equivalent."),
        (["caught", "refused"], True, "7.3.4, arm64: 1 of 1 mutants caught (100 %); 1 refused by the compiler."),
        (["caught", "missed"], False, "1 of 2 mutants caught (50 %)."),
        (["caught", "elsewhere", "ended"], False, "1 of 3 mutants caught (33 %)."),
        (["surprise"], False, "1 of 1 mutants caught (100 %); 1 noticed by a check that should not have."),
        (["caught", "unmade"], False, "1 of 1 mutants caught (100 %); 1 could not be made."),
        (["told"], False, "0 of 0 mutants caught; 1 noticed, though said to be equivalent."),
    ],
)
def test_the_score(kinds: list[str], well: bool, closing: str) -> None:  # noqa: FBT001
    found = told(*kinds)
    assert found.well is well
    assert found.closing("arm64").endswith(closing)
    data = json.loads(found.to_json())
    assert (data["schema"], data["kind"], data["well"]) == (1, "mutants", well)
    assert [outcome["kind"] for outcome in data["outcomes"]] == kinds


def test_no_mutant_is_judged_against_a_broken_kernel() -> None:
    assert score.sound_base(stage(one="skip"))
    for base, why in (
        (stage(one="fail", two="timeout"), "its own checks do not pass: one (fail), two (timeout)"),
        (stage(booted=False, why="panic"), "it does not boot: panic"),
        (Stage(0, "arm64", built=False, why="error"), "it does not build: error"),
    ):
        assert not score.sound_base(base)
        assert score.wrong_base(base) == why
        assert not told("caught", base=base).well


def test_every_kind_has_words() -> None:
    assert {*score.SCORED, *score.CAUGHT, *score.GOOD} <= score.KINDS.keys()
    assert "d0" in score.table(told("caught").outcomes)

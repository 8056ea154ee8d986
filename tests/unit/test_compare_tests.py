# SPDX-License-Identifier: GPL-2.0-only
"""The tests of a kernel's own tree, one by one, from one kernel to the next: none may go from pass to fail."""

from __future__ import annotations

import json

import pytest

from harness import versus
from harness.compare import Column, Comparison, Kind, compare
from harness.results import KernelFacts, Result, Run
from harness.turns import Report, Stage, bad, findings

FACTS = KernelFacts("7.3-arm64", "7.3", "a", "/a/Image", "arm64", "7.3", "isolated", "tcg")
#: A program that passes all that it has.
WHOLE = {"pidfd.one": "pass", "pidfd.one.a": "pass", "pidfd.one.b": "pass"}


def column(letter: str, verdict: str, tests: dict[str, str]) -> Column:
    """A kernel on which the check ended so, and its tests."""
    result = Result(
        "kselftest-pidfd", "a promise", "kthread-nullfs-v2/17", "none", FACTS.label, verdict, "pass",
        ok=verdict == "pass", seconds=0.1, tests=tests,
    )  # fmt: skip
    return Column(letter, f"item-{letter}", "arm64", FACTS, (result,))


def compared(before: dict[str, str], after: dict[str, str], *verdicts: str) -> Comparison:
    first, second = verdicts or ("pass", "fail")
    return compare([column("A", first, before), column("B", second, after)])


def turned(before: dict[str, str], after: dict[str, str], *verdicts: str) -> dict[str, tuple[str, str, str]]:
    (only,) = compared(before, after, *verdicts).pairs
    return {change.check: (change.kind, change.before, change.after) for change in only.tests}


@pytest.mark.parametrize(
    ("before", "after", "became"),
    [
        ("pass", "fail", Kind.WORSE),
        ("pass", "missing", Kind.WORSE),
        ("pass", "skip", Kind.WORSE),
        ("fail", "pass", Kind.BETTER),
        ("skip", "pass", Kind.BETTER),
        ("fail", "missing", Kind.OTHER),
        ("pass", "xfail", Kind.OTHER),
        ("xfail", "xfail", None),
        ("xfail", "pass", Kind.BETTER),
        ("skip", "fail", Kind.OTHER),
    ],
)
def test_what_became_of_a_test(before: str, after: str, became: Kind | None) -> None:
    found = turned({**WHOLE, "pidfd.one.b": before}, {**WHOLE, "pidfd.one.b": after})
    assert found == ({"pidfd.one.b": (became, before, after)} if became else {})


def test_nothing_to_say_of_what_is_the_same() -> None:
    outcomes = {**WHOLE, "pidfd.two": "fail", "pidfd.three": "skip", "pidfd.four": "missing"}
    assert turned(outcomes, outcomes, "fail", "fail") == {}
    assert not compared(outcomes, outcomes, "fail", "fail").worse


def test_a_test_that_passed_is_lost_where_another_one_fails_on_both() -> None:
    """The check fails before and after, and still something is worse."""
    known = {"pidfd.two": "fail"}
    comparison = compared(WHOLE | known, {**WHOLE, "pidfd.one": "fail", "pidfd.one.b": "fail"} | known, "fail", "fail")
    assert comparison.worse
    assert [change.check for change in comparison.pairs[0].lost] == ["pidfd.one", "pidfd.one.b"]
    said = versus.text(comparison)
    assert "worse: the tree's test pidfd.one.b: pass, then fail" in said
    assert "B keeps all that A kept but for 2 tests of the tree's own, and no more; 0 worse." in said


def test_a_test_that_a_failed_program_does_not_come_to_is_missing() -> None:
    after = {"pidfd.one": "fail", "pidfd.one.a": "pass", "pidfd.one.test 2": "missing"}
    assert turned(WHOLE, after) == {
        "pidfd.one": (Kind.WORSE, "pass", "fail"),
        "pidfd.one.b": (Kind.WORSE, "pass", "missing"),
        "pidfd.one.test 2": (Kind.NEW, "", "missing"),
    }


def test_a_test_that_the_tree_has_no_more_is_no_loss() -> None:
    after = {"pidfd.one": "pass", "pidfd.one.a": "pass", "pidfd.one.c": "pass"}
    assert turned(WHOLE, after, "pass", "pass") == {
        "pidfd.one.b": (Kind.GONE, "pass", ""),
        "pidfd.one.c": (Kind.NEW, "", "pass"),
    }
    assert not compared(WHOLE, after, "pass", "pass").worse


def test_a_new_test_that_fails_is_told_and_is_no_loss() -> None:
    comparison = compared(WHOLE, WHOLE | {"pidfd.two": "fail"}, "fail", "fail")
    assert not comparison.worse
    assert "new: the tree's test pidfd.two: fail" in versus.text(comparison)


def test_what_did_not_run_for_a_crash_is_told_by_the_check_alone() -> None:
    comparison = compared(WHOLE, {"pidfd.zero": "pass"}, "pass", "crash")
    assert [change.check for change in comparison.pairs[0].tests] == ["pidfd.zero"]
    assert comparison.worse


def test_many_are_counted() -> None:
    many = {f"pidfd.one.{n}": "pass" for n in range(50)}
    said = versus.text(compared(many, dict.fromkeys(many, "fail")))
    assert "worse: 30 more tests of the tree's" in said
    assert "better: 50 tests of the tree's: pidfd.one.0, pidfd.one.1, pidfd.one.2 and 47 more" in versus.text(
        compared(dict.fromkeys(many, "fail"), many, "fail", "pass")
    )


def test_they_are_in_the_documents() -> None:
    first = column("A", "pass", WHOLE)
    assert Run.from_json(Run([FACTS], list(first.results)).to_json()).results[0].tests == WHOLE
    [pair] = json.loads(compared(WHOLE, {**WHOLE, "pidfd.one.b": "fail"}).to_json())["pairs"]
    assert [change["check"] for change in pair["tests"]] == ["pidfd.one.b"]
    older = json.loads(Run([FACTS], list(first.results)).to_json())
    del older["results"][0]["tests"]
    assert Run.from_json(json.dumps(older)).results[0].tests == {}


def test_a_step_of_a_series_that_loses_tests_is_found() -> None:
    after = {"pidfd.one": "fail", "pidfd.one.a": "pass", "pidfd.one.test 2": "missing", "pidfd.two": "fail"}
    stages = (
        Stage(0, "arm64", built=True, tests=WHOLE | {"pidfd.two": "fail"}),
        Stage(1, "arm64", built=True),
        Stage(2, "arm64", built=True, tests=after),
        Stage(3, "arm64", built=True, tests=after),
    )
    report = Report("a series", "a base", ("", "one", "two", "three"), stages)
    assert findings(report) == [
        ("test", "2/3 two (arm64): tests of the tree's own pass no more: pidfd.one (fail), pidfd.one.b (missing)")
    ]
    assert bad(findings(report))
    assert not findings(Report("a series", "a base", ("", "one", "two", "three"), stages[2:]))

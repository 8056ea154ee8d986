# SPDX-License-Identifier: GPL-2.0-only
"""Debian's 7.3 source with one defect a patch, really built: each check turns at just the patch that turns it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from defects import Planted, plant
from program import Done, harness

from harness import base, mutant, tree
from harness.deadline import Deadline
from harness.spec import parse_tree

pytestmark = [pytest.mark.boots, pytest.mark.builds]

#: Its kernel is the one of test_real_tree.py, and all others are built on from that.
TREE = "debian:7.3:source"
DEFECTS = ("core-file", "core-socket", "moved-kthreads", "assigned", "shared-fs")
#: Of DEFECTS, the one that the compiler warns of.
WARNED = 4


def planted(where: Path, *names: str) -> tuple[Planted, Planted]:
    """The series with these defects, and the way back."""
    there = {defect.name: defect for name in ("isolated", "broken") for defect in mutant.read(name)}
    source = base.seen(parse_tree(TREE), Deadline.after(3600))
    return plant(source, [there[name] for name in names], where)


def stepped(series: Planted, *words: str) -> tuple[Done, dict[str, Any]]:
    """``series step`` to its end, and what it wrote as JSON."""
    out = series.directory.with_suffix(".json")
    done = harness("series", "step", series.directory, series.base, "--arch", "arm64", "--json", out, *words)
    return done, json.loads(out.read_text()) if out.exists() else {}


def turned(data: dict[str, Any], *, passes: bool) -> dict[int, frozenset[str]]:
    """The checks that turned that way, by the number of the patch."""
    turns = [turn for turn in data["turns"] if turn["passes"] is passes]
    return {n: frozenset(turn["check"] for turn in turns if turn["n"] == n) for n in {turn["n"] for turn in turns}}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Planted, Planted]]:
    there, back = planted(tmp_path_factory.mktemp("series"), *DEFECTS)
    yield there, back
    # A tree at a path that no other run of the tests has: the user's cache keeps no more than a few.
    shutil.rmtree(tree.snapshot(back.base, Deadline.after(60)).home)


@pytest.fixture(scope="module")
def worse(both: tuple[Planted, Planted]) -> tuple[Done, dict[str, Any]]:
    return stepped(both[0])


def test_each_check_turns_at_the_patch_that_breaks_it(
    both: tuple[Planted, Planted], worse: tuple[Done, dict[str, Any]]
) -> None:
    done, data = worse
    assert done.status == 1, done
    assert [(stage["built"], stage["booted"]) for stage in data["stages"]] == [(True, True)] * (len(DEFECTS) + 1)
    assert set(data["stages"][0]["verdicts"].values()) == {"pass"}
    assert turned(data, passes=False) == both[0].turns
    assert turned(data, passes=True) == {}
    # Built on from the one before: just the file that the patch changes, and what every link makes anew.
    assert all(stage["objects"] < 20 for stage in data["stages"][1:]), data["stages"]
    [warning] = [found["text"] for found in data["findings"] if found["kind"] == "warning"]
    assert f"{WARNED}/{len(DEFECTS)} " in warning
    assert "fs/fs_struct.c" in warning


@pytest.mark.usefixtures("worse")
def test_the_way_back_heals_them_one_by_one_and_nothing_is_built_for_it(both: tuple[Planted, Planted]) -> None:
    done, data = stepped(both[1])
    assert done.status == 0, done
    assert turned(data, passes=True) == both[1].turns
    assert turned(data, passes=False) == {}
    assert [stage["known"] for stage in data["stages"]] == [True] * (len(DEFECTS) + 1)
    assert set(data["stages"][-1]["verdicts"].values()) == {"pass"}


@pytest.mark.usefixtures("worse")
def test_a_bisection_finds_the_same_patch(both: tuple[Planted, Planted]) -> None:
    [n] = [n for n, checks in both[0].turns.items() if "pivot-kthreads" in checks]
    done, _ = stepped(both[0], "--bisect", "pivot-kthreads")
    assert done.status == 0, done
    assert f"pivot-kthreads fails from {n}/{len(DEFECTS)} " in done.text


def test_what_does_not_boot_and_what_does_not_build_is_told(tmp_path: Path) -> None:
    series, _ = planted(tmp_path, "core-file", "initramfs", "undeclared")
    done, data = stepped(series)
    assert done.status == 1, done
    assert [(stage["built"], stage["booted"]) for stage in data["stages"]] == [
        *((True, True), (True, True), (True, False), (False, None)),
    ]
    assert turned(data, passes=False) == {1: frozenset({"core-suid", "cut-core"})}
    told = {found["kind"]: found["text"] for found in data["findings"]}
    assert "No working init found" in told["boot"]
    assert "2/3 " in told["boot"]
    assert "kernel/fork.c" in told["build"]
    assert "helper_fs" in told["build"]
    assert "3/3 " in told["build"]

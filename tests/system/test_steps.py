# SPDX-License-Identifier: GPL-2.0-only
"""``series step`` on toy trees whose builds hand out real kernels: everything but the kernel's compilation is real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from program import Done, Program

#: One that the older kernel fails, one that it passes.
CHECKS = ("--check", "root", "--check", "boot", "--check", "fs-umask")
#: What each patch of the series does: its subject, the kernel that it has built, a line of C.
SERIES = (
    ("docs: nothing that is built", "shared", "/* words */"),
    ("fs: isolate", "isolated", "int isolated;"),
    ("fs: a slip", "isolated", "int slip = nothing;"),
    ("fs: mend it, and warn", "isolated", "static int idle;"),
    ("fs: a step back", "shared", "int back;"),
    ("fs: and forth", "isolated", "int forth;"),
)

Step = Callable[..., tuple[Done, dict[str, Any]]]


def commit(tree: Path, subject: str) -> None:
    toy.git(tree, "add", "--all")
    toy.git(tree, "commit", "--quiet", f"--message={subject}")


def patches(tree: Path, images: Path, where: Path, rows: tuple[tuple[str, str, str], ...] = SERIES) -> Path:
    """The series as files, made of commits on ``tree``, which then is at its base again."""
    good = (tree / toy.FILE).read_text()
    toy.git(tree, "checkout", "--quiet", "-b", "topic")
    for subject, name, line in rows:
        toy.boots(tree, images / name)
        good = "".join(each for each in good.splitlines(keepends=True) if "nothing" not in each) + f"{line}\n"
        (tree / toy.FILE).write_text(good)
        commit(tree, subject)
    toy.git(tree, "format-patch", "--quiet", f"--output-directory={where}", "main")
    toy.git(tree, "checkout", "--quiet", "main")
    return where


@pytest.fixture
def base(tmp_path: Path, images: Path) -> Path:
    """A toy tree that hands out the older kernel."""
    tree = toy.checkout(tmp_path / "tree")
    toy.boots(tree, images / "shared")
    commit(tree, "base")
    return tree


@pytest.fixture
def step(builder: Program) -> Step:
    """``series step`` to its end, and what it wrote as JSON; the user's files stay as they were."""

    def stepped(series: Path | str, tree: Path, *words: str) -> tuple[Done, dict[str, Any]]:
        out = builder.directory / "steps.json"
        out.unlink(missing_ok=True)
        before = toy.prints(tree)
        given = ("series", "step", series, tree, "--no-install", "--arch", "arm64", "--json", out, *CHECKS, *words)
        done = builder.end(["-m", "harness", *given], {})
        assert toy.prints(tree) == before
        assert "Traceback" not in done.text
        return done, json.loads(out.read_text()) if out.exists() else {}

    return stepped


def turned(data: dict[str, Any]) -> list[tuple[str, int, bool]]:
    return [(turn["check"], turn["n"], turn["passes"]) for turn in data["turns"]]


def test_every_turn_is_at_its_patch(step: Step, base: Path, images: Path, tmp_path: Path) -> None:
    done, data = step(patches(base, images, tmp_path / "series"), base)
    assert done.status == 1, done  # a step that does not build, and one that breaks what was kept
    both = [("root", 2, True), ("fs-umask", 2, True), ("root", 5, False), ("fs-umask", 5, False)]
    both += [("root", 6, True), ("fs-umask", 6, True)]
    assert sorted(turned(data)) == sorted(both)
    assert [stage["built"] for stage in data["stages"]] == [True, True, True, False, True, True, True]
    kinds = {finding["kind"]: finding["text"] for finding in data["findings"]}
    assert set(kinds) == {"build", "bisect", "warning"}
    assert kinds["build"].startswith("3/6 fs: a slip (arm64)")
    assert "'nothing' undeclared" in kinds["build"]
    assert "it does again from 4/6" in kinds["build"]
    assert "broken by 5/6 fs: a step back (arm64), healed by 6/6 fs: and forth" in kinds["bisect"]
    assert "4/6 fs: mend it, and warn (arm64): fs/namespace.c:" in kinds["warning"]
    assert "6 of 7 steps build, 6 boot; 2 checks turned; at the end 3 pass." in done.text
    # The first patch changes nothing that is built: its kernel is the base's, and was not booted again.
    consoles = sorted(path.name for path in Path(data["evidence"]).iterdir())
    assert len([name for name in consoles if "step-1-" in name]) == 0
    assert len([name for name in consoles if "step-2-" in name]) == 1


def test_the_second_time_all_is_known(step: Step, builder: Program, base: Path, images: Path, tmp_path: Path) -> None:
    series = patches(base, images, tmp_path / "series", SERIES[:2])
    first, data = step(series, base)
    assert first.status == 0, first
    second, again = step(series, base)
    assert second.status == 0
    assert again["turns"] == data["turns"]
    assert [stage["known"] for stage in again["stages"]] == [True] * 3
    assert again["evidence"] == ""  # nothing was booted
    assert len(toy.kernels(builder)) == 3
    assert "3 boot (3 known from before)" in second.text


def test_only_what_follows_a_change_is_done_again(
    step: Step, builder: Program, base: Path, images: Path, tmp_path: Path
) -> None:
    rows = (("one", "shared", "int one;"), ("two", "isolated", "int two;"), ("three", "isolated", "int three;"))
    step(patches(base, images, tmp_path / "v1", rows), base)
    there = len(toy.kernels(builder))
    toy.git(base, "branch", "--delete", "--force", "--quiet", "topic")
    amended = (rows[0], ("two", "shared", "int two;"), rows[2])
    done, data = step(patches(base, images, tmp_path / "v2", amended), base)
    assert done.status == 0, done
    assert len(toy.kernels(builder)) == there + 1  # with the third, the tree is what it was
    assert [stage["seconds"] > 0 for stage in data["stages"]] == [False, False, True, False]
    assert sorted(turned(data)) == [("fs-umask", 3, True), ("root", 3, True)]


def test_what_was_announced_for_another_patch(step: Step, base: Path, images: Path, tmp_path: Path) -> None:
    """The subjects are those that patches/ knows, so it is known which checks speak for them."""
    rows = (
        ("fs: stop sharing fs_struct between init_task and pid 1", "shared", "int one;"),
        ("fs: start all kthreads in nullfs", "isolated", "int two;"),
    )
    done, data = step(patches(base, images, tmp_path / "series", rows), base)
    assert done.status == 1, done
    [finding] = data["findings"]
    assert finding["kind"] == "place"
    assert finding["text"].startswith("fs-umask: kept from 2/2 fs: start all kthreads in nullfs (arm64) on, though")
    assert "Not where it was announced" in done.text


def test_bisection_needs_few_steps(step: Step, builder: Program, base: Path, images: Path, tmp_path: Path) -> None:
    rows = tuple((f"patch {n}", "isolated" if n >= 6 else "shared", f"int x{n};") for n in range(1, 9))
    done, _ = step(patches(base, images, tmp_path / "series", rows), base, "--bisect", "root")
    assert done.status == 0, done
    assert done.out.splitlines()[-1] == "root passes from 6/8 patch 6 on"
    assert len(toy.kernels(builder)) <= 6


def test_bisection_that_cannot_tell(step: Step, base: Path, images: Path, tmp_path: Path) -> None:
    """The patch that turns it does not build, and so may be either of two."""
    rows = (("one", "shared", "int one;"), ("two", "isolated", "int two = nothing;"), ("three", "isolated", "int x;"))
    series = patches(base, images, tmp_path / "series", rows)
    done, _ = step(series, base, "--bisect", "root")
    assert done.status == 125, done
    assert done.out.splitlines()[-1] == "root passes from 2/3 two or 3/3 three on"
    same, _ = step(series, base, "--bisect", "boot")
    assert same.status == 1, same
    assert "boot passes at both ends" in same.text


def test_a_tree_is_built_with_a_series(builder: Program, base: Path, images: Path, tmp_path: Path) -> None:
    series = patches(base, images, tmp_path / "series", SERIES[:2])
    words = ("--kernel", base, "--arch", "arm64", "--check", "root")
    assert "root fails" in (plain := builder.run(*words, "--bisect", "root")).text, plain
    done = builder.run(*words, "--series", series)
    assert done.status == 0, done
    assert "2/2 fs: isolate: as it stands" in done.text
    tested = builder.pytest("-q", f"--kernel={base}", "--arch=arm64", "--check=root", f"--series={series}")
    assert "1 passed" in tested.out, tested
    assert len(toy.kernels(builder)) == 2
    refused = builder.run("--kernel", "debian:7.3", "--series", series)
    assert refused.status == 2
    assert "debian:7.3:source" in refused.text


def test_bad_words(step: Step, base: Path, images: Path, tmp_path: Path) -> None:
    series = patches(base, images, tmp_path / "series", SERIES[:1])
    for words, said in (
        (("--check", "rooot"), "no check rooot"),
        (("--bisect", "rooot"), "no check rooot"),
        (("--profile", "big"), "'big' is not a profile"),
        (("--json", str(tmp_path / "no/such.json")), "is not a directory"),
        (("--guests", "0"), "0 is no number of guests"),
    ):
        done, _ = step(series, base, *words)
        assert done.status == 2, done
        assert said in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""``explain``: all that is known of one check, without a kernel and without what pip brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import declared, explain, mutant, resources
from harness.errors import RequestError

TOP = Path(__file__).resolve().parents[2]


def test_all_that_is_known_of_one() -> None:
    told = explain.text("pid-ns")
    for words in (
        "the first process of a PID namespace may leave: no warning, nothing lost",
        "isolated; an older kernel must fail it",
        "kthread-nullfs-v2/1: fs: notice when init abandons fs sharing",
        "https://lore.kernel.org/20260306-work-kthread-nullfs-v2-1-ad1b4bed7d3e@kernel.org",
        "also kthread-nullfs-7.3/",
        "A child that is the PID 1 of a namespace unshares",
        "CONFIG_PID_NS",
        "any-namespace: fs: take the PID 1 of a namespace for PID 1",
        "it may notice, too: ",
        "tests/kernel/test_pid1.py, line ",
        "python3 -m harness run --check pid-ns",
    ):
        assert words in told
    assert max(map(len, told.splitlines())) <= 120
    assert "test_firmware" in explain.text("cut-firmware")


def test_every_check_says_how_it_is_done_and_has_a_defect() -> None:
    every = declared.declared([resources.directory("tests/kernel")])
    assert [check.id for check in every if not check.text] == []
    assert [check.id for check in every if not check.promise or not explain.text(check.id)] == []


def test_a_check_that_is_none() -> None:
    with pytest.raises(RequestError, match="no check 'rooot'") as error:
        explain.text("rooot")
    assert all(name in error.value.hint for name in declared.needs())


def test_only_the_standard_library_is_needed() -> None:
    code = f"import sys; sys.path.insert(0, {str(TOP)!r}); from harness import explain; print(explain.text('root'))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("root\n")


def test_the_defects_name_checks() -> None:
    every = mutant.all_in(resources.directory("patches") / "mutants")
    named = {defect.check for defect in every} - {""}
    assert len(named) > 20
    for name in named:
        assert f"{next(defect.name for defect in every if defect.check == name)}: " in explain.text(name)

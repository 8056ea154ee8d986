# SPDX-License-Identifier: GPL-2.0-only
"""The real program on kernels of each era: what it fails on, and what that makes of its exit status."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.results import Result, Run

pytestmark = pytest.mark.boots
SINCE = {"none": 0, "rootfs": 1, "isolated": 2}
#: Why a check may be skipped: what the kernel lacks, by its name; its age; its architecture.
LACK = r"(CONFIG_\w+(=y)?|(the )?module [\w-]+)"
SKIPPED = re.compile(
    rf"this kernel (lacks|has no) {LACK}(, {LACK})*( beside it)?([;:] .+)?"
    r"|this kernel has no \w+\(\) \(CONFIG_\w+\)"
    r"|[\w ]+ came with \d+\.\d+"
    r"|the driver has this part on x86_64 only, not on arm64"
)


def run(json: Path, *words: str) -> tuple[int, Run, str]:
    argv = [sys.executable, "-m", "harness", "run", "--json", str(json), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert json.is_file(), done.stdout + done.stderr
    return done.returncode, Run.from_json(json.read_text(encoding="utf-8")), done.stdout


def unexplained(results: Run) -> list[Result]:
    """What was skipped for another reason than those that there may be."""
    return [each for each in results.results if each.verdict == "skip" and not SKIPPED.fullmatch(each.reason)]


def names(results: list[Result]) -> set[str]:
    return {result.check for result in results}


def test_without_expect_a_shared_kernel_fails_exactly_the_isolated_checks(tmp_path: Path) -> None:
    status, results, out = run(tmp_path / "json", "--kernel", "debian:shared", "--arch", "arm64")
    assert status == 1
    later = [result for result in results.results if result.since == "isolated" and result.verdict != "skip"]
    assert len(later) > 15
    assert names(results.failed) == names(later)
    assert {result.verdict for result in results.failed} == {"fail"}
    for result in results.failed:
        assert f"FAIL {result.check} " in out
        assert result.repeat in out or "the same:" in out
        assert Path(result.console).read_bytes().count(b"Linux version") == 1
    assert unexplained(results) == []


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_before_nullfs_every_later_promise_is_broken_as_due(tmp_path: Path, arch: str) -> None:
    words = ("--kernel", "debian:6.12", "--arch", arch, "--expect", "none")
    status, results, out = run(tmp_path / "json", *words)
    assert status == 0, out
    for result in results.results:
        if result.verdict != "skip":
            assert result.verdict == ("fail" if SINCE[result.since] else "pass"), result.check
    assert unexplained(results) == []


def test_firmware_where_a_kernel_has_something_that_asks_for_it(tmp_path: Path) -> None:
    kernels = ("--kernel", "debian:isolated:full", "--kernel", "debian:shared:full", "--expect", "auto")
    due = {name: ["pass", "fail"] for name in ("cut-firmware", "real-fs-firmware")}
    due |= {name: ["pass", "pass"] for name in ("firmware-sync", "firmware-async", "firmware-path")}
    words = [word for name in due for word in ("--check", name)]
    status, results, out = run(tmp_path / "json", *kernels, "--arch", "arm64", *words)
    assert status == 0, out
    assert {name: [each.verdict for each in results.results if each.check == name] for name in due} == due

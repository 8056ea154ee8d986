# SPDX-License-Identifier: GPL-2.0-only
"""Renderings: what a maintainer, a CI server and a program read."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from harness import report
from harness.results import KernelFacts, Result, Run

NEW = KernelFacts("7.3.4-x86_64", "7.3.4", "debian:7.3", "/image", "x86_64", "7.3.4-amd64", "isolated", "tcg", "why")
OLD = replace(NEW, label="7.2.1-x86_64", name="7.2.1", spec="debian:7.2", release="7.2.1-amd64", expect="rootfs")
GOOD = Result(
    "root",
    "every kernel thread's root is a nullfs",
    "kthread-nullfs-v2/22",
    "isolated",
    NEW.label,
    "pass",
    "pass",
    ok=True,
    seconds=0.5,
    console="/evidence/root.console",
    repeat="python3 -m harness run --check root",
)
DUE = replace(GOOD, kernel=OLD.label, verdict="fail", expected="fail", reason="assert 1 == 2")
BAD = replace(GOOD, verdict="fail", ok=False, reason="assert 1 == 2\nmore", tail="[    1.0] last\x1b words")
CRASH = replace(BAD, verdict="crash", reason="the guest died: panic: Kernel panic - not syncing: no")
BLUNT = replace(GOOD, kernel=OLD.label, expected="fail", ok=False)
SKIP = replace(GOOD, check="cut-firmware", verdict="skip", reason="no test_firmware")
WARN = replace(GOOD, ok=False, troubles=("warn: WARNING: CPU: 0",))
ERROR = replace(BAD, verdict="error", reason="disk full")


def run(*results: Result) -> Run:
    return Run([NEW, OLD], list(results))


def text(results: Run) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(report.table(results))
    return console.export_text()


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (GOOD, "pass"),
        (DUE, "fails (due)"),
        (BAD, "FAIL"),
        (CRASH, "CRASH"),
        (BLUNT, "PASSES?"),
        (SKIP, "skip"),
        (WARN, "WARN"),
        (replace(GOOD, how="static"), "pass (static)"),
        (replace(DUE, how="static"), "fails (due) (static)"),
        (replace(SKIP, how="static"), "skip"),
    ],
)
def test_a_verdict_is_never_another_one_in_the_table(result: Result, word: str) -> None:
    assert word in text(run(result))


def test_the_table_of_four_kernels_fits_a_terminal() -> None:
    kernels = [replace(NEW, label=str(n), name="7.2.13+deb14-cloud") for n in range(4)]
    lines = text(Run(kernels, [replace(GOOD, kernel=kernel.label) for kernel in kernels])).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in "".join(lines)


def test_when_all_is_well_the_closing_says_what_that_proves() -> None:
    closing = report.closing(run(GOOD, DUE, SKIP))
    assert "7.3.4 (x86_64) keeps every promise that was tried" in closing
    assert "breaks just the promises that came later" in closing
    assert "  skipped cut-firmware on 7.3.4-x86_64: no test_firmware" in closing


def test_what_is_skipped_is_told_once_for_all_kernels() -> None:
    others = [replace(SKIP, check=name, kernel=kernel) for name in ("one", "two") for kernel in (NEW.label, OLD.label)]
    sev = replace(SKIP, check="sev", reason="no ccp")
    lines = report.closing(run(*others, GOOD, sev, replace(sev, kernel=OLD.label, reason="not on arm64"))).splitlines()
    assert [line for line in lines if "skipped" in line] == [
        "  skipped one, two: no test_firmware",
        "  skipped sev on 7.3.4-x86_64: no ccp",
        "  skipped sev on 7.2.1-x86_64: not on arm64",
    ]


def test_no_name_of_a_check_is_cut_off_in_a_pipe() -> None:
    kernels = [replace(NEW, label=str(n), name="7.2.13+deb14-cloud") for n in range(4)]
    long = "a-check-with-a-name-of-forty-four-characters"
    rows = [replace(DUE, check=long, kernel=kernel.label) for kernel in kernels]
    [line] = (line for line in report.trimmed(report.table(Run(kernels, rows))).splitlines() if long in line)
    assert line.count("fails (due)") == 4


def test_what_went_wrong_is_named_with_its_patch_and_a_command() -> None:
    closing = report.closing(run(BAD, DUE))
    assert "FAIL root (kthread-nullfs-v2/22): assert 1 == 2" in closing
    assert closing.splitlines()[-1].endswith(BAD.repeat)


def test_a_check_that_cannot_tell_is_called_that() -> None:
    assert "does not discriminate" in report.closing(run(GOOD, BLUNT))


CLAIM = replace(NEW, build_id="c0ffee", claim="mixture", claim_why="x without y", claim_against=("no x", "no y"))


def test_a_claim_is_told_beside_the_verdict_and_changes_none() -> None:
    plain = report.closing(Run([NEW], [GOOD])).splitlines()
    assert not any("claims" in line or "though" in line for line in plain)
    said = report.closing(Run([CLAIM], [GOOD])).splitlines()
    assert [line for line in said if line not in plain] == [
        "  claims: mixture (x without y)",
        "  judged as isolated, though its vmlinux has no x and no y",
    ]
    assert [line for line in said if line in plain] == plain
    fitting = replace(CLAIM, claim="isolated", claim_against=())
    assert "though" not in report.closing(Run([fitting], [GOOD]))


def test_a_kernel_on_which_nothing_ran_keeps_no_promise() -> None:
    assert report.verdict(run(GOOD)) == "Nothing ran on 7.2.1 (x86_64)."


def test_the_hosts_fault_is_not_the_kernels() -> None:
    assert "the host failed, not the kernel" in report.verdict(run(ERROR))


def test_a_failure_has_all_that_is_needed() -> None:
    words = report.failure(CRASH, run(CRASH))
    for needed in (
        "CRASH root on 7.3.4 (x86_64)",
        CRASH.promise,
        "kthread-nullfs-v2 22/23: fs: start all kthreads in nullfs",
        "20260306-work-kthread-nullfs-v2-22-ad1b4bed7d3e@kernel.org",
        "Kernel panic - not syncing: no",
        "last",
        CRASH.console,
        CRASH.repeat,
    ):
        assert needed in words


def test_a_kernel_that_does_not_boot_is_told_once() -> None:
    texts = list(report.failures(run(CRASH, replace(CRASH, check="fsid"), BAD)))
    assert len(texts) == 2
    assert "the same: fsid" in texts[0]


def test_junit_counts_and_is_well_formed() -> None:
    root = ET.fromstring(report.junit(run(GOOD, BAD, SKIP, ERROR, DUE, BLUNT)))  # noqa: S314
    new, old = root
    assert new.attrib | {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"} == new.attrib
    assert old.attrib | {"tests": "2", "failures": "1", "errors": "0"} == old.attrib
    failure = root.find(".//failure")
    assert failure is not None
    assert "last? words" in (failure.text or "")


def test_json_comes_back_as_it_went() -> None:
    results = run(GOOD, BAD, WARN)
    results.kernels.append(CLAIM)
    assert Run.from_json(results.to_json()) == results
    with pytest.raises(ValueError, match="schema"):
        Run.from_json('{"schema": 99}')


def test_a_crash_is_told_by_its_reason_whatever_the_kernel_said_before() -> None:
    assert "CRASH root (kthread-nullfs-v2/22): the guest died: panic" in report.closing(
        run(replace(CRASH, troubles=("warn: WARNING: CPU: 0",)))
    )

# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of checks that crash, hang, provoke a warning or prove nothing: one run over checks made for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from program import Case, Done, Program, cases, results

pytestmark = pytest.mark.boots

#: Judged as a kernel without nullfs: what is `since=LATER` is due to fail.
CHECKS = r"""
import pytest

from harness.checks import Era, check
from harness.deadline import Deadline
from harness.guest import Guest

LATER = Era.ISOLATED


@check("crash", "a promise", patch="kthread-nullfs-v2/1")
def test_crash(guest: Guest) -> None:
    guest.write_file("/left-over", "by the check before")
    guest.write_file("/proc/sysrq-trigger", "c", 0)


@check("after-crash", "a promise", patch="kthread-nullfs-v2/1")
def test_after_crash(guest: Guest) -> None:
    assert guest.getpid() == 1
    assert not guest.exists("/left-over")


@check("stuck", "a promise", patch="kthread-nullfs-v2/1")
def test_stuck(guest: Guest) -> None:
    guest.channel.deadline = Deadline.after(3)
    guest.call("ppoll", 0, 0, 0, 0, 8)


@check("warned", "a promise", patch="kthread-nullfs-v2/1")
def test_warned(guest: Guest) -> None:
    guest.write_file("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 y+0x0/0x1\n", 0)


@check("warned-and-expected", "a promise", patch="kthread-nullfs-v2/1")
def test_warned_and_expected(guest: Guest) -> None:
    guest.expect_trouble("warn")
    guest.write_file("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 y+0x0/0x1\n", 0)


@check("skipped", "a promise", patch="kthread-nullfs-v2/1")
def test_skipped(guest: Guest) -> None:
    pytest.skip("there is no moon tonight")


@check("refused", "a promise", patch="kthread-nullfs-v2/1")
def test_refused(guest: Guest) -> None:
    guest.mkdir("/proc/new")


@check("mistaken", "a promise", patch="kthread-nullfs-v2/1")
def test_mistaken(guest: Guest) -> None:
    raise ValueError("a mistake of the check itself")


@check("due", "a promise", patch="kthread-nullfs-v2/1", since=LATER)
def test_due(guest: Guest) -> None:
    assert guest.getpid() == 2


@check("not-due", "a promise", patch="kthread-nullfs-v2/1", since=LATER)
def test_not_due(guest: Guest) -> None:
    assert guest.getpid() == 1


@check("fails-and-dies", "a promise", patch="kthread-nullfs-v2/1")
def test_fails_and_dies(guest: Guest) -> None:
    child = guest.spawn()
    trigger = child.open("/proc/sysrq-trigger", 1)
    child.start("write", trigger, b"c", 1)
    guest.machine.console.wait_text(b"sysrq: Trigger a crash", guest.channel.deadline)
    assert guest.pid == 2


@check("after-all", "a promise", patch="kthread-nullfs-v2/1")
def test_after_all(guest: Guest) -> None:
    assert guest.getpid() == 1


@check("crash-when-due", "a promise", patch="kthread-nullfs-v2/1", since=LATER)
def test_crash_when_due(guest: Guest) -> None:
    guest.write_file("/proc/sysrq-trigger", "c", 0)


@check("warned-when-due", "a promise", patch="kthread-nullfs-v2/1", since=LATER)
def test_warned_when_due(guest: Guest) -> None:
    guest.write_file("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 y+0x0/0x1\n", 0)
    assert guest.getpid() == 2


@check("only-warned-when-due", "a promise", patch="kthread-nullfs-v2/1", since=LATER)
def test_only_warned_when_due(guest: Guest) -> None:
    guest.write_file("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 y+0x0/0x1\n", 0)
"""


@dataclass(frozen=True)
class Judged:
    """The whole pytest run."""

    done: Done
    cases: dict[str, Case]


@pytest.fixture(scope="module")
def judged(warm: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """All the checks above on a real kernel, as anybody runs checks of their own."""
    directory = tmp_path_factory.mktemp("checks")
    (directory / "test_made_up.py").write_text(CHECKS)
    report = directory / "junit.xml"
    program = Program(warm, directory)
    done = program.pytest(f"--kernel={image}", "--expect=none", f"--junitxml={report}", "-ra", directory)
    assert program.left() == []
    assert done.status == pytest.ExitCode.TESTS_FAILED, done
    return Judged(done, cases(report))


@pytest.mark.parametrize(
    ("name", "outcome", "verdict", "message"),
    [
        ("crash", "failure", "crash", "Kernel panic - not syncing: sysrq triggered crash"),
        ("after_crash", "passed", "pass", ""),
        ("stuck", "failure", "timeout", "the guest gave no answer within 3 s"),
        ("warned", "failure", "fail", "the kernel complained"),
        ("warned_and_expected", "passed", "pass", ""),
        ("skipped", "skipped", "skip", "there is no moon tonight"),
        ("refused", "failure", "fail", "mkdirat(AT_FDCWD, '/proc/new', 493): ENOENT"),
        ("mistaken", "failure", "error", "a mistake of the check itself"),
        ("fails_and_dies", "failure", "crash", "Kernel panic - not syncing: sysrq triggered crash"),
        ("after_all", "passed", "pass", ""),
        ("due", "skipped", "fail", "due before isolated"),
        ("not_due", "failure", "pass", "a pass would not discriminate: it proves nothing about not-due"),
        ("crash_when_due", "failure", "crash", "Kernel panic - not syncing: sysrq triggered crash"),
        ("warned_when_due", "failure", "fail", "the kernel complained"),
        ("only_warned_when_due", "failure", "fail", "the kernel complained"),
    ],
)
def test_verdict(judged: Judged, name: str, outcome: str, verdict: str, message: str) -> None:
    case = judged.cases[name]
    assert (case.outcome, case.verdict) == (outcome, verdict), judged.done
    assert message in case.text


def test_every_failure_has_its_evidence(judged: Judged) -> None:
    bad = {name: case for name, case in judged.cases.items() if case.outcome == "failure"}
    assert bad.keys() >= {"crash", "stuck", "warned", "refused", "not_due"}
    assert "kthread-nullfs-v2/1" in judged.done.out
    for name, case in bad.items():
        log = f"/{name.replace('_', '-')}.console"
        path = next(Path(word) for word in judged.done.out.split() if word.endswith(log))
        assert "Linux version" in path.read_text(errors="replace"), case


def test_json_and_table(program: Program, image: Path) -> None:
    """The same from the command line, with the project's own checks on a kernel newer than it is judged as."""
    report, only = program.directory / "results.json", ["--check", "kcmp", "--check", "cut-firmware"]
    done = program.run("--kernel", image, "--expect", "none", *only, "--json", report)
    assert done.status == 1, done
    found = results(report)
    assert (found["kcmp"]["verdict"], found["kcmp"]["expected"], found["kcmp"]["ok"]) == ("pass", "fail", False)
    assert "passed where it must fail: it does not discriminate" in done.text
    assert (found["cut-firmware"]["verdict"], found["cut-firmware"]["ok"]) == ("skip", True)
    assert found["kcmp"]["cpu"] >= 0
    assert found["cut-firmware"]["cpu"] is None  # it had no guest
    reason = found["cut-firmware"]["reason"]
    assert "CONFIG_TEST_FIRMWARE" in reason
    assert " ".join(f"skipped cut-firmware: {reason}".split()) in done.text
    facts = json.loads(report.read_text())["kernels"][0]
    assert (facts["image"], facts["expect"], facts["accel"]) == (str(image), "none", "tcg")

# SPDX-License-Identifier: GPL-2.0-only
"""What a check says whose guest oopses, hangs, warns, or refuses a module: real modules, damaged on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import damaged
import pytest
from program import Case, Done, Program, cases

from harness.arch import ARM64, X86_64, Arch

pytestmark = pytest.mark.boots

CHECKS = r"""
from harness.checks import check
from harness.deadline import Deadline
from harness.guest import Guest

CLONE_VFORK = 0x4000


@check("oops", "a promise", patch="kthread-nullfs-v2/1", modules="nsh")
def test_oops(guest: Guest) -> None:
    guest.write_file("/left-over", "by the check before")
    guest.load_module("nsh")


@check("after-oops", "a promise", patch="kthread-nullfs-v2/1")
def test_after_oops(guest: Guest) -> None:
    assert not guest.exists("/left-over")


@check("warned-then-died", "a promise", patch="kthread-nullfs-v2/1", modules="nsh tcp_veno")
def test_warned_then_died(guest: Guest) -> None:
    guest.load_module("tcp_veno")
    guest.load_module("nsh")


@check("warned", "a promise", patch="kthread-nullfs-v2/1", modules="tcp_veno")
def test_warned(guest: Guest) -> None:
    guest.load_module("tcp_veno")


@check("warned-and-failed", "a promise", patch="kthread-nullfs-v2/1", modules="tcp_veno")
def test_warned_and_failed(guest: Guest) -> None:
    guest.load_module("tcp_veno")
    assert guest.getpid() == 2


@check("warned-as-expected", "a promise", patch="kthread-nullfs-v2/1", modules="tcp_veno")
def test_warned_as_expected(guest: Guest) -> None:
    guest.expect_trouble("warn")
    guest.load_module("tcp_veno")


@check("refuses", "a promise", patch="kthread-nullfs-v2/1", modules="grace")
def test_refuses(guest: Guest) -> None:
    guest.load_module("grace")


@check("lacks-a-symbol", "a promise", patch="kthread-nullfs-v2/1", modules="tcp_highspeed")
def test_lacks_a_symbol(guest: Guest) -> None:
    guest.load_module("tcp_highspeed")


@check("of-another-build", "a promise", patch="kthread-nullfs-v2/1", modules="sch_plug")
def test_of_another_build(guest: Guest) -> None:
    guest.load_module("sch_plug")


@check("stuck-child", "a promise", patch="kthread-nullfs-v2/1")
def test_stuck_child(guest: Guest) -> None:
    child = guest.spawn()
    guest.channel.deadline = Deadline.after(3)
    child.spawn(CLONE_VFORK)  # which does not end, so that its parent may not go on


@check("stuck-pid-1", "a promise", patch="kthread-nullfs-v2/1")
def test_stuck_pid_1(guest: Guest) -> None:
    guest.channel.deadline = Deadline.after(3)
    guest.spawn(CLONE_VFORK)


@check("nothing-comes", "a promise", patch="kthread-nullfs-v2/1")
def test_nothing_comes(guest: Guest) -> None:
    guest.channel.deadline = Deadline.after(3)
    guest.call("ppoll", 0, 0, 0, 0, 8)


@check("spins", "a promise", patch="kthread-nullfs-v2/1", modules="tcp_westwood")
def test_spins(guest: Guest) -> None:
    guest.channel.deadline = Deadline.after(6)
    guest.load_module("tcp_westwood")


@check("after-all", "a promise", patch="kthread-nullfs-v2/1")
def test_after_all(guest: Guest) -> None:
    assert guest.getpid() == 1
"""


@dataclass(frozen=True)
class Judged:
    """The whole pytest run."""

    arch: Arch
    done: Done
    cases: dict[str, Case]

    def console(self, name: str) -> str:
        """The whole console of a check."""
        log = f"/{name.replace('_', '-')}.console"
        path = next(Path(word) for word in self.done.out.split() if word.endswith(log))
        return path.read_text(errors="replace")


@pytest.fixture(scope="module", params=[ARM64, X86_64], ids=lambda arch: arch.name)
def judged(request: pytest.FixtureRequest, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """All the checks above, on a real kernel with one damaged module for each."""
    arch, directory = request.param, tmp_path_factory.mktemp("bad-guest")
    image = request.getfixturevalue("image" if arch is ARM64 else "x86_image")
    names = ("nsh", "tcp_veno", "grace", "tcp_highspeed", "sch_plug", "tcp_westwood")
    kernel, module = damaged.copy(image, arch, directory, names)
    damaged.oops(module["nsh"], arch)
    damaged.warn(module["tcp_veno"], arch)
    damaged.refuse(module["grace"], arch)
    damaged.ask_for(module["tcp_highspeed"], "no_such_symbol")
    damaged.age(module["sch_plug"])
    damaged.spin(module["tcp_westwood"], arch)
    (directory / "test_made_up.py").write_text(CHECKS)
    report = directory / "junit.xml"
    program = Program(warm, directory)
    done = program.pytest(f"--kernel={kernel}", "--expect=none", f"--junitxml={report}", directory)
    assert program.left() == []
    assert done.status == pytest.ExitCode.TESTS_FAILED, done
    return Judged(arch, done, cases(report))


def said(judged: Judged, name: str, verdict: str, *words: str) -> None:
    """The check ended so, and its message has all of the words."""
    case = judged.cases[name]
    assert case.verdict == verdict, judged.done
    for each in words:
        assert each in case.text, f"{each!r} is not in:\n{case.text}"


def test_an_oops_is_a_crash_with_what_where_and_how(judged: Judged) -> None:
    what = "NULL pointer dereference at" if judged.arch is ARM64 else "NULL pointer dereference, address"
    place = "nsh_init_module+0xc/" if judged.arch is ARM64 else "nsh_init_module+0x2/"
    said(judged, "oops", "crash", "the guest died: oops", what, f" in {place}", "task: init/1", "trace: do_")
    assert "do_init_module ← " in judged.cases["oops"].text
    assert "Kernel panic" in judged.console("oops")


def test_the_next_check_has_a_fresh_guest(judged: Judged) -> None:
    for name in ("after_oops", "after_all"):
        said(judged, name, "pass")


def test_a_guest_that_warned_before_died_of_its_oops(judged: Judged) -> None:
    said(judged, "warned_then_died", "crash", "the guest died: oops", "NULL pointer dereference", "nsh_init_module")
    assert "before that: warn: WARNING: " in judged.cases["warned_then_died"].text


def test_a_warn_nobody_expected_is_a_failure_with_its_trace(judged: Judged) -> None:
    warning = "warn: WARNING: "
    said(judged, "warned", "fail", "the kernel complained", warning, "veno_", "trace: do_", "do_init_module")
    said(judged, "warned_and_failed", "fail", "the kernel complained", warning, "and the check failed: ")
    said(judged, "warned_as_expected", "pass")


def test_a_module_that_does_not_load_is_a_failure_in_the_kernels_words(judged: Judged) -> None:
    no = "does not load its module kernel/"
    said(judged, "refuses", "fail", no, "grace.ko", "ENODEV", "the module's own init")
    said(judged, "lacks_a_symbol", "fail", no, "tcp_highspeed.ko", "ENOENT", "Unknown symbol no_such_symbol")
    said(judged, "of_another_build", "fail", no, "sch_plug.ko", "ENOEXEC", "version magic", "should be")


@pytest.mark.parametrize("name", ["stuck_child", "stuck_pid_1"])
def test_a_hang_is_a_timeout_with_the_blocked_tasks(judged: Judged, name: str) -> None:
    said(judged, name, "timeout", "the guest gave no answer within 3 s", "blocked: init/")
    assert "kernel_clone" in judged.cases[name].text
    assert "sysrq: Show Blocked State" in judged.console(name)
    assert "kernel_clone+0x" in judged.console(name)


def test_a_hang_in_which_nothing_is_blocked(judged: Judged) -> None:
    said(judged, "nothing_comes", "timeout", "no task is blocked, and the processor is idle")
    said(judged, "spins", "timeout", "no task is blocked; init/1 is running in tcp_westwood_register")

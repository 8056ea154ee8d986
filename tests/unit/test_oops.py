# SPDX-License-Identifier: GPL-2.0-only
"""What is made of consoles of real guests, kept without their registers in consoles/: Debian's 7.3 under QEMU 7.2."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

import pytest

from harness import oops
from harness.console import find_troubles
from harness.oops import Blocked, Report

CONSOLES = Path(__file__).parent / "consoles"
#: How both architectures come to load a module, the innermost first.
LOADING = {
    "arm64": ("do_init_module", "load_module", "init_module_from_file", "__arm64_sys_finit_module"),
    "x86_64": (
        *("do_one_initcall", "do_init_module", "init_module_from_file"),
        *("idempotent_init_module", "__x64_sys_finit_module"),
    ),
}
OOPS = {
    "arm64": Report(
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
        "nsh_init_module+0xc/0xff8 [nsh]",
        task="init/1",
        trace=LOADING["arm64"],
    ),
    "x86_64": Report(
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "nsh_init_module+0x2/0xff0 [nsh]",
        task="init/1",
        trace=LOADING["x86_64"],
    ),
}
NOISE = "[   99.000000] random: crng init done"
both = pytest.mark.parametrize("arch", ["arm64", "x86_64"])


def console(name: str) -> list[str]:
    return (CONSOLES / f"{name}.txt").read_text().splitlines()


def joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def decoded(lines: list[str], name: str) -> Report:
    """The first trouble of that name."""
    text = joined(lines)
    return oops.decode(text, next(seen.line for seen in find_troubles(text) if seen.name == name))


@both
def test_an_oops(arch: str) -> None:
    report = decoded(console(f"{arch}-oops"), "oops")
    assert report == OOPS[arch]
    first, *rest = report.words.splitlines()
    assert first == f"{report.what} in {report.where}"
    assert rest == ["task: init/1", f"trace: {' ← '.join(LOADING[arch])}"]


@both
def test_lines_of_others_in_between(arch: str) -> None:
    lines = [each for line in console(f"{arch}-oops") for each in (line, NOISE, "")]
    assert decoded(lines, "oops") == OOPS[arch]


@both
def test_two_tasks_at_once_are_told_apart_where_the_kernel_says_who(arch: str) -> None:
    """With CONFIG_PRINTK_CALLER: a WARN of another task, line by line."""
    mine = [re.sub(r"\] ", "][    T1] ", line, count=1) for line in console(f"{arch}-oops")]
    other = [re.sub(r"\] ", "][   C0] ", line, count=1) for line in console(f"{arch}-warn")]
    lines = [line for pair in zip_longest(mine, other, fillvalue=NOISE) for line in pair]
    assert decoded(lines, "oops") == OOPS[arch]
    assert decoded(lines, "warn").where.startswith("tcp_veno_register+")


@both
def test_only_the_first_of_two_oopses_counts(arch: str) -> None:
    """The second comes in the middle of the first's trace."""
    lines = console(f"{arch}-oops")
    middle = next(n for n, line in enumerate(lines) if "do_init_module" in line) + 1
    second = [line.replace("[#1]", "[#2]").replace("nsh", "other") for line in lines[1:]]
    report = decoded(lines[:middle] + second, "oops")
    assert (report.what, report.where) == (OOPS[arch].what, OOPS[arch].where)
    assert report.trace == LOADING[arch][: LOADING[arch].index("do_init_module") + 1]


@both
def test_a_warn(arch: str) -> None:
    report = decoded(console(f"{arch}-warn"), "warn")
    assert report.source == "include/net/tcp.h:1524"
    assert re.fullmatch(r"tcp_veno_register\+0x[08]/0xff[08] \[tcp_veno\]", report.where)
    assert (report.task, report.trace) == ("init/1", LOADING[arch])
    # It has said all but the trace itself.
    assert len(report.words.splitlines()) == 2


def test_a_warn_of_an_older_kernel() -> None:
    line = "[    2.4] WARNING: CPU: 0 PID: 7 at fs/fs_struct.c:206 switch_fs_struct+0x40/0x90"
    report = oops.decode(f"{line}\n[    2.4] CPU: 0 PID: 7 Comm: kworker/0:1 Not tainted 6.12 #1\n".encode(), line)
    assert (report.source, report.where) == ("fs/fs_struct.c:206", "switch_fs_struct+0x40/0x90")
    assert report.task == "kworker/0:1/7"


def test_a_bug_has_its_line() -> None:
    line = "[    1.0] kernel BUG at fs/namespace.c:3240!"
    assert oops.decode(line.encode(), line) == Report(
        "kernel BUG at fs/namespace.c:3240!", source="fs/namespace.c:3240"
    )


def test_an_oops_after_a_warn_has_its_own_trace() -> None:
    lines = console("arm64-warn-oops")
    assert decoded(lines, "oops") == OOPS["arm64"]
    assert decoded(lines, "warn") == decoded(console("arm64-warn"), "warn")


@both
def test_a_panic_for_want_of_an_init_is_explained(arch: str) -> None:
    report = decoded(console(f"{arch}-no-init"), "panic")
    assert report.where.startswith("mount_root_generic+")
    assert report.trace[-3:] == ("prepare_namespace", "kernel_init_freeable", "kernel_init")
    assert "the kernel found no /init (check access for rdinit=/init failed: -2, ignoring)" in report.meaning
    assert report.words.splitlines()[0] == f"{report.what} in {report.where}; that is, {report.meaning}"


def test_so_is_that_of_the_mutant_that_unpacks_it_elsewhere() -> None:
    report = decoded(console("arm64-mutant"), "panic")
    assert report.where == "kernel_init+0x114/0x124"
    assert "the kernel found no /init" in report.meaning
    assert "Try passing" not in report.words


def test_a_disk_that_cannot_be_mounted_is_no_matter_of_the_initramfs() -> None:
    lines = console("arm64-disk")
    meaning = decoded(lines, "panic").meaning
    assert meaning.startswith(
        "its root file system (root=/dev/nvme0n1) cannot be mounted (VFS: Cannot open root device"
    )
    none = [line.replace("VFS: Unable to mount root fs", "No working init found.") for line in lines]
    assert "was mounted, and no program in it runs as PID 1" in decoded(none, "panic").meaning


def test_so_is_one_over_an_archive_that_is_none() -> None:
    meaning = decoded(console("arm64-garbage"), "panic").meaning
    assert "could not unpack its initramfs (Initramfs unpacking failed: invalid magic" in meaning


def test_and_one_over_a_program_that_is_none() -> None:
    report = decoded(console("arm64-no-exec"), "panic")
    assert "No working init found" in report.what
    assert report.meaning.endswith("its /init does not run (Failed to execute /init (error -8))")


@pytest.mark.parametrize(
    ("code", "words"), [("0x0000000b", "was killed by signal 11"), ("0x00000300", "ended with status 3")]
)
def test_the_end_of_pid_1_is_explained(code: str, words: str) -> None:
    line = f"[    0.5] Kernel panic - not syncing: Attempted to kill init! exitcode={code}"
    assert words in oops.decode(line.encode(), line).meaning


@both
def test_the_blocked_tasks(arch: str) -> None:
    [blocked] = oops.blocked(joined(console(f"{arch}-blocked")))
    assert re.fullmatch(r"init/\d+", blocked.task)
    assert blocked.trace[:3] == ("wait_for_completion_state", "kernel_clone", "__do_sys_clone")
    assert oops.blocked(joined(console(f"{arch}-idle"))) == []


def test_a_name_with_a_blank_in_it() -> None:
    text = b"sysrq: Show Blocked State\ntask:Web Content     state:D stack:0     pid:7     tgid:7     ppid:1\n"
    assert oops.blocked(text) == [Blocked("Web Content/7", ())]


@both
def test_what_a_processor_does(arch: str) -> None:
    report = oops.running(joined(console(f"{arch}-spins")))
    assert report is not None
    assert report.where.startswith("tcp_westwood_register+0x")
    assert (report.task, report.trace) == ("init/1", LOADING[arch])
    assert oops.running(joined(console(f"{arch}-idle"))) is None
    assert oops.running(b"") is None


def test_a_long_trace_is_cut() -> None:
    trace = tuple("abcdefghij")
    assert oops.arrows(trace) == "a ← b ← c ← d ← e ← f ← g ← h ← …"
    assert oops.arrows(trace[:8]) == "a ← b ← c ← d ← e ← f ← g ← h"

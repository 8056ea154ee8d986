# SPDX-License-Identifier: GPL-2.0-only
"""Checks that boot nothing: a module that the compiler here has made lies beside a real kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from program import Program, results

from harness import kernel
from harness.arch import X86_64
from harness.deadline import Deadline

#: Linked like a driver: nothing is resolved. A function that is inlined is one with its caller.
MODULE = """
extern void *userspace_init_fs, *volatile lent;
void *filp_open(const char *name, int flags, unsigned short mode);
void *file_open_root(void *root, const char *name, int flags, unsigned short mode);
static inline __attribute__((always_inline)) void *opened(const char *name) { LEND return OPEN; }
void *first(void) { return opened("first"); }
void *second(void) { lent = 0; return opened("second"); }
void *third(void) { lent = userspace_init_fs; return 0; }
void fourth(void) { lent = 0; }
"""
LEND = "lent = userspace_init_fs;"
OPEN = "filp_open(name, 0, 0)"
CHECKS = """
from harness.checks import check
from harness.guest import Guest
from harness.kernel import Kernel


@check("both", "a promise", patch="kthread-nullfs-v2/1", static=True)
def test_both(kernel: Kernel, guest: Guest) -> None: ...


@check("booted", "a promise", patch="kthread-nullfs-v2/1")
def test_booted(kernel: Kernel) -> None: ...
"""


@pytest.fixture
def place(x86_image: Path, tmp_path: Path) -> Path:
    """The modules directory of a kernel that has the driver in its configuration, and no modules."""
    [real] = kernel.resolve(str(x86_image), [X86_64], Deadline.after(600))
    made = tmp_path / "lib/modules" / real.release
    (made / "kernel").mkdir(parents=True)
    shutil.copy(x86_image, made / "vmlinuz")
    (made / "config").write_text("CONFIG_CRYPTO_DEV_SP_PSP=y\n")
    return made


def compiled(place: Path, lend: str, call: str) -> None:
    gcc = shutil.which(f"{X86_64.cross}gcc") or shutil.which("gcc")
    assert gcc is not None
    source = place / "ccp.c"
    source.write_text(MODULE.replace("LEND", lend).replace("OPEN", call))
    argv: list[str | Path] = [
        gcc,
        "-c",
        "-O2",
        "-ffreestanding",
        "-fno-pic",
        "-mcmodel=kernel",
        source,
        "-o",
        place / "kernel/ccp.ko",
    ]
    subprocess.run(argv, check=True, timeout=60)


def run(program: Program, place: Path, *words: str) -> tuple[str, dict[str, Any]]:
    done = program.run("--kernel", place / "vmlinuz", "--check", "sev", "--json", "out.json", *words)
    [found] = results(program.directory / "out.json").values()
    assert (found["how"], found["console"]) == ("static", "")
    assert "not booted" in done.out
    return done.out, found


def test_code_that_refers_to_pid1s_state(program: Program, place: Path) -> None:
    compiled(place, LEND, OPEN)
    said, found = run(program, place)
    assert found["verdict"] == "pass"
    assert "1 pass (static)." in said


@pytest.mark.parametrize("call", [OPEN, "file_open_root(0, name, 0, 0)"])
def test_code_that_does_not(program: Program, place: Path, call: str) -> None:
    compiled(place, "", call)
    said, found = run(program, place)
    assert (found["verdict"], found["ok"]) == ("fail", False)
    assert "['first', 'second']" in str(found["reason"])
    assert "1 FAIL (static)." in said
    assert "1 fails (due) (static)." in run(program, place, "--expect", "rootfs")[0]


def test_code_that_opens_nothing(program: Program, place: Path) -> None:
    compiled(place, LEND, "lent")
    assert "no function of it opens a file" in str(run(program, place)[1]["reason"])


def test_a_kernel_without_it(program: Program, place: Path) -> None:
    assert "no module ccp" in str(run(program, place)[1]["reason"])
    (place / "config").write_text("CONFIG_PCI=y\n")
    assert "lacks CONFIG_CRYPTO_DEV_SP_PSP" in str(run(program, place)[1]["reason"])


def test_a_check_is_of_one_kind(program: Program, place: Path) -> None:
    file = program.directory / "test_made_up.py"
    file.write_text(CHECKS)
    done = program.pytest(f"--kernel={place / 'vmlinuz'}", file)
    assert "2 errors" in done.out, str(done)
    assert "the kernel fixture needs a @check(…, static=True)" in done.out
    assert "a @check that is not static" in done.out

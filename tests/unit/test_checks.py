# SPDX-License-Identifier: GPL-2.0-only
"""Checks, eras, series and fragments: the data that everything is judged by."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import kconfig, resources, vmlinux
from harness.arch import ARCHES, Arch, by_name
from harness.calls import SyscallError
from harness.checks import Check, Era, Verdict, claimed
from harness.errors import GuestCrash, GuestError, GuestTimeout, HostError, RequestError
from harness.series import patch

DECORATOR = re.compile(r'@check\(\s*"([\w-]+)".*?patch="([^"]+)"', re.DOTALL)
WANTED = """
root fsid mountinfo fs-umask fs-cwd fs-root kcmp sealed-create sealed-mount sealed-lookup sealed-setns
pivot-initramfs pivot-keep pivot-kthreads mount-ids userns-locked not-mountable
warn-fs warn-ns silent-thread silent-child cut-core cut-socket cut-umh cut-firmware pid-ns
core-suid core-pipe core-socket modprobe initramfs boot pivot-memory
"""


def declared() -> dict[str, str]:
    files = resources.directory("tests/kernel").glob("test_*.py")
    return {name: its for file in files for name, its in DECORATOR.findall(file.read_text(encoding="utf-8"))}


def test_all_checks_are_there_and_belong_to_a_patch() -> None:
    assert set(declared()) == set(WANTED.split())
    for name in declared().values():
        assert patch(name).subject


@pytest.mark.parametrize("name", ["kthread-nullfs-v2/24", "kthread-nullfs-v9/1"])
def test_a_patch_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(RequestError):
        patch(name)


@pytest.mark.parametrize(
    ("version", "era"),
    [((6, 12), Era.NONE), ((7, 0), Era.ROOTFS), ((7, 2), Era.ROOTFS), ((7, 3), Era.ISOLATED), ((8, 0), Era.ISOLATED)],
)
def test_eras(version: tuple[int, int], era: Era) -> None:
    assert Era.of(version) is era
    expected = Check("x", "y", "kthread-nullfs-v2/1", Era.ROOTFS).expected(era)
    assert expected is (Verdict.PASS if era >= Era.ROOTFS else Verdict.FAIL)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, Verdict.PASS),
        (AssertionError(), Verdict.FAIL),
        (SyscallError(1, "mkdir"), Verdict.FAIL),
        (GuestCrash("x"), Verdict.CRASH),
        (GuestTimeout("x"), Verdict.TIMEOUT),
        (GuestError("x"), Verdict.FAIL),
        (HostError("x"), Verdict.ERROR),
        (OSError(28, "x"), Verdict.ERROR),
        (ValueError("x"), Verdict.ERROR),
        (pytest.skip.Exception("x"), Verdict.SKIP),
    ],
)
def test_a_verdict_is_never_another_one(error: BaseException | None, verdict: Verdict) -> None:
    assert Verdict.of(error) is verdict


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_fragments_say_what_a_config_lacks(arch: Arch) -> None:
    full = kconfig.fragment("guest") | kconfig.fragment(arch.name)
    assert kconfig.lacking(full, arch) == []
    assert "CONFIG_DEVTMPFS=y" in kconfig.lacking(full | {"CONFIG_DEVTMPFS": "m"}, arch)
    assert len(kconfig.lacking({}, arch)) == len(full)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_system_call_numbers_are_the_compilers(arch: Arch, tmp_path: Path) -> None:
    headers = Path(
        "/usr/include/asm-generic/unistd.h" if arch.name == "arm64" else "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    )
    if not headers.is_file() or shutil.which("gcc") is None:
        pytest.skip("no kernel headers here to compare with")
    source = tmp_path / "numbers.c"
    source.write_text(f'#define __ARCH_WANT_NEW_STAT\n#define __BITS_PER_LONG 64\n#include "{headers}"\n')
    argv = ["gcc", "-dM", "-E", "-I", "/usr/include/x86_64-linux-gnu", str(source)]
    macros = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    known = dict(re.findall(r"#define __NR3264_(\w+) (\d+)", macros)) | dict(
        re.findall(r"#define __NR_(\w+) (\d+)", macros)
    )
    wrong = {name: number for name, number in arch.syscalls.items() if name in known and int(known[name]) != number}
    assert not wrong
    assert len(set(known) & set(arch.syscalls)) > 80


def test_architectures_by_any_of_their_names() -> None:
    assert by_name("aarch64") is by_name("arm64")
    assert by_name("amd64") is by_name("x86_64")
    with pytest.raises(RequestError, match="riscv64"):
        by_name("riscv64")


def test_the_readme_lists_them_all() -> None:
    readme = (resources.directory("tests/kernel").parents[1] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([\w-]+/\d+) \| (?:none|rootfs|isolated) \|$", readme, re.MULTILINE)
    assert dict(rows) == declared()


#: What a vmlinux of the newest era has, and one of the era before.
NEW = dict.fromkeys((*vmlinux.SYMBOLS, vmlinux.MEMBER), True)
OLD = {**dict.fromkeys(NEW, False), "nullfs_fs_type": True}


def facts(has: dict[str, bool], **other: bool | None) -> dict[str, bool | None]:
    return {**has, **other}


@pytest.mark.parametrize(
    ("has", "claim", "words"),
    [
        (facts(NEW), "isolated", "nullfs_fs_type, userspace_init_fs, knullfs, real_fs"),
        (
            facts(NEW, real_fs=None),
            "isolated",
            "nullfs_fs_type, userspace_init_fs, knullfs; real_fs unknown: no BTF or DWARF",
        ),
        (facts(OLD), "rootfs", "nullfs_fs_type without userspace_init_fs, knullfs, real_fs"),
        (
            facts(OLD, nullfs_fs_type=False),
            "none",
            "without nullfs_fs_type, userspace_init_fs, knullfs, real_fs",
        ),
        (facts(OLD, userspace_init_fs=True), "mixture", "nullfs_fs_type, userspace_init_fs without knullfs, real_fs"),
        (facts(NEW, real_fs=False), "mixture", "nullfs_fs_type, userspace_init_fs, knullfs without real_fs"),
        (
            facts(OLD, nullfs_fs_type=None, userspace_init_fs=None, knullfs=None),
            "unknown",
            "without real_fs; nullfs_fs_type, userspace_init_fs, knullfs unknown: no symbol table",
        ),
    ],
)
def test_what_it_amounts_to(has: dict[str, bool | None], claim: str, words: str) -> None:
    assert claimed(has) == claim
    assert vmlinux.Claims("", "", has).words == words


def test_what_speaks_against_an_era() -> None:
    assert Era.ISOLATED.against(NEW) == Era.ROOTFS.against(OLD) == ()
    assert Era.ISOLATED.against({**NEW, "knullfs": False, "real_fs": None}) == ("no knullfs",)
    assert Era.ROOTFS.against({**NEW, "real_fs": None}) == ("userspace_init_fs", "knullfs")

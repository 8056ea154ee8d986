# SPDX-License-Identifier: GPL-2.0-only
"""Checks, eras, series and fragments: the data that everything is judged by."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import kconfig, manifest, resources, vmlinux
from harness.arch import ARCHES, Arch, by_name
from harness.calls import SyscallError
from harness.checks import Check, Era, Verdict, check, claimed
from harness.declared import Declared, declared, speaking
from harness.errors import GuestCrash, GuestError, GuestTimeout, HostError, RequestError
from harness.manifest import patch

DECORATOR = re.compile(r'@check\(\s*"([\w-]+)".*?patch="([^"]+)"', re.DOTALL)
WANTED = """
root fsid mountinfo fs-umask fs-cwd fs-root kcmp sealed-create sealed-mount sealed-lookup sealed-setns
pivot-initramfs pivot-keep pivot-kthreads mount-ids userns-locked not-mountable
warn-fs warn-ns silent-thread silent-child cut-core cut-socket cut-umh cut-firmware pid-ns
core-suid core-pipe core-socket modprobe initramfs boot pivot-memory
rnbd cut-rnbd sev systemd lio-alua lio-aptpl ksmbd-share ksmbd-statfs ksmbd-vfs nfsd pnfs-block
real-fs real-fs-firmware real-fs-core devtmpfs firmware-sync firmware-async firmware-path firmware-compressed hotplug
root-ramfs pivot-ramfs root-ext4 init-args ima-x509 init-ext4 init-erofs init-initrd module-init erofs-file
btrfs-devtime io-uring vhost overlayfs audit-trees cachefiles
kunit kselftest-filesystems kselftest-mount kselftest-pidfd kselftest-coredump
"""


def patches() -> dict[str, str]:
    files = resources.directory("tests/kernel").glob("test_*.py")
    return {name: its for file in files for name, its in DECORATOR.findall(file.read_text(encoding="utf-8"))}


def test_all_checks_are_there_and_belong_to_a_patch() -> None:
    assert set(patches()) == set(WANTED.split())
    for name in patches().values():
        assert patch(name).subject


@pytest.mark.parametrize("name", ["kthread-nullfs-v2/24", "kthread-nullfs-v9/1"])
def test_a_patch_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(RequestError):
        patch(name)


def test_checks_speak_for_a_patch_in_every_revision_that_has_it() -> None:
    known = {name: manifest.read(name) for name in manifest.names()}
    assert {"immutable-rootfs-v2", "kthread-nullfs-v2", "kthread-nullfs-v3", "kthread-nullfs-7.3"} <= known.keys()
    for its, name in patches().items():
        assert its in speaking(patch(name).subject)
    spoken = {name: {its for fact in each.patches for its in speaking(fact.subject)} for name, each in known.items()}
    # What v2 did not have yet came with 7.3.
    ours = ("kthread-nullfs-7.3", "kthread-nullfs-v2", "immutable-rootfs-v2")
    assert set().union(*(spoken[name] for name in ours)) == set(patches())
    # Nothing was said in vain: a check that is in a manifest is there.
    assert set().union(*spoken.values()) <= set(patches())
    assert "root" in speaking(patch("kthread-nullfs-7.3/23").subject)
    assert speaking("docs: mention nullfs") == ()


def test_a_manifest_may_know_little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "patches/bare").mkdir(parents=True)
    (tmp_path / "patches/bare/series.toml").write_text('title = "t"\n[[patch]]\nsubject = "s"\n[[patch]]\n')
    monkeypatch.setattr(resources, "directory", tmp_path.joinpath)
    bare = manifest.read("bare")
    assert (bare.revision, bare.cover, bare.change_id, bare.base_commit) == (0, "", "", "")
    assert [(fact.n, fact.of, fact.subject, fact.link) for fact in bare.patches] == [(1, 2, "s", ""), (2, 2, "", "")]
    (tmp_path / "patches/none").mkdir()
    (tmp_path / "patches/none/series.toml").write_text('title = "t"\n')
    with pytest.raises(RequestError, match=r"no patch '1'(?s:.*)nothing is known"):
        patch("none/1")


def test_what_boots_from_a_disk_cannot_load_a_driver_before() -> None:
    config = {"CONFIG_EXT4_FS": "m", "CONFIG_BLOCK": "y"}
    facts = ("a", "promise", "kthread-nullfs-v2/1", Era.NONE, ("BLOCK", "EXT4_FS", "NONE", "OTHER@arm64"))
    assert Check(*facts).lacks(config) == ["CONFIG_NONE"]
    assert Check(*facts, profile="ext4").lacks(config) == ["CONFIG_EXT4_FS=y", "CONFIG_NONE=y"]
    assert Check(*facts, profile="ext4").lacks(None) == []


CHECKS = """
import no_such_module
from harness import checks
from harness.checks import check

@check("one", "a promise", patch="a/1", needs="BTRFS_FS  LIO",
       modules="btrfs "
               "loop")
def test_one(guest): ...

@pytest.mark.slow
@checks.check(name="two", promise="a promise", patch="a/1", since=Era.of((7, 3)))
def test_two(guest): ...

@recheck("three", "no check")
def test_three(guest): ...
"""


def test_what_checks_need_is_read_without_importing_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".venv").mkdir()
    one, two = Declared("one", ("BTRFS_FS", "LIO"), ("btrfs", "loop"), "a/1"), Declared("two", (), (), "a/1")
    for name in ("test_a.py", "deep/test_b.py", "other.py", ".venv/test_c.py"):
        (tmp_path / name).write_text(CHECKS)
    (tmp_path / "test_broken.py").write_text("@check(")
    (tmp_path / "test_binary.py").write_bytes(b"check(\0\xff")
    assert declared([tmp_path / "other.py", tmp_path / "test_broken.py", tmp_path / "absent.py"]) == [one, two]
    assert declared([tmp_path], ["two", "four"]) == [two, two]


@pytest.mark.parametrize(
    "words", ["NAME", "'x', needs=NEEDS", "'x', modules=f'{x}'", "'x', modules=('x',)", "'x', patch=PATCH", "**ALL"]
)
def test_what_a_check_needs_cannot_be_computed(tmp_path: Path, words: str) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(f"\n@check({words})\ndef test_x(guest): ...\n")
    with pytest.raises(RequestError, match=r"test_x\.py:2: .* cannot be read off"):
        declared([file])


def test_what_is_read_is_what_pytest_gets() -> None:
    read = declared([resources.directory("tests/kernel")])
    assert [each.id for each in read] == list(dict.fromkeys(each.id for each in read))
    assert {each.id for each in read} == set(WANTED.split())
    assert [each.id for each in read if each.static] == ["sev"]
    mark = check("x", "y", patch="a/1", needs="A B", modules="c")
    assert (mark.args[0].needs, mark.args[0].modules) == (("A", "B"), ("c",))


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
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([\w.-]+/\d+) \| (?:none|rootfs|isolated) \|$", readme, re.MULTILINE)
    assert dict(rows) == patches()


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

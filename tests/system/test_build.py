# SPDX-License-Identifier: GPL-2.0-only
"""Trees that cannot be built as they were asked for: who is to blame, what mends it, and nothing is left of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy
from program import Done, Program

from harness.arch import ARCHES, ARM64, X86_64

#: A line that no compiler takes.
WRONG = "int wrong = nothing;"


def refused(done: Done, status: int, *texts: str) -> None:
    """It ended with ``status``, and said all of these words, each run of blanks being one."""
    assert done.status == status, done
    assert done.err.startswith("error: "), done
    for text in texts:
        assert text in done.text, done


@pytest.mark.parametrize("name", ["Kbuild", "Kconfig", "Makefile", "scripts/kconfig/merge_config.sh"])
def test_no_kernel_tree(builder: Program, tree: Path, name: str) -> None:
    (tree / name).unlink()
    refused(toy.asked(builder, tree), 2, f"{tree} is not a kernel source tree: it has no {name}")


def test_somebody_elses_makefile(builder: Program, tree: Path) -> None:
    (tree / "Makefile").write_text("all: ; true\n")
    refused(toy.asked(builder, tree), 2, f"{tree} is not a kernel source tree: its Makefile has no VERSION")


def test_nothing_there(builder: Program) -> None:
    refused(builder.build("nowhere"), 2, "nowhere does not exist", "next: a TREE is a directory")


def test_no_such_revision(builder: Program) -> None:
    tree = toy.checkout(builder.directory / "tree")
    refused(toy.asked(builder, f"{tree}@v8.0", untouched=tree), 2, f"{tree} has no revision 'v8.0'")


def test_too_old_for_a_symbol(builder: Program, tree: Path) -> None:
    wanted = tree / "Kconfig.wanted"
    wanted.write_text(wanted.read_text().replace("config INITRAMFS_PRESERVE_MTIME\n", "config OTHER\n"))
    done = toy.asked(builder, tree)
    refused(done, 2, f"{tree} is too old for CONFIG_INITRAMFS_PRESERVE_MTIME", "(wanted by check initramfs)")
    refused(done, 2, "this tree (7.3.0-toy) has no such symbol", "next: leave out what wants it (--check")
    assert toy.asked(builder, tree, "--check", "root").status == 0


def test_merge_conflict(builder: Program) -> None:
    tree = toy.checkout(builder.directory / "tree")
    line = len((tree / toy.FILE).read_text().splitlines()) + 2
    toy.change(tree, "<<<<<<< HEAD\nint one;\n=======\nint other;\n>>>>>>> theirs")
    done = toy.asked(builder, tree)
    refused(done, 2, f"{tree} has a merge conflict in it", f"cause: {toy.FILE}:{line}: <<<<<<< HEAD", "PATH@HEAD")
    assert toy.asked(builder, f"{tree}@HEAD", untouched=tree).status == 0


def test_a_compiler_that_is_missing(builder: Program, tree: Path) -> None:
    done = toy.asked(builder, tree, CROSS_COMPILE="nowhere-")
    refused(done, 2, "nowhere-gcc is not installed", "cause: CROSS_COMPILE=nowhere-", "unset CROSS_COMPILE")


def test_no_compiler_at_all(builder: Program, tree: Path) -> None:
    path = builder.directory / "bin"
    path.mkdir()
    for name in ("setpriv", "sh", "git", "make", "apt-get", "apt-cache"):
        if found := shutil.which(name):
            (path / name).symlink_to(found)
    done = toy.asked(builder, tree, PATH=str(path))
    refused(done, 3, "programs that this needs are missing", "gcc", "next: ")


def test_a_compiler_that_is_too_old(builder: Program, tree: Path) -> None:
    script = 'case "$*" in --version) echo "gcc (Debian 6.3.0-18) 6.3.0"; exit;; esac; exec $real "$@"'
    path = toy.fake(builder.directory / "bin", "gcc", script)
    done = toy.asked(builder, tree, "--arch", "x86_64", PATH=path)
    refused(done, 3, "gcc 6.3.0 is too old for this tree, which wants 8.1.0", "scripts/min-tool-version.sh", "next: ")


def test_a_compiler_for_another_machine(builder: Program, tree: Path) -> None:
    done = toy.asked(builder, tree, "--arch", "x86_64", CROSS_COMPILE=ARM64.cross)
    refused(done, 2, f"the compiler {ARM64.cross}gcc is for aarch64-linux-gnu, not for x86_64")
    refused(done, 2, f"cause: CROSS_COMPILE={ARM64.cross}", "next: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# CONFIG_KCMP is not set", "has # CONFIG_KCMP is not set, but check kcmp needs CONFIG_KCMP=y"),
        ("CONFIG_TOY_DRIVER=y", "CONFIG_TOY_DRIVER=y (wanted by {0}) came out as n: it depends on TOY_BUS [=n]"),
        ("CONFIG_TOY_CAR=y", "is too old for CONFIG_TOY_CAR"),
        ("nothing", "the fragment {0} sets no symbol"),
    ],
    ids=["contradiction", "dependency", "unknown", "empty"],
)
def test_a_fragment_that_cannot_be(builder: Program, tree: Path, text: str, message: str) -> None:
    fragment = builder.directory / "my.config"
    fragment.write_text(f"{text}\n")
    refused(toy.asked(builder, tree, "--arch", "x86_64", "--fragment", fragment), 2, message.format(fragment), "next: ")


def test_a_compile_error(builder: Program, tree: Path) -> None:
    line = len((tree / toy.FILE).read_text().splitlines()) + 2
    toy.change(tree, WRONG)
    done = toy.asked(builder, tree, "--arch", "x86_64")
    refused(done, 1, "the kernel does not build for x86_64: make failed at fs/namespace.o")
    refused(done, 1, f"cause: {toy.FILE}:{line}:13: error: 'nothing' undeclared", f"next: make -C {builder.cache}")
    log = Path(done.err.partition("log:")[2].split()[0])
    assert "CC fs/nullfs.o" in " ".join(log.read_text().split())
    assert not toy.kernels(builder)


def test_a_link_error(builder: Program, tree: Path) -> None:
    toy.change(tree, "int nowhere(void);\nint call(void)\n{\n\treturn nowhere();\n}")
    done = toy.asked(builder, tree, "--arch", "x86_64")
    refused(done, 1, "make failed at vmlinux", "undefined reference to `nowhere'", f"log: {builder.cache}")
    assert not toy.kernels(builder)


def test_a_file_that_is_not_there(builder: Program, tree: Path) -> None:
    (tree / toy.FILE).unlink()
    refused(toy.asked(builder, tree), 1, "No rule to make target 'fs/namespace.c', needed by 'fs/namespace.o'")


def test_a_disk_that_is_full_in_the_middle(builder: Program, tree: Path, disk: Callable[[int], Path]) -> None:
    toy.change(tree, "char ballast[64 << 20] = { 1 };")
    builder.cache = disk(16)
    done = toy.asked(builder, tree)
    refused(done, 3, f"cannot write to the cache below {builder.cache}", "No space left on device", "make room there")
    assert list(builder.cache.glob("trees/*/slots/*/build-*/fs/nullfs.o"))
    assert not toy.kernels(builder)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """For its owner by its modes; for root, who does not care, as a mount."""
    if os.geteuid() == 0:
        for words in (["--bind", str(path)], ["-o", "remount,ro,bind"]):
            if subprocess.run(["mount", *words, path], check=False, capture_output=True, timeout=60).returncode:
                pytest.skip("root cannot mount here")
        try:
            yield
        finally:
            subprocess.run(["umount", path], check=True, timeout=60)
    else:
        modes = {each: each.stat().st_mode for each in (path, *path.rglob("*")) if not each.is_symlink()}
        for each, mode in modes.items():
            each.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for each, mode in modes.items():
                each.chmod(mode)


@pytest.mark.parametrize("make", [toy.toy, toy.checkout], ids=["unpacked", "checkout"])
def test_a_tree_that_can_only_be_read(builder: Program, make: Callable[[Path], Path]) -> None:
    tree = make(builder.directory / "tree")
    with read_only(tree):
        with pytest.raises(OSError, match=r"Read-only|Permission denied"):
            (tree / "new").touch()
        done = toy.asked(builder, tree)
    assert done.status == 0, done


@pytest.mark.parametrize("make", [toy.toy, toy.checkout], ids=["unpacked", "checkout"])
def test_a_path_that_make_would_not_take(builder: Program, make: Callable[[Path], Path]) -> None:
    done = toy.asked(builder, make(builder.directory / "Größe ist: $nichts ☃ 'n"))
    assert done.status == 0, done
    assert len(toy.kernels(builder)) == 1


def test_a_cache_where_make_cannot_work(builder: Program, tree: Path) -> None:
    builder.cache = builder.directory / "my cache"
    done = toy.asked(builder, tree)
    refused(done, 3, f"Kbuild cannot work below {builder.cache}", "next: set NULLFS_HARNESS_CACHE to another directory")


def test_both_architectures(builder: Program, tree: Path) -> None:
    done = toy.asked(builder, tree, "--arch", "x86_64", "--arch", "arm64")
    assert done.status == 0, done
    for arch in ARCHES:
        assert f"building 7.3.0-toy ({done.out.partition('(')[2][:12]}) for {arch.name} with" in done.out
        assert len(list(builder.cache.glob(f"kernels/*/{Path(arch.image).name}"))) == 1


def test_both_are_wrong_if_the_second_is(builder: Program, tree: Path) -> None:
    """Nothing is built for the first one then."""
    done = toy.asked(builder, tree, "--arch", "x86_64", "--arch", "arm64", CROSS_COMPILE="nowhere-")
    refused(done, 2, "nowhere-gcc is not installed")
    assert not list(builder.cache.glob("trees/*/slots"))


def test_both_are_tried(builder: Program, warm: Path, tree: Path) -> None:
    """As columns of one run, though no toy boots."""
    for name in ("agent", "initramfs"):
        shutil.copytree(warm / name, builder.cache / name)
    target = builder.directory / "results.json"
    words: list[str | Path] = ["--check", "root", "--guest-timeout", "1", "--accel", "tcg", "--json", target]
    done = builder.run("--kernel", tree, "--arch", "arm64", "--arch", "x86_64", *words)
    assert done.status == 1, done
    found = json.loads(target.read_text())
    assert [each["arch"] for each in found["kernels"]] == [ARM64.name, X86_64.name]
    assert {each["claim"] for each in found["kernels"]} == {"isolated"}
    assert [each["verdict"] in ("timeout", "crash") for each in found["results"]] == [True, True], done

# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a tree comes as: it is built as it is now, and all of the user's files stay as they were."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from program import Program

#: What a kernel has if it was built from the tree as the test made it.
MARK = "made_for_this_test"
LINE = f"int {MARK};"


def with_products(tree: Path) -> Path:
    """With what builds have left there, in the tree and in a directory of their own; none of it is what we make."""
    for place in (tree, tree / "build"):
        place.mkdir(exist_ok=True)
        (place / ".config").write_text("CONFIG_STALE=y\n")
        (place / "vmlinux").write_text("stale\n")
        (place / "fs").mkdir(exist_ok=True)
        (place / "fs/namespace.o").write_text("stale\n")
        (place / "fs/.namespace.o.cmd").write_text("saved_fs/namespace.o := stale\n")
    return tree


def clean(where: Path) -> tuple[str, Path]:
    tree = toy.checkout(where / "tree")
    toy.change(tree, LINE)
    toy.git(tree, "commit", "--quiet", "--all", "--message=mark")
    return str(with_products(tree)), tree


def dirty(where: Path) -> tuple[str, Path]:
    """Changed, staged, removed and new files at once."""
    tree = toy.checkout(where / "tree")
    toy.change(tree, "int staged;", "kernel/fork.c")
    toy.git(tree, "add", "kernel/fork.c")
    (tree / "lib/driver.c").unlink()
    (tree / "fs/mark.h").write_text(f"{LINE}\n")
    toy.change(tree, '#include "mark.h"')
    return str(with_products(tree)), tree


def worktree(where: Path) -> tuple[str, Path]:
    """Everything: the checkout that the worktree belongs to is the user's as well."""
    toy.checkout(where / "user/main")
    toy.git(where / "user/main", "worktree", "add", "--quiet", "-b", "topic", where / "user/topic")
    toy.change(where / "user/topic", LINE)
    with_products(where / "user/main")
    return str(with_products(where / "user/topic")), where / "user"


def bare(where: Path) -> tuple[str, Path]:
    tree = toy.checkout(where / "tree")
    toy.change(tree, LINE)
    toy.git(tree, "commit", "--quiet", "--all", "--message=mark")
    toy.git(where, "clone", "--quiet", "--bare", tree, where / "bare.git")
    return f"{where / 'bare.git'}@main", where / "bare.git"


def revision(where: Path) -> tuple[str, Path]:
    """Of a checkout whose files are something else."""
    _, tree = clean(where)
    (tree / toy.FILE).write_text("#error of the files that lie there\n")
    return f"{tree}@HEAD", tree


def tarball(where: Path) -> tuple[str, Path]:
    toy.change(toy.toy(where / "linux-7.3"), LINE)
    subprocess.run(["tar", "-cJf", "linux-7.3.tar.xz", "linux-7.3"], cwd=where, check=True, timeout=60)
    return str(where / "linux-7.3.tar.xz"), where / "linux-7.3.tar.xz"


def unpacked(where: Path) -> tuple[str, Path]:
    tree = toy.toy(where / "tree")
    toy.change(tree, LINE)
    return str(with_products(tree)), tree


@pytest.mark.parametrize("make", [clean, dirty, worktree, bare, revision, tarball, unpacked])
def test_nothing_of_the_users_is_touched(builder: Program, make: Callable[[Path], tuple[str, Path]]) -> None:
    spec, untouched = make(builder.directory)
    done = toy.asked(builder, spec, untouched=untouched)
    assert done.status == 0, done
    (kernel,) = toy.kernels(builder)
    assert MARK in (kernel / "vmlinux").read_bytes().decode("latin-1")
    assert len(toy.compiled(kernel / "build.log")) == toy.OBJECTS
    again = toy.asked(builder, spec, untouched=untouched)
    assert again.status == 0, again
    assert str(kernel) in again.out


def test_what_is_told_apart_from_a_commit(builder: Program) -> None:
    tree = toy.checkout(builder.directory / "tree")
    head = toy.git(tree, "rev-parse", "--short=12", "HEAD").strip()
    assert f"building 7.3.0-toy ({head}) for" in toy.asked(builder, tree).out
    toy.change(tree, LINE)
    done = toy.asked(builder, tree)
    assert done.status == 0, done
    assert f"({head})" not in done.out


def test_modules(builder: Program, tree: Path) -> None:
    """They are installed beside the kernel, below its release."""
    fragment = builder.directory / "my.config"
    fragment.write_text("CONFIG_MODULES=y\nCONFIG_TOY_MODULE=m\nCONFIG_PCI=y\nCONFIG_TOY_BUS=y\nCONFIG_TOY_DRIVER=y\n")
    done = toy.asked(builder, tree, "--fragment", fragment)
    assert done.status == 0, done
    (kernel,) = toy.kernels(builder)
    assert [path.name for path in kernel.glob("lib/modules/7.3.0-toy/kernel/lib/*")] == ["toy.ko"]
    assert "lib/driver.o" in toy.compiled(kernel / "build.log")
    assert "CONFIG_TOY_MODULE=m\n" in (kernel / "config").read_text()

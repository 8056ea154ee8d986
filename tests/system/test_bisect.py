# SPDX-License-Identifier: GPL-2.0-only
"""``run --bisect`` as the judge of the real ``git bisect run``; the kernels boot, the trees are toys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from program import Done, Program

WORDS = ("--bisect", "root", "--kernel", ".", "--arch", "arm64")


def commit(tree: Path, subject: str) -> None:
    toy.git(tree, "add", "--all")
    toy.git(tree, "commit", "--quiet", f"--message={subject}")


def judged(program: Program, tree: Path, *words: str) -> Done:
    program.directory = tree
    return program.run(*(words or WORDS))


@pytest.fixture
def repository(tmp_path: Path, images: Path) -> Path:
    """Good at first; then two commits that do not build; the first bad one is behind them."""
    tree = toy.checkout(tmp_path / "tree")
    for subject, name, text in (
        ("good", "isolated", "int one;"),
        ("good, too", "isolated", "int two;"),
        ("does not build", "isolated", "int three = nothing;"),
        ("mended", "isolated", "int three;"),
        ("the culprit", "shared", "int four;"),
        ("bad", "shared", "int five;"),
    ):
        toy.boots(tree, images / name)
        lines = [line for line in (tree / toy.FILE).read_text().splitlines() if "nothing" not in line]
        (tree / toy.FILE).write_text("\n".join([*lines, text, ""]))
        commit(tree, subject)
    return tree


def test_git_finds_the_culprit(builder: Program, repository: Path) -> None:
    toy.git(repository, "bisect", "start", "HEAD", "HEAD~5")
    env = os.environ | toy.GIT | {"NULLFS_HARNESS_CACHE": str(builder.cache)}
    words = ["git", "bisect", "run", sys.executable, "-m", "harness", "run", "--no-install", *WORDS]
    done = subprocess.run(words, cwd=repository, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is the first bad commit" in done.stdout
    assert "the culprit" in done.stdout.partition("is the first bad commit")[2]
    assert "root passes" in done.stdout
    assert "root fails: " in done.stdout


def test_what_does_not_build_is_skipped(builder: Program, repository: Path) -> None:
    toy.git(repository, "checkout", "--quiet", "HEAD~3")
    done = judged(builder, repository)
    assert done.status == 125, done
    assert "'nothing' undeclared" in done.text


def test_an_image_that_lies_there_is_not_believed(builder: Program, repository: Path, images: Path) -> None:
    """A bisection is about the commit, not about what was built of another one in the same place."""
    (repository / "arch/arm64/boot").mkdir(parents=True)
    (repository / "arch/arm64/boot/Image").write_bytes((images / "isolated").read_bytes())
    done = judged(builder, repository)
    assert done.status == 1, done
    assert "root fails" in done.text


def test_what_is_no_commits_fault_stops_the_bisection(builder: Program, repository: Path) -> None:
    assert judged(builder, repository, "--bisect", "rooot", "--kernel", ".").status == 128
    assert judged(builder, repository, *WORDS, "--kernel", ".").status == 128
    assert judged(builder, repository, *WORDS, "--guests", "0").status == 128
    assert judged(builder, repository, "--bisect", "root", "--kernel", "elsewhere").status == 128


def test_a_commit_that_is_no_kernel_is_skipped(builder: Program, repository: Path) -> None:
    (repository / "Kbuild").unlink()
    assert judged(builder, repository).status == 125


def test_a_commit_that_a_series_does_not_fit_is_skipped(builder: Program, repository: Path, tmp_path: Path) -> None:
    """Some bisect with a patch on top that they need at each commit."""
    toy.change(repository, "int another;")
    commit(repository, "needed")
    toy.git(repository, "format-patch", "--quiet", "-1", f"--output-directory={tmp_path / 'needed'}")
    toy.git(repository, "checkout", "--quiet", "HEAD~1")
    done = judged(builder, repository, *WORDS, "--series", str(tmp_path / "needed"))
    assert done.status == 1, done
    assert "root fails" in done.text
    toy.git(repository, "checkout", "--quiet", "HEAD~5")
    done = judged(builder, repository, *WORDS, "--series", str(tmp_path / "needed"))
    assert done.status == 125, done
    assert "does not apply" in done.text


def test_a_kernel_that_lacks_what_the_check_needs_is_skipped(builder: Program, repository: Path) -> None:
    kconfig = repository / "Kconfig.wanted"
    kconfig.write_text(kconfig.read_text().replace("config TEST_FIRMWARE\n", "config OTHER_FIRMWARE\n"))
    done = judged(builder, repository, "--bisect", "cut-firmware", "--kernel", ".", "--arch", "arm64")
    assert done.status == 125, done
    assert "TEST_FIRMWARE" in done.text

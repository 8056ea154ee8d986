# SPDX-License-Identifier: GPL-2.0-only
"""A second run of the same: nothing is looked up, compiled, packed or fetched again."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from program import Program

from harness import cache
from harness.arch import ARM64


@pytest.fixture
def fetched(cold: Program, image: Path) -> Program:
    """The program with a cache of its own that has our kernels and the list of Debian's."""
    assert image.is_relative_to(cache.root())
    (cold.cache / "debian").symlink_to(cache.root() / "debian")
    shutil.copytree(cache.directory("apt", ARM64.debian), cold.cache / "apt" / ARM64.debian)
    return cold


@pytest.mark.boots
def test_a_second_run_starts_one_guest_and_nothing_else(fetched: Program) -> None:
    words = ["--debug", "--kernel", "debian:isolated", "--arch", "arm64", "--check", "root"]
    first = fetched.run(*words)
    assert first.status == 0, first
    kept = files(fetched.cache)
    second = fetched.run(*words)
    assert second.status == 0, second
    [guest] = [shlex.split(line) for line in re.findall(r"harness\.process: run: (.*)", second.err)]
    assert Path(guest[0]).name == "qemu-system-aarch64"
    assert "-incoming" in guest
    assert files(fetched.cache) == kept
    assert fetched.left() == []


def files(root: Path) -> dict[Path, int]:
    """What a cache keeps, with inodes: what is made anew takes the place of what was there; a file's time tells when
    it was used last. Not what each run writes anew; and locks are empty."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    kept = [path for path in paths if path.relative_to(root).parts[0] not in ("runs", "locks", "durations.json")]
    return {path: path.stat().st_ino for path in kept}

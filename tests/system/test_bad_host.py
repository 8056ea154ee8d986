# SPDX-License-Identifier: GPL-2.0-only
"""A host that cannot do it: exit status 3, and what mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from program import Program

from harness.arch import ARCHES


@pytest.fixture
def without_qemu(tmp_path: Path) -> Path:
    """A directory for $PATH with what this host has of the programs that are needed, except QEMU."""
    path = tmp_path / "bin"
    path.mkdir()
    compilers = [f"{arch.cross}gcc" for arch in ARCHES]
    for name in ("setpriv", "apt-get", "gcc", "clang", "ld.lld", *compilers):
        if found := shutil.which(name):
            (path / name).symlink_to(found)
    return path


def test_no_qemu(program: Program, image: Path, without_qemu: Path) -> None:
    if not (without_qemu / "apt-get").exists():
        pytest.skip("this host has no apt-get to be told of")
    done = program.run("--kernel", image, PATH=str(without_qemu))
    assert done.status == 3, done
    assert "missing: qemu-system-x86_64, qemu-system-aarch64" in done.text
    command = "apt-get install -y --no-install-recommends qemu-system-arm qemu-system-x86"
    assert f"next: {'' if os.geteuid() == 0 else 'sudo '}{command}\n" in done.err.replace("  next:  ", "next: ")


def test_no_network(program: Program, tmp_path: Path) -> None:
    program.cache = tmp_path / "cache"  # an empty one
    nowhere = "http://127.0.0.1:9"  # the discard port: nobody listens
    done = program.run("--kernel", "debian:isolated", http_proxy=nowhere, https_proxy=nowhere)
    assert done.status == 3, done
    assert done.err.startswith("error: "), done
    assert "127.0.0.1:9" in done.text, done
    assert "Traceback" not in done.text
    assert not list(program.cache.glob("debian/*"))


@pytest.mark.boots
@pytest.mark.parametrize(
    ("kept", "room"),
    [
        pytest.param((), 0, id="scratch"),
        pytest.param((), 8192, id="agent"),
        pytest.param(("agent",), 0, id="initramfs"),
        pytest.param(("agent", "initramfs"), 4096, id="console"),
    ],
)
def test_full_disk(
    program: Program, image: Path, disk: Callable[[int], Path], kept: tuple[str, ...], room: int
) -> None:
    """What is named has no place any more."""
    small_disk = disk(3)
    for name in kept:
        shutil.copytree(program.cache / name, small_disk / name)
    for name in ("locks", "tmp", "runs"):
        (small_disk / name).mkdir()
    facts = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(facts.f_bavail * facts.f_frsize - room))
    program.cache = small_disk
    done = program.run("--kernel", image, "--check", "root")
    assert done.status == 3, done
    assert "No space left on device" in done.text
    assert f"cannot write to the cache below {small_disk}" in done.text, done

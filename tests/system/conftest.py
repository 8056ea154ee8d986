# SPDX-License-Identifier: GPL-2.0-only
"""What the system tests start from: a real kernel, and the real program with a cache that is not the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy
from program import Program

from harness import agent, cache, kernel
from harness.arch import ARM64, X86_64, Arch
from harness.deadline import Deadline


def newest(arch: Arch, era: str = "isolated") -> Path:
    return kernel.resolve(f"debian:{era}", [arch], Deadline.after(600))[0].image


@pytest.fixture(scope="session")
def image() -> Path:
    """A plain arm64 Image: nothing in it is compressed, and it boots in half the time that x86_64 takes."""
    return newest(ARM64)


@pytest.fixture(scope="session")
def old_image() -> Path:
    """The same before the series."""
    return newest(ARM64, "shared")


@pytest.fixture(scope="session")
def x86_image() -> Path:
    """A bzImage; on an x86_64 host the one kind of guest that KVM may be tried for."""
    return newest(X86_64)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the agents in it, so that a short deadline is one for the guest and not for the compiler."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(path))
        for arch in (ARM64, X86_64):
            agent.image(arch, Deadline.after(120))
    yield path
    assert list((path / "tmp").iterdir()) == []


@pytest.fixture
def program(warm: Path, tmp_path: Path) -> Iterator[Program]:
    """The program, started in an empty directory; whatever the test made of it, nothing of it may be left."""
    subject = Program(warm, tmp_path)
    yield subject
    assert subject.left() == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many megabytes."""
    made = []

    def make(size: int) -> Path:
        path = tmp_path / "disk"
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(path)]
        if os.geteuid() != 0:
            pytest.skip("only root can mount a small disk to be filled")
        if (tried := subprocess.run(mount, check=False, capture_output=True, text=True, timeout=60)).returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {tried.stderr.strip()}")
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(["umount", path], check=True, timeout=60)


@pytest.fixture
def cold(warm: Path, tmp_path: Path) -> Program:
    """The program with a cache that has the agents, and no snapshot yet."""
    subject = Program(tmp_path / "cache", tmp_path)
    for name in ("agent", "initramfs"):
        shutil.copytree(warm / name, subject.cache / name)
    return subject


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A toy kernel tree, as if it had just been unpacked."""
    return toy.toy(tmp_path / "tree")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real kernels for toy trees to hand out as theirs (toy.booting): ``isolated`` and ``shared``."""
    path = tmp_path_factory.mktemp("images")
    for name in ("isolated", "shared"):
        (path / name).symlink_to(kernel.resolve(f"debian:{name}", [ARM64], Deadline.after(600))[0].boot)
    return path


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Program]:
    """The program with an empty cache, for builds; nothing but what is meant to stay may be left of them."""
    # A ccache would answer for compilers that are counted, and read twice what waits for a reader.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCACHE_DISABLE", "1")
        for name in ("ARCH", "CROSS_COMPILE", "LLVM"):
            patch.delenv(name, raising=False)
        subject = Program(tmp_path / "cache", tmp_path)
        yield subject
        assert subject.left() == []

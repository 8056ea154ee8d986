# SPDX-License-Identifier: GPL-2.0-only
"""Modules that a real kernel loads from its guest's image: packed as Debian does, and where it cannot unpack them."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from program import Done, Program

from harness import kernel, modules
from harness.arch import ARM64
from harness.deadline import Deadline
from harness.kernel import Kernel

pytestmark = pytest.mark.boots
#: Bytes of debug information, more than all that a guest gets.
BALLAST = 8 << 20

CHECKS = r"""
import pytest

from harness.checks import check
from harness.errors import GuestError, RequestError
from harness.guest import Guest


def loaded(guest: Guest) -> set[str]:
    return {line.split()[0] for line in guest.read_text("/proc/modules").splitlines()}


def there(guest: Guest) -> dict[str, int]:
    found, places = {}, [f"/usr/lib/modules/{guest.kernel.release}"]
    for place in places:
        paths = [f"{place}/{name}" for name in guest.listdir(place)]
        places += [path for path in paths if "." not in path.rpartition("/")[2]]
        found |= {path.rpartition("/")[2]: guest.statx(path).size for path in paths if path not in places}
    return found


@check("loads", "a promise", patch="kthread-nullfs-v2/1", modules="btrfs")
def test_loads(guest: Guest) -> None:
    assert loaded(guest) == set()
    guest.load_module("btrfs")
    assert loaded(guest) >= {"btrfs", "xor", "raid6_pq"}
    assert "btrfs" in guest.read_text("/proc/filesystems")
    guest.load_module("btrfs")


@check("has-no-more", "a promise", patch="kthread-nullfs-v2/1")
def test_has_no_more(guest: Guest) -> None:
    files = there(guest)
    guest.load_module("btrfs")
    assert set(files) == {"modules.dep", *(f"{name}ENDING" for name in loaded(guest))}
    assert sum(files.values()) < 6 << 20


@check("not-there", "a promise", patch="kthread-nullfs-v2/1", modules="btrfs no-such-module")
def test_not_there(guest: Guest) -> None:
    raise AssertionError("it runs")


@check("built-in", "a promise", patch="kthread-nullfs-v2/1", modules="proc-fs", profile="storage")
def test_built_in(guest: Guest) -> None:
    guest.load_module("proc-fs")
    assert int(guest.read_text("/proc/meminfo").split()[1]) > 400_000  # kB, as the profile says
    with pytest.raises(RequestError, match="no check declares it"):  # none of this profile
        guest.load_module("btrfs")


@check("before", "a promise", patch="kthread-nullfs-v2/1", modules="cifs", profile="network")
def test_before(guest: Guest) -> None:
    assert "cifs" in loaded(guest)  # as the profile says
    guest.load_module("cifs")


@check("not-said", "a promise", patch="kthread-nullfs-v2/1")
def test_not_said(guest: Guest) -> None:
    with pytest.raises(RequestError, match="no check declares it"):
        guest.load_module("cifs")


@check("refused", "a promise", patch="kthread-nullfs-v2/1", modules="btrfs")
def test_refused(guest: Guest) -> None:
    guest.write_file("/proc/sys/kernel/modules_disabled", "1")
    with pytest.raises(GuestError, match="does not load its module kernel/.*ENDING") as caught:
        guest.load_module("btrfs")
    assert "EPERM" in caught.value.cause
"""


def checked(program: Program, image: Path, ending: str) -> Done:
    file = program.directory / "test_made_up.py"
    file.write_text(CHECKS.replace("ENDING", ending))
    return program.pytest(f"--kernel={image}", "--expect=none", "-rs", file)


def test_a_kernel_loads_its_modules_as_they_are(program: Program, image: Path) -> None:
    done = checked(program, image, ".ko.xz")
    assert "6 passed, 1 skipped" in done.out, str(done)
    assert "this kernel lacks the module no-such-module" in done.out


@pytest.fixture
def copied(image: Path, tmp_path: Path) -> Kernel:
    """The same kernel with just the modules that btrfs needs, and a configuration by which it unpacks none itself."""
    [real] = kernel.resolve(str(image), [ARM64], Deadline.after(600))
    assert real.modules is not None
    copy = tmp_path / "lib/modules" / real.release
    for module in modules.closure(real, ["btrfs"], Deadline.after(600)):
        path = copy / module.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real.modules / module.path, path)
    shutil.copy(image, copy / "vmlinuz")
    config = (real.modules / "config").read_text()
    (copy / "config").write_text(config.replace("CONFIG_MODULE_DECOMPRESS=y\n", ""))
    [found] = kernel.resolve(str(copy / "vmlinuz"), [ARM64], Deadline.after(600))
    return found


def test_a_kernel_that_unpacks_no_modules_gets_them_bare(program: Program, copied: Kernel) -> None:
    objcopy = shutil.which(f"{ARM64.cross}objcopy")
    if objcopy is None:
        pytest.skip(f"no {ARM64.cross}objcopy here to give a module debug information")
    assert copied.modules is not None
    [packed] = copied.modules.rglob("btrfs.ko.xz")
    bare = packed.with_suffix("")
    ballast = program.directory / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    bare.write_bytes(lzma.decompress(packed.read_bytes()))
    packed.unlink()
    subprocess.run([objcopy, "--add-section", f".debug_info={ballast}", bare], check=True, timeout=60)
    assert bare.stat().st_size > BALLAST
    done = checked(program, copied.image, ".ko")
    assert "5 passed, 2 skipped" in done.out, str(done)


def test_modules_that_do_not_fit_are_told_before_anything_boots(program: Program, copied: Kernel) -> None:
    assert copied.modules is not None
    (copied.modules / "kernel/test_firmware.ko").write_bytes(b"hello")
    done = program.run("--kernel", copied.image, "--check", "cut-firmware")
    assert done.status == 2, done
    assert "test_firmware.ko is no kernel module, or a damaged one" in done.text
    done = program.run("--kernel", copied.image, "--check", "boot")
    assert done.status == 0, done

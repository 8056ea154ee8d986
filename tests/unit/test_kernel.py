# SPDX-License-Identifier: GPL-2.0-only
"""harness/kernel.py: every kind of SPEC, right and wrong, on files made here; real Debian kernels with ``boots``."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness import cache, kernel
from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

RELEASE = "7.3.4+deb13-cloud-amd64"


@pytest.fixture(autouse=True)
def own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, except where real kernels are fetched."""
    if "boots" not in request.keywords:
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))


def bzimage(release: str = RELEASE) -> bytes:
    """The smallest bzImage that is whole: see tests/unit/test_image.py."""
    data = bytearray(5 * 512 + 512)
    data[0x1F1] = 4
    struct.pack_into("<I", data, 0x1F4, 32)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H6xH", data, 0x206, 0x20F, 0x400)
    data[0x211] = 1
    struct.pack_into("<H", data, 0x236, 1)
    text = f"{release} (me@here) #1".encode()
    data[0x600 : 0x600 + len(text)] = text
    return bytes(data)


def arm64_image(release: str = "7.3.4-test") -> bytes:
    """An arm64 Image without an EFI stub."""
    data = bytearray(64)
    data[56:60] = b"ARM\x64"
    return bytes(data) + f"Linux version {release} (me@here)".encode()


def vmlinux(machine: int, release: str = "7.3.4-test") -> bytes:
    """An ELF file that is a kernel, without a PVH note."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
    return ident + head + f"Linux version {release} (me@here)".encode()


def zboot(payload: bytes, compression: str) -> bytes:
    """An EFI zboot image for arm64."""
    data = bytearray(0x200)
    data[0:2] = b"MZ"
    data[4:8] = b"zimg"
    struct.pack_into("<II", data, 8, len(data), len(payload))
    data[24 : 24 + len(compression)] = compression.encode()
    data[56:60] = b"\xcd\x23\x82\x81"
    struct.pack_into("<I", data, 0x3C, 0x40)
    data[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<H", data, 0x44, 0xAA64)
    return bytes(data) + payload


def put(path: Path, contents: bytes | str) -> Path:
    """Write a file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    return path


def deb(where: Path, name: str, files: dict[str, bytes | str]) -> Path:
    """A Debian package with ``files``, made by dpkg-deb."""
    tree = where / f"{name}.tree"
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: me <me@here>\nDescription: test\n"
    for path, contents in {**files, "DEBIAN/control": control}.items():
        put(tree / path, contents)
    package = where / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
    return package


def one(spec: str | Path, arch: Arch | None = None) -> kernel.Kernel:
    (found,) = kernel.resolve(str(spec), [arch] if arch else [], Deadline.after(600))
    return found


def test_an_image_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "some" / "file", bzimage())
    assert one(path) == kernel.Kernel(str(path), path, path, X86_64, RELEASE, None, None)
    assert one(path, X86_64).name == "7.3.4+deb13-cloud"
    assert one(path).version == (7, 3)
    assert hash(one(path)) == hash(one(path))


def test_a_relative_path_and_one_with_a_comma_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a,b", arm64_image())
    monkeypatch.chdir(tmp_path)
    assert one("a,b").image == tmp_path / "a,b"


def test_modules_and_config_in_debians_layout(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/modules" / RELEASE
    path = put(modules / "vmlinuz", bzimage())
    assert one(path).modules is None
    put(modules / "kernel/x.ko.xz", b"")
    put(modules / "config", 'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="text"\nCONFIG_E=0x10\n')
    found = one(path)
    assert found.modules == modules
    assert found.config == {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_D": "text", "CONFIG_E": "0x10"}


@pytest.mark.parametrize("lib", ["lib/modules", "usr/lib/modules"])
def test_modules_and_config_of_a_boot_directory(tmp_path: Path, lib: str) -> None:
    path = put(tmp_path / "boot" / f"vmlinuz-{RELEASE}", bzimage())
    put(tmp_path / "boot" / f"config-{RELEASE}", "CONFIG_A=y\n")
    put(tmp_path / lib / RELEASE / "kernel/x.ko", b"")
    (tmp_path / "boot" / "vmlinuz").symlink_to(path.name)
    for image in (path, tmp_path / "boot" / "vmlinuz"):
        found = one(image)
        assert found.modules == tmp_path / lib / RELEASE
        assert found.config == {"CONFIG_A": "y"}


def test_a_build_directory(tmp_path: Path) -> None:
    put(tmp_path / ".config", "CONFIG_A=y\n")
    with pytest.raises(RequestError, match="is a build directory without an image"):
        one(tmp_path)
    path = put(tmp_path / X86_64.image, bzimage("7.3.0-rc1-dirty"))
    for spec in (tmp_path, path):
        found = one(spec)
        assert (found.image, found.arch, found.modules, found.config) == (path, X86_64, None, {"CONFIG_A": "y"})
    with pytest.raises(RequestError, match="but no image for arm64"):
        one(tmp_path, ARM64)
    put(tmp_path / ARM64.image, arm64_image())
    with pytest.raises(RequestError, match="has several images") as caught:
        one(tmp_path)
    assert "--arch" in caught.value.hint
    assert [one(tmp_path, arch).arch for arch in ARCHES] == list(ARCHES)


def test_half_a_source_tree(tmp_path: Path) -> None:
    for name in ("Kbuild", "Makefile", "MAINTAINERS"):
        put(tmp_path / name, "x\n")
    with pytest.raises(RequestError, match="is not a kernel source tree: it has no Kconfig"):
        one(tmp_path)


@pytest.mark.parametrize(("arch", "machine"), [(X86_64, 62), (ARM64, 183)], ids=["x86_64", "arm64"])
def test_a_vmlinux_that_qemu_cannot_start(tmp_path: Path, arch: Arch, machine: int) -> None:
    make = bzimage if arch is X86_64 else arm64_image
    path = put(tmp_path / "vmlinux", vmlinux(machine))
    with pytest.raises(RequestError, match=f"vmlinux for {arch.name} that QEMU cannot start") as caught:
        one(path)
    assert arch.image in caught.value.hint
    other = put(tmp_path / arch.image, make("7.2.0-another"))
    with pytest.raises(RequestError, match="QEMU cannot start"):
        one(path)
    put(other, make("7.3.4-test"))
    assert (one(path).image, one(path).boot) == (path, other)


def test_a_zboot_image_is_unwrapped_into_the_cache(tmp_path: Path) -> None:
    for name in filter(shutil.which, ("gzip", "zstd")):
        plain = arm64_image(f"7.3.4-{name}")
        packed = subprocess.run([name, "-c"], check=True, input=plain, capture_output=True).stdout
        path = put(tmp_path / name, zboot(packed, name))
        found = one(path)
        assert (found.image, found.release) == (path, f"7.3.4-{name}")
        assert found.boot.read_bytes() == plain
        assert found.boot.is_relative_to(tmp_path / "cache")
        assert one(path) == found


def test_a_zboot_image_that_cannot_be_unwrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "vmlinuz.efi", zboot(b"no such thing", "zstd"))
    if shutil.which("zstd"):
        with pytest.raises(RequestError, match=r"vmlinuz\.efi"):
            one(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="cannot be unpacked") as caught:
        one(path)
    assert caught.value.hint == "apt-get install zstd"
    put(path, zboot(gzip.compress(arm64_image()), "gzip")[:-9])
    with pytest.raises(RequestError, match="is truncated: an EFI zboot image"):
        one(path)
    assert not [file for file in (tmp_path / "cache" / "images").rglob("*") if file.is_file()]


def test_packages(tmp_path: Path) -> None:
    base = f"usr/lib/modules/{RELEASE}"
    image = deb(tmp_path, "linux-binary", {f"{base}/vmlinuz.unsigned": bzimage(), f"{base}/config": "CONFIG_A=y\n"})
    modules = deb(tmp_path, "linux-modules", {f"{base}/kernel/x.ko": b""})
    found = one(f"{image},{modules}")
    assert found.modules is not None
    assert (found.modules / "kernel/x.ko").is_file()
    assert found.config == {"CONFIG_A": "y"}
    assert one(image).modules is None
    whole = deb(tmp_path, "linux-image", {f"boot/vmlinuz-{RELEASE}": bzimage(), f"lib/modules/{RELEASE}/kernel/x": b""})
    assert one(whole).modules is not None


def test_packages_without_a_kernel_or_with_two(tmp_path: Path) -> None:
    modules = deb(tmp_path, "linux-modules", {f"usr/lib/modules/{RELEASE}/kernel/x.ko": b""})
    with pytest.raises(RequestError, match=r"linux-modules\.deb has no kernel in it") as caught:
        one(modules)
    assert "linux-binary" in caught.value.hint
    first = deb(tmp_path, "first", {"boot/vmlinuz-1": bzimage()})
    second = deb(tmp_path, "second", {"boot/vmlinuz-2": bzimage()})
    with pytest.raises(RequestError, match="has several kernels in it: boot/vmlinuz-1, boot/vmlinuz-2"):
        one(f"{first},{second}")
    text = deb(tmp_path, "text", {"boot/vmlinuz-1": "hello\n"})
    with pytest.raises(RequestError, match="is no kernel image: it is a text file"):
        one(text)
    # Nothing of them is kept.
    assert not list((tmp_path / "cache" / "debs").iterdir())


def test_an_arch_that_contradicts_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "vmlinuz-arm64", bzimage())
    with pytest.raises(RequestError, match=r"vmlinuz-arm64 is a kernel for x86_64, not for arm64") as caught:
        one(path, ARM64)
    assert "--arch x86_64" in caught.value.hint
    package = deb(tmp_path, "package", {"boot/vmlinuz-1": arm64_image()})
    with pytest.raises(RequestError, match="is a kernel for arm64, not for x86_64"):
        one(package, X86_64)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "an empty SPEC"),
        ("absent", "absent does not exist"),
        ("absent.deb", "absent.deb does not exist"),
        ("here.deb,absent.deb", "absent.deb does not exist"),
        ("here,absent", "here,absent does not exist, nor is it a list of .deb files"),
        ("here.deb", "here.deb is not a Debian package"),
        ("here", "here is no kernel image: it is a text file"),
        ("empty", "empty is an empty file"),
        ("cut", "cut is truncated"),
        ("riscv", "riscv is no kernel image: it is a RISC-V Image"),
        ("s390", "s390 is an ELF file for an unsupported architecture: S390"),
        ("directory", "directory is a directory with no kernel in it"),
        ("debian:", "debian: is neither a version nor an era"),
        ("debian:newest", "debian:newest is neither a version nor an era"),
        ("debian:7.3:rt", "flavour 'rt' is unknown"),
        ("debian:7.3:full:amd64", "has too many colons"),
    ],
)
def test_a_spec_that_is_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "here", "hello\n")
    put(tmp_path / "here.deb", "hello\n")
    put(tmp_path / "empty", "")
    put(tmp_path / "cut", bzimage()[:-1])
    put(tmp_path / "riscv", bytes(48) + b"RISCV\0\0\0RSC\x05")
    put(tmp_path / "s390", vmlinux(22))
    (tmp_path / "directory").mkdir()
    with pytest.raises(RequestError) as caught:
        kernel.resolve(spec, [], Deadline.after(600))
    assert message in caught.value.what
    assert caught.value.exit_status == 2
    assert caught.value.hint or caught.value.cause
    # A request that is wrong leaves nothing in the cache but empty directories and locks.
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.parent.name != "locks"]
    assert left == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = put(tmp_path / "vmlinuz", bzimage())
    path.chmod(0)
    with pytest.raises(RequestError, match="cannot be read"):
        one(path)


@pytest.mark.boots
def test_debians_kernels_for_every_architecture() -> None:
    found = kernel.resolve("debian:isolated", [], Deadline.after(600))
    assert [each.arch for each in found] == list(ARCHES)
    for each in found:
        assert each.version >= (7, 3)
        assert each.config is not None
        assert each.config["CONFIG_DEVTMPFS"] == "y"
        assert each.modules is not None
        assert each.modules.name == each.release
        assert each.boot.is_file()
    started = time.monotonic()
    assert kernel.resolve("debian:isolated", [], Deadline.after(600)) == found
    assert time.monotonic() - started < 0.6

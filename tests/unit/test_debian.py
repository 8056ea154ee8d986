# SPDX-License-Identifier: GPL-2.0-only
"""harness/debian.py: the choice of a kernel on canned lists, packages made here, and (``boots``) the real mirror."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import apt, cache, debian
from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

BIG = 13_000_000
SMALL = 1900


def split(release: str, version: str, *kinds: str) -> list[apt.Package]:
    """The packages of one kernel since 6.19; ``image`` is the empty one."""
    return [apt.Package(f"linux-{kind}-{release}", version, SMALL if kind == "image" else BIG) for kind in kinds]


ALL = ("binary-unsigned", "image", "modules", "base")
LISTS = [
    *split("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", "binary-unsigned", "modules", "base"),
    *split("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1", *ALL),
    *split("7.3.4+deb13-rt-amd64", "7.3.4-1~bpo13+1", *ALL),
    *split("7.3-cloud-amd64", "7.3~rc7-1~exp1", "binary", *ALL),
    *split("7.2.13+deb14-cloud-amd64", "7.2.13-1", "binary", *ALL),
    *split("7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "binary", *ALL),
    *split("7.0.13+deb13-cloud-amd64", "7.0.13-1~bpo13+1", "binary", "image"),
    *split("6.19.14+deb13-cloud-amd64", "6.19.14-1~bpo13+1", "binary", "image"),
    apt.Package("linux-image-6.18.15+deb13-cloud-amd64", "6.18.15-1~bpo13+1", BIG),
    apt.Package("linux-image-6.12.90+deb12-cloud-amd64", "6.12.90-1~bpo12+1", BIG),
    apt.Package("linux-image-6.12.90+deb12.1-cloud-amd64", "6.12.90-2~bpo12+1", BIG),
    apt.Package("linux-image-6.12.95+deb12-cloud-amd64-unsigned", "6.12.95-1~bpo12+1", BIG),
    apt.Package("linux-image-6.12.95+deb12-cloud-amd64-dbg", "6.12.95-1~bpo12+1", BIG),
    apt.Package("linux-image-6.12.95+deb12-16k-amd64", "6.12.95-1~bpo12+1", BIG),
    apt.Package("linux-image-cloud-amd64", "7.2.13-1", SMALL),
    apt.Package("linux-image-7.1.9+deb13-cloud-amd64", "7.1.9-1", SMALL),
]


@pytest.mark.parametrize(
    ("words", "flavour", "release"),
    [
        ("isolated", "cloud", "7.3.4+deb13-cloud-amd64"),
        ("isolated", "full", "7.3.4+deb13-amd64"),
        ("7.3", "cloud", "7.3.4+deb13-cloud-amd64"),
        ("7.3.4+deb13", "cloud", "7.3.4+deb13-cloud-amd64"),
        ("rootfs", "cloud", "7.2.13+deb14-cloud-amd64"),
        ("shared", "cloud", "7.2.13+deb14-cloud-amd64"),
        ("7.2", "cloud", "7.2.13+deb14-cloud-amd64"),
        ("7.2.9", "cloud", "7.2.9+deb13-cloud-amd64"),
        # 6.19 is newer, but its modules are gone from the mirror.
        ("none", "cloud", "6.18.15+deb13-cloud-amd64"),
        ("6.19", "cloud", "6.19.14+deb13-cloud-amd64"),
        ("6.12.90", "cloud", "6.12.90+deb12.1-cloud-amd64"),
        ("6.12", "cloud", "6.12.95+deb12-cloud-amd64"),
        ("6.1", "cloud", None),
        ("7.1", "cloud", None),
        ("7.2.13+deb13", "cloud", None),
        ("rootfs", "full", None),
        ("6.12", "full", None),
    ],
)
def test_the_newest_that_fits(words: str, flavour: str, release: str | None) -> None:
    chosen = debian.choose(words, debian.candidates(LISTS, flavour))
    assert (chosen and chosen.release) == release


def test_an_era_falls_back_to_the_one_before() -> None:
    old = [package for package in LISTS if "-6." in package.name]
    chosen = debian.choose("shared", debian.candidates(old, "cloud"))
    assert chosen is not None
    assert chosen.release == "6.18.15+deb13-cloud-amd64"
    assert debian.choose("isolated", debian.candidates(old, "cloud")) is None


def test_versions_are_ordered_as_numbers() -> None:
    versions = ["7.3~rc2-1", "7.3~rc10-1", "7.3-1", "7.3.4-1", "7.3.10-1", "7.10~rc1-1", "7.10-1", "10.0-1"]
    packages = []
    for version in versions:
        upstream = version.removesuffix("-1")
        packages += split(f"{upstream.replace('~', '-')}-cloud-amd64", version, "binary", "modules")
    assert [f"{one.upstream}-1" for one in debian.candidates(reversed(packages), "cloud")] == versions


def test_the_packages_that_make_up_a_kernel() -> None:
    kernels = {one.release: [package.name for package in one.packages] for one in debian.candidates(LISTS, "cloud")}
    release = "7.2.13+deb14-cloud-amd64"
    assert kernels[release] == [f"linux-binary-{release}", f"linux-modules-{release}", f"linux-base-{release}"]
    assert kernels["6.18.15+deb13-cloud-amd64"] == ["linux-image-6.18.15+deb13-cloud-amd64"]
    assert kernels["7.0.13+deb13-cloud-amd64"] == ["linux-binary-7.0.13+deb13-cloud-amd64"]


@pytest.mark.parametrize(
    ("words", "flavour", "message"),
    [
        ("newest", "cloud", "debian:newest is neither a version nor an era"),
        ("", "cloud", "debian: is neither a version nor an era"),
        ("7.3; rm -rf /", "cloud", "is neither a version nor an era"),
        ("7.3", "rt", "Debian's kernel flavour 'rt' is unknown"),
    ],
)
def test_words_that_mean_nothing(words: str, flavour: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        debian.fetch(words, X86_64, flavour, Deadline.after(1))
    assert caught.value.hint


def search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str) -> debian.Search:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    found = debian.Search(words, X86_64, "cloud", Deadline.after(1))
    found.index.write_text(json.dumps(LISTS))
    found.refreshed = True
    return found


def test_a_version_that_is_not_there_names_its_neighbours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for words, near in (("7.1", "6.19.14, 7.0.13, 7.2.9, 7.2.13"), ("9.9", "7.2.13, 7.3-rc7, 7.3.4"), ("5", "6.12.90")):
        with pytest.raises(RequestError, match=f"no kernel {words} .cloud. for x86_64") as caught:
            search(monkeypatch, tmp_path, words).newest()
        assert near in caught.value.hint


def test_a_damaged_list_is_no_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = search(monkeypatch, tmp_path, "7.3")
    for text in ("", "{", "[[1]]", "[1]"):
        broken.index.write_text(text)
        assert broken.known() == []


def deb(where: Path, name: str, files: dict[str, bytes]) -> Path:
    """A Debian package with ``files``, made by dpkg-deb."""
    tree = where / f"{name}.tree"
    for path, contents in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(contents)
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: me <me@here>\nDescription: test\n"
    (tree / "DEBIAN" / "control").write_text(control)
    package = where / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
    return package


def test_packages_are_unpacked_together_and_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    first = deb(tmp_path, "first", {"usr/lib/modules/1/vmlinuz": b"image", "usr/share/doc/first/copyright": b"long"})
    second = deb(tmp_path, "second", {"usr/lib/modules/1/kernel/x.ko": b"module", "usr/lib/modules/1/dtb/board": b"x"})
    tree = debian.unpack([first, second], Deadline.after(20))
    files = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    assert files == ["usr/lib/modules/1/kernel/x.ko", "usr/lib/modules/1/vmlinuz"]
    made = tree.stat().st_ino
    assert debian.unpack([first, second], Deadline.after(0)) == tree
    assert tree.stat().st_ino == made
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_what_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    good = deb(tmp_path, "good", {"boot/vmlinuz-1": b"image" * 9999})
    text, cut = tmp_path / "text.deb", tmp_path / "cut.deb"
    text.write_text("not a package\n")
    cut.write_bytes(good.read_bytes()[:-64])
    for path, message in (
        (text, "text.deb is not a Debian package, or damaged"),
        (cut, "cut.deb is not a Debian package, or damaged"),
        (tmp_path / "absent.deb", "absent.deb does not exist"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(RequestError, match=message):
            debian.unpack([good, path], Deadline.after(20))
    assert list((tmp_path / "cache" / "debs").iterdir()) == []
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache on a file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    where = tmp_path / "full"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(where)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    monkeypatch.setenv(cache.VARIABLE, str(where))
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=True)


def test_a_full_disk_is_named_while_unpacking(full_disk: Path, tmp_path: Path) -> None:
    package = deb(tmp_path, "big", {"boot/vmlinuz-1": os.urandom(3 << 20)})
    with pytest.raises(HostError, match=f"cannot write to the cache below {full_disk}") as caught:
        debian.unpack([package], Deadline.after(20))
    assert "No space left on device" in caught.value.cause
    assert cache.VARIABLE in caught.value.hint
    assert list((full_disk / "tmp").iterdir()) == []
    assert list((full_disk / "debs").iterdir()) == []


def test_a_full_disk_is_named_before_apt_hangs_on_it(full_disk: Path) -> None:
    if not apt.KEYRING.is_file():
        pytest.skip("not a Debian host")
    with pytest.raises(HostError, match=f"cannot write to the cache below {full_disk}") as caught:
        debian.fetch("isolated", X86_64, "cloud", Deadline.after(30))
    assert "No space left on device" in caught.value.cause
    assert not list(full_disk.glob("debian/*"))


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network in which no mirror answers."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.boots
@pytest.mark.usefixtures("no_mirror")
def test_no_mirror_and_an_empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    with pytest.raises(HostError) as caught:
        debian.fetch("isolated", ARM64, "cloud", Deadline.after(60))
    error = caught.value
    assert error.exit_status == 3
    assert error.what == "Debian's kernel isolated (cloud) for arm64 could not be fetched"
    assert "127.0.0.1" in error.cause
    assert error.log is not None
    assert error.cause in error.log.read_text()
    assert "http_proxy" in error.hint
    # Nothing half-made: no kernel, no lists of packages, no scratch directory.
    assert not [*tmp_path.glob("debian/*"), *tmp_path.glob("tmp/*"), *tmp_path.glob("apt/*/lists/*_Packages*")]


@pytest.mark.boots
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_a_real_kernel_is_fetched_and_found_again(arch: Arch) -> None:
    place = debian.fetch("isolated", arch, "cloud", Deadline.after(300))
    assert place.name.endswith(f"-cloud-{arch.debian}")
    assert len(list(place.glob("usr/lib/modules/*/vmlinuz*"))) == 1
    started = time.monotonic()
    assert debian.fetch("isolated", arch, "cloud", Deadline.after(300)) == place
    assert time.monotonic() - started < 0.3


@pytest.mark.boots
def test_a_kernel_that_is_here_does_without_a_mirror(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = debian.fetch("isolated", X86_64, "cloud", Deadline.after(300))
    # Another cache, with that kernel and nothing else.
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    cache.directory("debian")
    (tmp_path / "debian" / place.name).symlink_to(place)
    assert debian.fetch("isolated", X86_64, "cloud", Deadline.after(60)).name == place.name
    assert f"using {place.name}, which is here" in caplog.text


@pytest.mark.boots
def test_a_version_that_has_moved_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    debian.newest("isolated", X86_64, "cloud", Deadline.after(300))
    index = tmp_path / "apt" / "amd64" / "kernels.json"
    # Lists that promise a kernel which the mirror does not have: they are fetched once more, and then it is an error.
    index.write_text(json.dumps(split("7.3.999+deb13-cloud-amd64", "7.3.999-1", "binary", "modules")))
    with pytest.raises(RequestError, match=r"no kernel 7\.3\.999"):
        debian.fetch("7.3.999", X86_64, "cloud", Deadline.after(300))
    assert "7.3.999" not in index.read_text()


@pytest.mark.boots
def test_any_package_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = apt.fetch("busybox-static", ARM64, Deadline.after(300))
    [program] = place.glob("**/bin/busybox")
    assert program.read_bytes()[:4] == b"\x7fELF"
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    cache.directory("packages", "arm64")
    (tmp_path / "packages/arm64/busybox-static").symlink_to(place)
    monkeypatch.setattr(apt.Apt, "run", None)  # neither apt nor the network
    assert apt.fetch("busybox-static", ARM64, Deadline.after(0)) == tmp_path / "packages/arm64/busybox-static"


@pytest.mark.boots
def test_a_package_that_debian_does_not_have() -> None:
    with pytest.raises(HostError, match="Debian's package no-such-thing for arm64 could not be fetched") as caught:
        apt.fetch("no-such-thing", ARM64, Deadline.after(300))
    assert caught.value.cause == "Debian has no no-such-thing for arm64"
    assert not (cache.root() / "packages/arm64/no-such-thing").exists()


@pytest.mark.boots
@pytest.mark.usefixtures("no_mirror")
def test_a_package_without_a_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    with pytest.raises(HostError, match="Debian's package busybox-static for arm64 could not be fetched") as caught:
        apt.fetch("busybox-static", ARM64, Deadline.after(60))
    assert "127.0.0.1" in caught.value.cause
    assert not [*tmp_path.glob("packages/*/*"), *tmp_path.glob("tmp/*")]

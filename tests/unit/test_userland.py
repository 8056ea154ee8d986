# SPDX-License-Identifier: GPL-2.0-only
"""harness/userland.py and harness/overlay.py on packages made here, which the real apt gets from a mirror made here."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from mirror import Body, Mirror

from harness import apt, cache, toolchain, userland
from harness.arch import ARM64, X86_64
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.initramfs import Entry

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and apt.KEYRING.is_file()), reason="this host has no apt, or no keyring of Debian"
)
#: Bytes that hardly shrink in a package.
NOISE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))


def soon() -> Deadline:
    return Deadline.after(120)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror of our own in place of the host's, and an empty cache."""
    made = Mirror(tmp_path / "mirror")
    made.write()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "SUITES", ("sid",))
    monkeypatch.setattr(apt.Apt, "mirror", lambda *_: f"file:{made.place}")
    configure = apt.Apt.configure

    def unsigned(self: apt.Apt, deadline: Deadline) -> None:
        configure(self, deadline)
        path = self.state / "sources.list"
        path.write_text(path.read_text().replace(f"signed-by={apt.KEYRING}", "trusted=yes"))

    monkeypatch.setattr(apt.Apt, "configure", unsigned)
    return made


@pytest.fixture
def linked(mirror: Mirror, tmp_path: Path) -> Mirror:
    """A program with a loader, a library of all, one of its own that needs a third, and one that it was run with."""
    argv = toolchain.compiler(X86_64, soon())
    here = tmp_path / "made"
    here.mkdir()

    source = here / "any.c"
    source.write_text("int _start(void) { return 0; }\n")

    def link(name: str, *flags: str | Path) -> Path:
        command = [*argv, "-nostdlib", "-fPIC", "-Wl,--no-as-needed", source, "-o", here / name, *flags]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return here / name

    third = link("libthird.so.3", "-shared", "-Wl,-soname,libthird.so.3")
    own = link("libown.so.1", "-shared", "-Wl,-soname,libown.so.1", third)
    everyones = link("libevery.so.2", "-shared", "-Wl,-soname,libevery.so.2")
    loader = "-Wl,--dynamic-linker=/lib64/ld-test.so.1"
    program = link("program", loader, "-Wl,-rpath,$ORIGIN/../lib/own", f"-Wl,-rpath-link,{here}", own, everyones)
    triplet = "usr/lib/x86_64-linux-gnu"
    mirror.add("loader", {"usr/lib64/ld-test.so.1": "../lib/real/ld.so", "usr/lib/real/ld.so": b"loader"})
    mirror.add("libs", {f"{triplet}/libevery.so.2": "libevery.so.2.0", f"{triplet}/libevery.so.2.0": everyones})
    mirror.add("third", {"lib/libthird.so.3": third})
    files: dict[str, Body] = {
        "usr/bin/program": program,
        "usr/lib/own/libown.so.1": own,
        "usr/bin/other": b"",
        "usr/share/doc/p/x": b"",
    }
    mirror.add("program", files, depends="loader, libs", modes={"usr/bin/program": 0o4755})
    return mirror


def made(packages: Sequence[str], *files: str) -> dict[str, Entry]:
    return {entry.path: entry for entry in userland.entries(X86_64, packages, files, soon())}


def paths(packages: Sequence[str], *files: str) -> set[str]:
    """What is in it beside directories and the links that are always there."""
    chosen = made(packages, *files)
    assert {chosen[name].body for name in ("bin", "lib", "lib64", "sbin")} == {
        b"usr/bin", b"usr/lib", b"usr/lib64", b"usr/sbin"
    }  # fmt: skip
    return {path for path, entry in chosen.items() if not stat.S_ISDIR(entry.mode) and "/" in path}


def test_what_a_program_needs_is_there(linked: Mirror) -> None:
    del linked
    triplet = "usr/lib/x86_64-linux-gnu"
    expected = {"usr/bin/program", "usr/lib64/ld-test.so.1", "usr/lib/real/ld.so", "usr/lib/own/libown.so.1"}
    expected |= {f"{triplet}/libevery.so.2", f"{triplet}/libevery.so.2.0", "usr/lib/libthird.so.3"}
    assert paths(["program", "third"], "bin/prog*") == expected
    entry = made(["program", "third"], "bin/prog*")["usr/bin/program"]
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (stat.S_IFREG | 0o4755, 0, 0, 0)


def test_a_library_that_nobody_has(linked: Mirror) -> None:
    del linked
    with pytest.raises(HostError, match=r"/usr/lib/own/libown\.so\.1 is linked with libthird\.so\.3, and no package"):
        made(["program"], "usr/bin/program")


def test_a_loader_that_nobody_has(linked: Mirror) -> None:
    linked.add("loader", {"usr/lib/real/ld.so": b"loader"}, version="2")
    with pytest.raises(HostError, match=r"/usr/bin/program is linked with /lib64/ld-test\.so\.1, and no package"):
        made(["program", "third"], "usr/bin/program")


def test_links_and_interpreters(mirror: Mirror) -> None:
    files: dict[str, Body] = {
        "usr/bin/script": b"#!/bin/sh -e\nexit\n",
        "usr/bin/strange": b"#!/opt/none\n",
        "usr/bin/empty": b"#!",
        "usr/bin/relative": "../lib/dir/end",
        "usr/bin/absolute": "/etc/alternatives/it",
        "etc/alternatives/it": "/usr/bin/script",
        "usr/lib/dir": "elsewhere",
        "usr/lib/elsewhere/end": b"",
        "etc/null": "/dev/null",
        "etc/loop": "loop",
    }
    mirror.add("links", files, arch="all")
    mirror.add("shell", {"usr/bin/sh": "dash", "usr/bin/dash": b"dash"})
    shell = {"usr/bin/sh", "usr/bin/dash"}
    both = ["links", "shell"]
    assert paths(both, "usr/bin/script") == {"usr/bin/script", *shell}
    assert paths(["links"], "usr/bin/script") == {"usr/bin/script"}
    assert paths(both, "usr/bin/strange", "usr/bin/empty") == {"usr/bin/strange", "usr/bin/empty"}
    assert paths(both, "usr/bin/relative") == {"usr/bin/relative", "usr/lib/dir", "usr/lib/elsewhere/end"}
    assert paths(both, "usr/bin/abs*") == {"usr/bin/absolute", "etc/alternatives/it", "usr/bin/script", *shell}
    assert paths(both, "etc/null", "etc/loop") == {"etc/null", "etc/loop"}
    assert made(both, "etc/null")["etc/null"].body == b"/dev/null"


def test_globs(mirror: Mirror) -> None:
    names = ("usr/lib/a/b", "usr/lib/a/c/d", "usr/lib/ab", "usr/share/doc/x/y", "usr/share/man/m", "usr/share/keep")
    mirror.add("some", dict.fromkeys(names, b""))
    assert paths(["some"], "usr/lib/*") == {"usr/lib/ab"}
    assert paths(["some"], "usr/lib/a/**") == {"usr/lib/a/b", "usr/lib/a/c/d"}
    assert paths(["some"], "/lib/a?") == {"usr/lib/ab"}
    assert paths(["some"], "usr/share/**") == {"usr/share/keep"}
    assert paths(["some"], "usr/share/doc/**", "usr/share/keep") == {"usr/share/doc/x/y", "usr/share/keep"}
    assert userland.entries(X86_64, ["some"], [], soon()) == []


def test_a_glob_that_nothing_fits(mirror: Mirror) -> None:
    mirror.add("one", {"usr/bin/one": b""}, depends="two")
    mirror.add("two", {"usr/bin/two": b""})
    with pytest.raises(RequestError, match=r"no file of Debian's one for x86_64 fits usr/bin/thr\*") as caught:
        made(["one"], "usr/bin/two", "usr/bin/thr*")
    assert caught.value.hint


def test_a_package_that_debian_does_not_have(mirror: Mirror) -> None:
    mirror.add("there.is", {"usr/bin/one": b""})
    # Taken as a pattern, the last would fit.
    for name in ("none-such", "there.i"):
        with pytest.raises(HostError, match=f"Debian's {name}, there.is for x86_64") as caught:
            made(["there.is", name], "usr/bin/one")
        assert caught.value.cause == f"Unable to locate package {name}"
        assert caught.value.log
        assert caught.value.log.is_file()


def test_a_package_that_cannot_be_installed(mirror: Mirror) -> None:
    mirror.add("broken", {"usr/bin/one": b""}, depends="none-such")
    with pytest.raises(HostError, match="Debian's broken for x86_64 could not be fetched") as caught:
        made(["broken"], "usr/bin/one")
    assert "broken packages" in caught.value.cause


@pytest.mark.parametrize("name", ["", "-y", "Upper", "a/../b", "one=2", "one/sid", "one two"])
def test_what_is_no_name(mirror: Mirror, name: str) -> None:
    del mirror
    with pytest.raises(RequestError, match="is not the name of a Debian package"):
        made([name], "x")


def test_no_network(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.add("one", {"usr/bin/one": b""})
    made(["one"], "usr/bin/one")
    shutil.rmtree(cache.root())
    monkeypatch.setattr(apt.Apt, "mirror", lambda *_: "http://127.0.0.1:1/debian")
    with pytest.raises(HostError, match="Debian's one for x86_64 could not be fetched") as caught:
        made(["one"], "usr/bin/one")
    assert "127.0.0.1" in caught.value.cause
    assert "check the network" in caught.value.hint


def test_what_is_there_stays_and_needs_nobody(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.add("one", {"usr/bin/one": b"old"}, depends="both", version="1:1.0+x~1")
    mirror.add("two", {"usr/bin/two": b"two"}, depends="both")
    mirror.add("both", {"usr/bin/both": b"both"})
    before = userland.archive(X86_64, ["one"], ["usr/bin/one"], soon()).read_bytes()
    mirror.add("one", {"usr/bin/one": b"new"}, depends="both", version="1:2")
    monkeypatch.setenv("PATH", "/nowhere")
    assert made(["one"], "usr/bin/*")["usr/bin/one"].body == b"old"  # another choice of files
    shutil.rmtree(cache.root() / "closures")
    assert userland.archive(X86_64, ["one"], ["usr/bin/one"], soon()).read_bytes() == before


def test_a_mirror_that_has_moved_on(mirror: Mirror) -> None:
    mirror.add("one", {"usr/bin/one": b"one"})
    mirror.add("two", {"usr/bin/two": b"old"})
    made(["one"], "usr/bin/one")
    mirror.add("two", {"usr/bin/two": b"new"}, version="2")
    assert made(["two"], "usr/bin/two")["usr/bin/two"].body == b"new"
    names = sorted(path.name for path in (cache.root() / "packages/amd64").iterdir())
    assert names == ["one_1", "two_2"]


def test_packages_are_shared(mirror: Mirror) -> None:
    mirror.add("one", {"usr/bin/one": b""}, depends="both", version="1:1.0+x~1")
    mirror.add("two", {"usr/bin/two": b""}, depends="both")
    mirror.add("both", {}, arch="all")
    made(["one"], "usr/bin/one")
    place = cache.root() / "packages/amd64"
    before = (place / "both_1").stat().st_ino
    made(["two"], "usr/bin/two")
    assert sorted(path.name for path in place.iterdir()) == ["both_1", "one_1:1.0+x~1", "two_1"]
    assert (place / "both_1").stat().st_ino == before
    assert userland.owners(X86_64, "/bin/one") == userland.owners(X86_64, "/usr/bin/one") == ["one"]
    assert userland.owners(X86_64, "/usr/bin/three") == userland.owners(ARM64, "/usr/bin/one") == []


def test_the_same_bytes_for_the_same_files(linked: Mirror) -> None:
    del linked
    first = userland.archive(X86_64, ["program", "third"], ["usr/bin/*"], soon())
    before = first.read_bytes()
    first.unlink()
    again = userland.archive(X86_64, ["third", "program", "third"], ["usr/bin/*"], soon())
    assert (again, again.read_bytes()) == (first, before)
    assert before.startswith(b"070701")
    assert userland.archive(X86_64, ["program", "third"], ["usr/bin/program"], soon()) != first


def test_another_architecture(mirror: Mirror) -> None:
    mirror.add("one", {"usr/bin/one": b""})
    with pytest.raises(HostError, match="Debian's one for arm64 could not be fetched"):
        userland.entries(ARM64, ["one"], ["usr/bin/one"], soon())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk to be filled")
def test_a_full_disk(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full when apt is to fetch the package, and when it is there and to be unpacked."""
    mirror.add("big", {"usr/bin/big": NOISE, "usr/bin/zeroes": bytes(16 << 20)})
    monkeypatch.setattr(apt, "LISTS", 1 << 20)
    root = cache.root()
    root.mkdir()
    for size in (3, 12):
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(root)]
        if (tried := subprocess.run(mounting, check=False, capture_output=True, text=True, timeout=60)).returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {tried.stderr.strip()}")
        try:
            with pytest.raises(HostError, match="cannot write to the cache below") as caught:
                made(["big"], "usr/bin/big")
            assert "No space left on device" in caught.value.cause
            assert not (root / "packages").exists()
            assert list((root / "tmp").iterdir()) == []
        finally:
            subprocess.run(["umount", root], check=True, timeout=60)

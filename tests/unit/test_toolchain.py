# SPDX-License-Identifier: GPL-2.0-only
"""The compilers of this host, and some that are shell scripts: which is chosen, and what is said of a bad one."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import doctor, packages, process, toolchain
from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

NATIVE = next((arch for arch in ARCHES if arch.qemu == platform.machine()), X86_64)
OTHER = next(arch for arch in ARCHES if arch is not NATIVE)
GCC = "gcc (GCC) 12.2.0"


class Programs:
    """A directory that is all of $PATH, with shell scripts in the place of compilers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("setpriv", "sh"):
            (path / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name} on this host"))

    def add(self, name: str, says: str = "", target: str = "") -> None:
        """The program ``name``: its --version is ``says``, its -dumpmachine ``target``."""
        script = f"#!/bin/sh\ncase $* in *-dumpmachine*) echo {target!r};; *) echo {says!r};; esac\n"
        (self.path / name).write_text(script)
        (self.path / name).chmod(0o755)

    def gcc(self, arch: Arch, prefix: str = "", says: str = GCC) -> None:
        """A gcc for ``arch`` with its binutils."""
        self.add(f"{prefix}gcc", says, f"{arch.qemu}-linux-gnu")
        for tool in toolchain.TOOLS["gcc"][1:]:
            self.add(f"{prefix}{tool}", "GNU ld (GNU Binutils) 2.40")

    def llvm(self, suffix: str = "", version: str = "19.1.7") -> None:
        """A clang with all that belongs to it."""
        for tool in toolchain.TOOLS["clang"]:
            self.add(f"{tool}{suffix}", f"clang version {version} (x)" if tool == "clang" else f"LLD {version}")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    """A host without any compiler."""
    path = tmp_path / "bin"
    path.mkdir()
    programs = Programs(path)
    monkeypatch.setenv("PATH", str(path))
    for name in ("LLVM", "CROSS_COMPILE"):
        monkeypatch.delenv(name, raising=False)
    toolchain.llvm_packages.cache_clear()
    yield programs
    toolchain.llvm_packages.cache_clear()


def choose(arch: Arch, **environ: str) -> toolchain.Toolchain:
    return toolchain.choose(arch, Deadline.after(60), environ)


def choose_for_several(arch: Arch, prefix: str) -> toolchain.Toolchain:
    return toolchain.choose(arch, Deadline.after(60), {"CROSS_COMPILE": prefix}, several=True)


def refusal(kind: type[Exception], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_the_compilers_of_this_host_compile_and_link_for_their_target(arch: Arch, tmp_path: Path) -> None:
    from elftools.elf.elffile import ELFFile

    chosen = choose(arch)
    source = tmp_path / "tiny.c"
    source.write_text("void _start(void) { for (;;) ; }\n")
    flags: list[str | Path] = ["-ffreestanding", "-nostdlib", "-static", source, "-o", tmp_path / "tiny"]
    done = process.run([*chosen.cc, *flags], Deadline.after(60), merge=True)
    assert done.returncode == 0, done.stdout
    with (tmp_path / "tiny").open("rb") as stream:
        assert ELFFile(stream).header["e_machine"] == arch.elf_machine
    assert chosen.make["ARCH"] == arch.name
    assert all(chosen.numbers), chosen.version


def test_native_gcc_comes_before_a_cross_gcc_and_that_before_clang(host: Programs) -> None:
    host.llvm("-9", "9.0.1")
    host.llvm("-19")
    assert choose(OTHER).make == {"ARCH": OTHER.name, "LLVM": "-19"}
    assert choose(OTHER).cc[:3] == ("clang-19", f"--target={OTHER.cross.rstrip('-')}", "--ld-path=ld.lld-19")
    host.llvm()
    assert choose(OTHER).make == {"ARCH": OTHER.name, "LLVM": "1"}
    host.gcc(OTHER, OTHER.cross)
    assert choose(OTHER).kind == "clang"  # what runs on the host has no compiler
    host.gcc(NATIVE)
    assert choose(OTHER).make == {"ARCH": OTHER.name, "CROSS_COMPILE": OTHER.cross}
    native = choose(NATIVE)
    # Empty, and not absent: make would take the one of the environment.
    assert (native.cc, native.make) == (("gcc",), {"ARCH": NATIVE.name, "CROSS_COMPILE": ""})
    assert native.version == "gcc (GCC) 12.2.0\nGNU ld (GNU Binutils) 2.40"
    assert native.numbers == ((12, 2, 0), (2, 40))


def test_an_llvm_that_lacks_a_program_is_passed_over(host: Programs) -> None:
    host.llvm("-20", "20.1.0")
    host.llvm("-19")
    assert choose(ARM64).make["LLVM"] == "-20"
    (host.path / "llvm-objcopy-20").unlink()
    assert choose(ARM64).make["LLVM"] == "-19"
    assert toolchain.compiler(ARM64, Deadline.after(60))[0] == "clang-20"  # enough for a guest's program


def test_without_any_compiler_the_package_is_named(host: Programs) -> None:
    del host
    text = refusal(HostError, lambda: choose(OTHER))
    assert f"no compiler for a kernel of {OTHER.name}" in text
    assert f"apt-get install --no-install-recommends gcc {OTHER.cross_package}" in text


def test_environment_is_honoured(host: Programs) -> None:
    host.gcc(NATIVE)
    host.gcc(OTHER, OTHER.cross)
    host.gcc(OTHER, "mine-")
    host.llvm()
    host.llvm("-17", "17.0.6")
    assert choose(OTHER, CROSS_COMPILE="mine-").make["CROSS_COMPILE"] == "mine-"
    assert choose(OTHER, CROSS_COMPILE="").make["CROSS_COMPILE"] == OTHER.cross
    assert choose(OTHER, CROSS_COMPILE=f"{host.path}/mine-").cc == (f"{host.path}/mine-gcc",)
    assert choose(OTHER, CROSS_COMPILE="mine-", LLVM="1").make == {"ARCH": OTHER.name, "LLVM": "1"}
    assert choose(NATIVE, LLVM="-17").numbers == ((17, 0, 6), (17, 0, 6))
    there = choose(NATIVE, LLVM=f"{host.path}/")
    assert (there.cc[0], there.make["LLVM"]) == (f"{host.path}/clang", f"{host.path}/")


def test_cross_compile_before_ccache(host: Programs) -> None:
    host.gcc(NATIVE)
    host.gcc(OTHER, "mine-")
    (host.path / "ccache").write_text('#!/bin/sh\nexec "$@"\n')
    (host.path / "ccache").chmod(0o755)
    chosen = choose(OTHER, CROSS_COMPILE="ccache mine-")
    assert (chosen.cc, chosen.numbers[0]) == (("ccache", "mine-gcc"), (12, 2, 0))


def test_cross_compile_for_another_architecture(host: Programs) -> None:
    host.gcc(NATIVE)
    host.gcc(OTHER, OTHER.cross)
    text = refusal(RequestError, lambda: choose(NATIVE, CROSS_COMPILE=OTHER.cross))
    assert f"the compiler {OTHER.cross}gcc is for {OTHER.qemu}-linux-gnu, not for {NATIVE.name}" in text
    assert choose_for_several(OTHER, OTHER.cross).cc == (f"{OTHER.cross}gcc",)
    assert choose_for_several(NATIVE, OTHER.cross).cc == ("gcc",)
    host.gcc(NATIVE, "s390x-linux-gnu-")
    host.add("s390x-linux-gnu-gcc", GCC, "s390x-linux-gnu")
    text = refusal(RequestError, lambda: choose_for_several(NATIVE, "s390x-linux-gnu-"))
    assert f"is for s390x-linux-gnu, not for {NATIVE.name}" in text


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"CROSS_COMPILE": ARM64.cross},
            (f"{ARM64.cross}gcc is not installed", ARM64.cross_package, "unset CROSS_COMPILE"),
        ),
        ({"CROSS_COMPILE": "/no/such/"}, ("/no/such/gcc is not installed", f"next:  CROSS_COMPILE={ARM64.cross}, or")),
        ({"LLVM": "-99"}, ("clang-99, ld.lld-99, ", "not installed", "recommends clang-99 lld-99 llvm-99")),
        ({"LLVM": "1"}, ("clang, ld.lld, ", "recommends clang lld llvm")),
        ({"LLVM": "/no/such/"}, ("/no/such/clang, ", "see what is in /no/such/")),
        ({"LLVM": "yes"}, ("LLVM=yes means nothing", "Documentation/kbuild/llvm.rst")),
    ],
    ids=lambda value: "=".join(*value.items()) if isinstance(value, dict) else "",
)
def test_what_is_asked_for_and_not_there(host: Programs, environ: dict[str, str], words: tuple[str, ...]) -> None:
    host.gcc(NATIVE)
    text = refusal(RequestError, lambda: choose(ARM64, **environ))
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", (12, 2, 0)),
        ("aarch64-none-linux-gnu-gcc (Arm GNU Toolchain 13.2.rel1 (Build arm-13.7)) 13.2.1 20231009", (13, 2, 1)),
        ("arm-gcc-8.3 (GCC) 8.3.0", (8, 3, 0)),
        ("GNU ld version 2.35.2-24.fc33", (2, 35, 2)),
        ("Debian clang version 19.1.7 (3~deb12u1)", (19, 1, 7)),
        ("clang version 20.0.0git (https://example.org/llvm 1.2)", (20, 0, 0)),
        ("Debian LLD 14.0.6 (compatible with GNU linkers)", (14, 0, 6)),
    ],
)
def test_versions_are_read(host: Programs, line: str, number: tuple[int, ...]) -> None:
    host.gcc(NATIVE, says=line)
    assert choose(NATIVE).numbers[0] == number


#: As the kernel's own, which knows what it is asked for by SRCARCH: x86, arm64.
MINIMA = """#!/bin/sh
case "$1 $SRCARCH" in
"gcc x86") echo 8.1.0;; "gcc arm64") echo 13.1;; binutils*) echo 2.30.0;; llvm*) echo 17.0.1;; *) exit 1;;
esac
"""


def test_too_old_for_the_tree(host: Programs, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / toolchain.SCRIPT
    host.gcc(NATIVE)
    host.gcc(ARM64, "arm-")
    host.gcc(X86_64, "x86-")
    host.llvm(version="14.0.6")
    arm, x86 = choose(ARM64, CROSS_COMPILE="arm-"), choose(X86_64, CROSS_COMPILE="x86-")
    deadline = Deadline.after(60)
    toolchain.check(arm, tmp_path, deadline)  # a tree that does not say
    script.write_text(MINIMA)  # not executable, as on a file system without
    minima = [toolchain.minimum(tmp_path, "gcc", arch, deadline) for arch in (X86_64, ARM64)]
    assert minima == [(8, 1, 0), (13, 1)]
    toolchain.check(x86, tmp_path, deadline)
    text = refusal(HostError, lambda: toolchain.check(arm, tmp_path, deadline))
    assert "gcc 12.2.0 is too old for this tree, which wants 13.1" in text
    assert f"{script} gcc" in text
    text = refusal(HostError, lambda: toolchain.check(choose(ARM64, LLVM="1"), tmp_path, deadline))
    assert "llvm 14.0.6 is too old for this tree, which wants 17.0.1" in text
    host.add("x86-ld", "GNU ld (GNU Binutils) 2.28")
    text = refusal(HostError, lambda: toolchain.check(choose(X86_64, CROSS_COMPILE="x86-"), tmp_path, deadline))
    assert "binutils 2.28 is too old for this tree, which wants 2.30.0" in text
    script.write_text("echo 99.0; exit 1\n")
    toolchain.check(arm, tmp_path, deadline)


def test_newest_llvm_of_debian_is_named(host: Programs) -> None:
    names = "clang-14 lld-14 llvm-14 clang-19 lld-19 llvm-19 clang-20 clang-19-doc"
    host.add("apt-cache", names)
    assert toolchain.llvm_packages() == ["clang-19", "lld-19", "llvm-19"]
    toolchain.llvm_packages.cache_clear()
    (host.path / "apt-cache").unlink()
    assert toolchain.llvm_packages() == ["clang", "lld", "llvm"]


def test_environment_does_not_steer_the_compiler_of_a_guests_program(
    host: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.gcc(NATIVE)
    monkeypatch.setenv("CROSS_COMPILE", "no-such-")
    monkeypatch.setenv("LLVM", "yes")
    assert toolchain.compiler(NATIVE, Deadline.after(60)) == ("gcc",)


def test_gcc_without_a_prefix_is_a_compiler_for_its_own_machine_only(host: Programs) -> None:
    deadline = Deadline.after(60)
    host.gcc(OTHER)
    assert toolchain.compiles(OTHER, deadline)
    assert not toolchain.compiles(NATIVE, deadline)
    host.add("clang-19")
    host.add("ld.lld-19")
    assert toolchain.compiles(NATIVE, deadline)  # enough for a guest's program
    assert not toolchain.compiles(NATIVE, deadline, whole=True)


def test_what_a_build_needs_is_missing_only_for_a_build(host: Programs) -> None:
    host.gcc(NATIVE)
    host.gcc(OTHER, OTHER.cross)
    (host.path / "gcc").write_text((host.path / "gcc").read_text() + "case $* in *include*) exit 1;; esac\n")
    for arch in ARCHES:
        host.add(f"qemu-system-{arch.qemu}")
    assert packages.lacks(venv=False) == {}
    lacks = packages.lacks(venv=False, build=True)
    assert lacks == packages.BUILD | packages.HEADERS
    for name in packages.BUILD:
        host.add(name)
    host.gcc(NATIVE)
    assert packages.lacks(venv=False, build=True) == {}
    (host.path / f"{OTHER.cross}ld").unlink()
    assert set(packages.lacks(venv=False, build=True)) == {"gcc", f"{OTHER.cross}gcc"}


def lines(findings: list[doctor.Finding]) -> dict[str, tuple[str, str, str]]:
    return {finding.what: (finding.state, finding.found, finding.mend) for finding in findings}


def test_doctor_tells_each_pair(host: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    host.gcc(NATIVE)
    found = lines(list(doctor.compilers()))
    assert found[f"gcc for {NATIVE.name}"] == ("ok", f"{GCC}: make ARCH={NATIVE.name}", "")
    clang = ("no", "not installed", f"{toolchain.INSTALL} clang lld llvm")
    assert [found[f"clang for {arch.name}"] for arch in ARCHES] == [clang, clang]
    cross = (f"gcc for {OTHER.name}", "not installed", f"{toolchain.INSTALL} {OTHER.cross_package}")
    assert found[cross[0]] == ("LACKS", *cross[1:])

    host.llvm("-19")
    found = lines(list(doctor.compilers()))
    assert found[cross[0]] == ("no", *cross[1:])
    version = "clang version 19.1.7 (x)"
    assert found[f"clang for {OTHER.name}"] == ("ok", f"{version}: make ARCH={OTHER.name} LLVM=-19", "")

    host.gcc(NATIVE, OTHER.cross)
    (host.path / "ld.lld-19").unlink()
    broken = "case $* in *tiny*) echo 'tiny.c: fatal error: no'; exit 1;; esac\n"
    (host.path / "gcc").write_text(f"#!/bin/sh\n{broken}echo {NATIVE.qemu}-linux-gnu\n")
    monkeypatch.setenv("LLVM", "-19")
    found = lines(list(doctor.compilers()))
    state, why, _ = found[f"gcc for {NATIVE.name}"]
    assert (state, why) == ("LACKS", "gcc does not work: tiny.c: fatal error: no")
    assert found[cross[0]][1] == f"{OTHER.cross}gcc is for {NATIVE.qemu}-linux-gnu"
    state, why, mend = found[f"builds for {OTHER.name}"]
    assert (state, why, "lld-19" in mend) == ("LACKS", "ld.lld-19: not installed (LLVM=-19)", True)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_doctor_finds_that_the_compilers_of_this_host_work(arch: Arch) -> None:
    found = lines(list(doctor.compilers()))
    assert "ok" in {found[f"{kind} for {arch.name}"][0] for kind in toolchain.TOOLS}

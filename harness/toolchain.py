# SPDX-License-Identifier: GPL-2.0-only
"""Which compiler makes a kernel for an architecture, and what the kernel's make is told of it. Standard library only.

The variables mean what they mean to the kernel's Makefile: Documentation/kbuild/kbuild.rst and llvm.rst.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import process
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

#: What the kernel's Makefile calls of each kind, the compiler and the linker first.
TOOLS = {
    "gcc": ("gcc", "ld", "ar", "nm", "objcopy", "objdump", "readelf", "strip"),
    "clang": ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump", "llvm-readelf", "llvm-strip"),
}
#: What of them compiles and links one program: gcc knows where its own linker is.
LINKING = {"gcc": ("gcc",), "clang": ("clang", "ld.lld")}
#: The word that scripts/min-tool-version.sh of a kernel tree has for the version of each kind's compiler and linker.
MINIMA = {"gcc": ("gcc", "binutils"), "clang": ("llvm", "llvm")}
SCRIPT = "scripts/min-tool-version.sh"
#: Seconds that apt-cache may take: two, where it keeps nothing, as in a container.
APT_SECONDS = 60.0
INSTALL = "apt-get install --no-install-recommends"

Version = tuple[int, ...]


@dataclass(frozen=True)
class Programs:
    """The programs of one kind, for ``arch``, whose names differ by a prefix and a suffix only."""

    arch: Arch = field(hash=False)
    kind: str
    prefix: str = ""
    suffix: str = ""

    def name(self, tool: str) -> str:
        """What the program is called, as the kernel's Makefile puts it together."""
        return f"{self.prefix}{tool}{self.suffix}"

    @property
    def compiler(self) -> str:
        """The name of the compiler."""
        return self.name(TOOLS[self.kind][0])

    @property
    def linker(self) -> str:
        """The name of the linker."""
        return self.name(TOOLS[self.kind][1])

    @property
    def cc(self) -> tuple[str, ...]:
        """The command that compiles and links C for ``arch``."""
        words = tuple(self.compiler.split())  # CROSS_COMPILE="ccache aarch64-linux-gnu-" is known to work
        if self.kind == "gcc":
            return words
        target, linker = f"--target={self.arch.cross.rstrip('-')}", f"--ld-path={self.linker}"
        # Under -Werror a linker option where nothing is linked is an error, and so is -no-pie beside -static.
        return (*words, target, linker, "-Wno-unused-command-line-argument")

    @property
    def make(self) -> dict[str, str]:
        """The variables for make's command line. An empty one overrides what make would take from the environment."""
        chosen = {"CROSS_COMPILE": self.prefix} if self.kind == "gcc" else {"LLVM": self.prefix or self.suffix or "1"}
        return {"ARCH": self.arch.name} | chosen

    def missing(self, *, whole: bool = True) -> list[str]:
        """What this host lacks to build a kernel; if not ``whole``, to compile and link one program."""
        names = [self.name(tool) for tool in (TOOLS if whole else LINKING)[self.kind]]
        # What runs on the host is made by gcc, whatever CROSS_COMPILE says, or by the clang of LLVM.
        names += ["gcc"] if whole and self.kind == "gcc" and self.prefix else []
        return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    return shutil.which(name.rpartition(" ")[2]) is not None


@dataclass(frozen=True)
class Toolchain:
    """What compiles a kernel for ``arch``.

    ``kind`` is gcc or clang, ``cc`` the command that compiles and links C for ``arch``, ``make`` the variables for
    make's command line. ``version`` is the first line of ``--version`` of the compiler and of the linker: it belongs
    to the key of a build. ``numbers`` are the two as numbers, (12, 2, 0) and (2, 40); empty if there is none to see.
    """

    arch: Arch = field(hash=False)
    kind: str
    cc: tuple[str, ...]
    make: Mapping[str, str] = field(hash=False)
    version: str
    numbers: tuple[Version, Version]


def choose(
    arch: Arch, deadline: Deadline, environ: Mapping[str, str] = os.environ, *, several: bool = False
) -> Toolchain:
    """What the variables LLVM and CROSS_COMPILE of ``environ`` ask for, else what there is: gcc before clang.

    With ``several`` architectures to build for, a CROSS_COMPILE for another one of them is no contradiction.
    Programs are looked for in our own $PATH. Raises RequestError if what is asked for is not there or not for
    ``arch``, HostError if there is nothing.
    """
    programs = _asked(arch, deadline, environ, several=several) or next(found(arch, deadline), None)
    if programs is None:
        raise HostError(f"no compiler for a kernel of {arch.name}", hint=f"{INSTALL} {_packages(arch)}")
    return described(programs, deadline)


def _asked(arch: Arch, deadline: Deadline, environ: Mapping[str, str], *, several: bool) -> Programs | None:
    """What ``environ`` asks for; None if it leaves the choice to us."""
    if value := environ.get("LLVM", ""):
        return _llvm(arch, value)
    prefix = environ.get("CROSS_COMPILE", "")
    if not prefix:
        return None
    programs = Programs(arch, "gcc", prefix)
    if missing := programs.missing():
        known = next((other.cross_package for other in ARCHES if prefix == other.cross), "")
        mend = f"{INSTALL} {known}" if known else f"CROSS_COMPILE={arch.cross}"
        hint = f"{mend}, or unset CROSS_COMPILE: then one is chosen"
        raise RequestError(f"{missing[0]} is not installed", cause=f"CROSS_COMPILE={prefix}", hint=hint)
    named = target(programs, deadline)
    machine = named.partition("-")[0]
    if machine == arch.qemu:
        return programs
    if several and any(machine == other.qemu for other in ARCHES):
        return None
    raise RequestError(
        f"the compiler {programs.compiler} is for {named or 'no machine that it names'}, not for {arch.name}",
        cause=f"CROSS_COMPILE={prefix}",
        hint=f"CROSS_COMPILE={arch.cross}, or unset it: then one is chosen",
    )


def _llvm(arch: Arch, value: str) -> Programs:
    """The programs of LLVM=``value``: 1, a suffix that begins with a dash, or a directory that ends with a slash."""
    if value.endswith("/"):
        programs = Programs(arch, "clang", prefix=value)
    elif value.startswith("-"):
        programs = Programs(arch, "clang", suffix=value)
    elif value == "1":
        programs = Programs(arch, "clang")
    else:
        hint = "LLVM=1, LLVM=-19 (a suffix) or LLVM=/path/ (with the slash): Documentation/kbuild/llvm.rst"
        raise RequestError(f"LLVM={value} means nothing to a kernel's Makefile", hint=hint)
    if missing := programs.missing():
        names = " ".join(f"{name}{programs.suffix}" for name in ("clang", "lld", "llvm"))
        hint = f"see what is in {value}" if programs.prefix else f"{INSTALL} {names}"
        raise RequestError(f"{', '.join(missing)}: not installed", cause=f"LLVM={value}", hint=hint)
    return programs


def compiler(arch: Arch, deadline: Deadline) -> tuple[str, ...]:
    """The command that compiles and links a guest's program for ``arch``. Raises HostError naming a package.

    LLVM and CROSS_COMPILE are for the kernel: they are not asked, so that they cannot break a guest's program, which
    is kept whatever compiler made it.
    """
    if programs := next(found(arch, deadline, whole=False), None):
        return programs.cc
    raise HostError(
        f"no C compiler for {arch.name}, which the guest's agent needs", hint=f"{INSTALL} {_packages(arch)}"
    )


def compiles(arch: Arch, deadline: Deadline, *, whole: bool = False) -> bool:
    """Whether found() finds one. A cross gcc's name is believed if that will do: each start asks, and gcc is slow."""
    if not whole and _installed(f"{arch.cross}gcc"):
        return True
    return next(found(arch, deadline, whole=whole), None) is not None


def found(arch: Arch, deadline: Deadline, *, whole: bool = True) -> Iterator[Programs]:
    """What this host has for ``arch``, best first: see Programs.missing(). The environment is not asked."""
    for programs in (Programs(arch, "gcc"), Programs(arch, "gcc", prefix=arch.cross)):
        if not programs.missing(whole=whole) and target(programs, deadline).partition("-")[0] == arch.qemu:
            yield programs
    for suffix in ("", *_suffixes()):
        programs = Programs(arch, "clang", suffix=suffix)
        if not programs.missing(whole=whole):
            yield programs


def _suffixes() -> list[str]:
    """-19, -16: the versions in the names of the clangs there are, the newest first."""
    names = (path.name for place in os.get_exec_path() for path in Path(place).glob("clang-*"))
    numbers = {int(name.removeprefix("clang-")) for name in names if re.fullmatch(r"clang-\d+", name)}
    return [f"-{number}" for number in sorted(numbers, reverse=True)]


def described(programs: Programs, deadline: Deadline) -> Toolchain:
    """The toolchain that ``programs`` are, with their versions. Raises HostError."""
    lines = [_version_line(name, deadline) for name in (programs.compiler, programs.linker)]
    numbers = (_number(lines[0]), _number(lines[1]))
    return Toolchain(programs.arch, programs.kind, programs.cc, programs.make, "\n".join(lines), numbers)


def target(programs: Programs, deadline: Deadline) -> str:
    """What the compiler compiles for, as aarch64-linux-gnu; empty if it does not say."""
    return process.run([*programs.cc, "-dumpmachine"], deadline).stdout.strip()


def _version_line(name: str, deadline: Deadline) -> str:
    return process.run([*name.split(), "--version"], deadline).stdout.partition("\n")[0]


def _number(line: str) -> Version:
    """The version in a line as `gcc (Debian 12.2.0-14) 12.2.0`; what is in parentheses is somebody's package."""
    versions = re.findall(r"\d+(?:\.\d+)+", re.sub(r"\([^)]*\)", "", line))
    return _parsed(versions[-1]) if versions else ()


def _parsed(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


@functools.cache
def llvm_packages() -> list[str]:
    """Debian's packages of the newest LLVM there is for this host: the one without a number can be years older."""
    names: set[str] = set()
    if shutil.which("apt-cache"):
        names = set(process.run(["apt-cache", "pkgnames"], Deadline.after(APT_SECONDS)).stdout.split())
    numbers = [int(name[6:]) for name in names if re.fullmatch(r"clang-\d+", name)]
    whole = [n for n in numbers if {f"lld-{n}", f"llvm-{n}"} <= names]
    suffix = f"-{max(whole)}" if whole else ""
    return [f"{name}{suffix}" for name in ("clang", "lld", "llvm")]


def lacks(arch: Arch) -> dict[str, str]:
    """What a host without a compiler for ``arch`` is to be given, gcc and a cross gcc, each with Debian's package."""
    native = platform.machine() == arch.qemu
    wanted = {"gcc": "gcc"} if native else {"gcc": "gcc", f"{arch.cross}gcc": arch.cross_package}
    # If it is there and will not do, then of another make, or without binutils: the package mends that.
    return {name: package for name, package in wanted.items() if not _installed(name)} or wanted


def _packages(arch: Arch) -> str:
    return " ".join(lacks(arch).values())


def minimum(source: Path, tool: str, arch: Arch, deadline: Deadline) -> Version:
    """The oldest ``tool`` (gcc, llvm, binutils) that the tree ``source`` takes; empty if the tree does not say.

    Before 5.9 a tree had no such script, and each has only the tools of its day.
    """
    # As the Makefile sets it: the name of the directory below arch/.
    env = os.environ | {"ARCH": arch.name, "SRCARCH": Path(arch.image).parts[1]}
    done = process.run(["sh", source / SCRIPT, tool], deadline, env=env)
    text = done.stdout.strip()
    return _parsed(text) if done.returncode == 0 and re.fullmatch(r"\d+(\.\d+)*", text) else ()


def check(chosen: Toolchain, source: Path, deadline: Deadline) -> None:
    """Raise HostError if the tree ``source`` wants a newer compiler or linker than ``chosen``."""
    for tool, number, line in zip(MINIMA[chosen.kind], chosen.numbers, chosen.version.splitlines(), strict=True):
        wanted = minimum(source, tool, chosen.arch, deadline)
        if number and number < wanted:
            llvm = llvm_packages()
            raise HostError(
                f"{tool} {_dotted(number)} is too old for this tree, which wants {_dotted(wanted)}",
                cause=f"{source / SCRIPT} {tool}, and {line}",
                hint=f"{INSTALL} {' '.join(llvm)}, and set LLVM={llvm[0].removeprefix('clang') or '1'}",
            )

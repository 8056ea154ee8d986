# SPDX-License-Identifier: GPL-2.0-only
"""What this host can do, and the command that mends each lack.

Standard library only: it helps before anything is set up.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from harness import accel, cache, packages, process, toolchain
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline
from harness.errors import HarnessError, HostError

#: Bytes that the kernels and snapshots of a default run take.
ROOM = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``mend`` is the command or step, where something is wrong or absent."""

    what: str
    found: str
    mend: str = ""
    needed: bool = True

    @property
    def state(self) -> str:
        """A word for it: only LACKS is bad."""
        if not self.mend:
            return "ok"
        return "LACKS" if self.needed else "no"

    def __str__(self) -> str:
        line = f"{self.state:6}{self.what:22}{self.found}"
        return f"{line}\n      {'':22}-> {self.mend}" if self.mend else line


def findings() -> Iterator[Finding]:
    """Everything that is looked at."""
    yield Finding("python", f"{platform.python_version()}")
    missing = packages.lacks(venv=False, build=True)
    for arch in ARCHES:
        yield _qemu(arch)
        yield _accel(arch)
    yield from compilers()
    for name, package in (packages.BUILD | packages.HEADERS).items():
        mend = f"{toolchain.INSTALL} {package}" if name in missing else ""
        yield Finding(name, "not installed" if mend else shutil.which(name) or "there", mend)
    ccache = shutil.which("ccache")
    mend = "" if ccache else f"{toolchain.INSTALL} ccache"
    yield Finding("ccache", ccache or "not installed: builds go without", mend, needed=False)
    for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("setpriv", "util-linux")):
        path = shutil.which(program)
        yield Finding(program, path or "not installed", "" if path else f"install {package}")
    cached = cache.root()
    exists = next(path for path in (cached, *cached.parents) if path.exists())
    free = shutil.disk_usage(exists).free
    mend = "" if free > ROOM else f"make room, or set {cache.VARIABLE} to another directory"
    yield Finding("cache", f"{cached}, {free >> 20} MiB free", mend)
    if missing:
        names = " ".join(sorted(set(missing.values())))
        yield Finding("all at once", "", f"apt-get install -y --no-install-recommends {names}")


def _qemu(arch: Arch) -> Finding:
    name = f"qemu-system-{arch.qemu}"
    if shutil.which(name) is None:
        return Finding(name, "not installed", f"apt-get install --no-install-recommends {arch.qemu_package}")
    version = process.run([name, "--version"], Deadline.after(20)).stdout.splitlines()
    return Finding(name, version[0].removeprefix("QEMU emulator version ") if version else "says no version")


def compilers() -> Iterator[Finding]:
    """Each kind of compiler for each architecture, tried; then what the environment's variables lead to."""
    deadline = Deadline.after(60)
    asked = " ".join(f"{name}={os.environ[name]}" for name in ("LLVM", "CROSS_COMPILE") if os.environ.get(name))
    for arch in ARCHES:
        tried = [_compiler(arch, kind, deadline) for kind in toolchain.TOOLS]
        if all(finding.mend for finding in tried):  # one of them is enough, and gcc is the one that is installed
            tried[0] = replace(tried[0], needed=True)
        yield from tried
        if asked:
            try:
                chosen = toolchain.choose(arch, deadline, several=True)
                yield Finding(f"builds for {arch.name}", f"{_make(chosen.make)}, by {asked}")
            except HarnessError as error:
                yield Finding(f"builds for {arch.name}", f"{error.what} ({asked})", error.hint or error.cause)


def _compiler(arch: Arch, kind: str, deadline: Deadline) -> Finding:
    what = f"{kind} for {arch.name}"
    mine = (programs for programs in toolchain.found(arch, deadline) if programs.kind == kind)
    programs = next(mine, None)
    try:
        if why := _trouble(programs, deadline) if programs else _absent(arch, kind, deadline):
            return Finding(what, why, _mend(arch, kind), needed=False)
    except HostError as error:  # no room to try it in
        return Finding(what, error.what, error.hint or error.cause, needed=False)
    assert programs
    chosen = toolchain.described(programs, deadline)
    return Finding(what, f"{chosen.version.splitlines()[0]}: {_make(chosen.make)}")


def _trouble(programs: toolchain.Programs, deadline: Deadline) -> str:
    """Why ``programs`` cannot compile and link the smallest program for their architecture; empty if they can."""
    with cache.scratch("toolchain") as where, cache.writing(where):
        (where / "tiny.c").write_text("void _start(void) { for (;;) ; }\n", encoding="ascii")
        argv = [*programs.cc, "-ffreestanding", "-nostdlib", "-static", "tiny.c", "-o", "tiny"]
        done = process.run(argv, deadline, cwd=where, merge=True)
    lines = done.stdout.splitlines()
    first = next((line for line in lines if "error" in line), lines[0] if lines else f"status {done.returncode}")
    return f"{programs.compiler} does not work: {first}" if done.returncode else ""


def _absent(arch: Arch, kind: str, deadline: Deadline) -> str:
    """Why there is none of that ``kind`` for ``arch``."""
    native = kind == "clang" or platform.machine() == arch.qemu
    programs = toolchain.Programs(arch, kind, prefix="" if native else arch.cross)
    if missing := programs.missing():
        return "not installed" if programs.compiler in missing else f"not installed: {', '.join(missing)}"
    return f"{programs.compiler} is for {toolchain.target(programs, deadline) or 'no machine that it names'}"


def _mend(arch: Arch, kind: str) -> str:
    """The command that installs a compiler of that ``kind`` for kernels of ``arch``."""
    names = toolchain.llvm_packages() if kind == "clang" else toolchain.lacks(arch).values()
    return f"{toolchain.INSTALL} {' '.join(names)}"


def _make(variables: Mapping[str, str]) -> str:
    return " ".join(["make", *(f"{name}={value}" for name, value in variables.items() if value)])


def _accel(arch: Arch) -> Finding:
    chosen = accel.known(arch)
    what = f"accelerator, {arch.name}"
    if chosen is None:
        return Finding(what, "not known yet: the next run tries KVM with a guest, and falls back to tcg")
    return Finding(what, f"{chosen.name}: {chosen.why}")


def report() -> tuple[str, bool]:
    """The whole text, and whether nothing is lacking."""
    found = list(findings())
    return "\n".join(str(finding) for finding in found), not any(finding.state == "LACKS" for finding in found)

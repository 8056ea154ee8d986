# SPDX-License-Identifier: GPL-2.0-only
"""The programs of the host that the harness needs, and Debian's packages that have them. Standard library only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness import cache, process, toolchain
from harness.arch import ARCHES
from harness.deadline import Deadline
from harness.errors import HostError

#: A line of a log that tells what went wrong, unlike pip's "subprocess-exited-with-error".
ERROR = re.compile(r"connection broken by|^(E|ERROR|error):(?! subprocess-exited)|^\w*(Error|Exception)\b")
#: Seconds to ask the compilers what they are for; each takes some milliseconds.
LOOK_SECONDS = 20.0
#: What getting and building a kernel calls besides compilers, of what a small Debian has not. `tinyconfig` of 7.3
#: packs its bzImage by xz. Perl, python3, openssl, cpio, rsync and pkg-config were taken away and not missed.
BUILD = {"make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "git": "git"}
#: What programs are compiled with that a build runs: Debian's gcc comes without a libc's headers, objtool reads ELF,
#: and what goes into a kernel's keyring goes through certs/extract-cert.
HEADERS = {"stdio.h": "libc6-dev", "libelf.h": "libelf-dev", "openssl/x509.h": "libssl-dev"}
#: Seconds that apt may take on a slow line.
APT_SECONDS = 1800.0
#: Seconds for apt to come to a safe end once it is asked to stop.
APT_GRACE = 60.0


def say(line: str) -> None:
    """One plain line for each thing that is done to the host."""
    print(line, file=sys.stderr, flush=True)


def lacks(*, venv: bool, build: bool = False, boot: bool = True) -> dict[str, str]:
    """The programs this host lacks, each with Debian's package that has it.

    They are what boots both architectures and compiles their agent, without ``boot`` just what reads and patches trees;
    with ``venv``, what makes a venv too, and with ``build``, what a kernel is built with.
    """
    programs = {f"qemu-system-{arch.qemu}": arch.qemu_package for arch in ARCHES} if boot else {"git": "git"}
    found = {program: package for program, package in programs.items() if shutil.which(program) is None}
    deadline = Deadline.after(LOOK_SECONDS)
    for arch in ARCHES:
        if boot and not toolchain.compiles(arch, deadline, whole=build):
            found |= toolchain.lacks(arch)
    if build:
        found |= builders(deadline)
    # Debian's python3 comes with venv, but without the ensurepip that fills one.
    if venv and importlib.util.find_spec("ensurepip") is None:
        found["python3 -m ensurepip"] = "python3-venv"
    return found


def builders(deadline: Deadline) -> dict[str, str]:
    """What this host lacks to build a kernel with any compiler, each with Debian's package."""
    found = {program: package for program, package in BUILD.items() if shutil.which(program) is None}
    return found | {header: package for header, package in HEADERS.items() if not has_header(header, deadline)}


def has_header(name: str, deadline: Deadline) -> bool:
    """Whether the host's compiler finds ``name``, so that programs that run here can be made with it."""
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            argv = [compiler, "-fsyntax-only", "-include", name, "-x", "c", os.devnull]
            return process.run(argv, deadline).returncode == 0
    return False


def provide(missing: Mapping[str, str], *, allowed: bool) -> None:
    """Install what is ``missing``. Raises HostError with the command, if not ``allowed`` or neither root nor sudo."""
    if not missing:
        return
    packages = sorted(set(missing.values()))
    what = f"programs that this needs are missing: {', '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise HostError(what, hint="install them with the package manager of this system (there is no apt-get)")
    root = os.geteuid() == 0
    install = ["install", "-y", "--no-install-recommends", *packages]
    command = process.pasteable([*([] if root else ["sudo"]), "apt-get", *install])
    if not allowed or not (root or shutil.which("sudo")):
        raise HostError(what, hint=command)
    say(f"installing Debian packages: {' '.join(packages)}")
    if apt(install)[0] != 0:
        # Mostly lists that are empty, as in a container image, or older than the mirror's pool.
        say("updating apt's package lists")
        apt(["update"])
        status, log, cause = apt(install)
        if status != 0:
            raise HostError(f"apt-get could not install {' '.join(packages)}", cause=cause, log=log, hint=command)
    importlib.invalidate_caches()
    if left := missing.keys() & lacks(venv=True, build=True):
        raise HostError(f"still missing after the installation: {', '.join(sorted(left))}", hint="is it in $PATH?")


def apt(words: Sequence[str]) -> tuple[int, Path, str]:
    """Run apt-get, with sudo if need be, and return its status, its log and the first error in it.

    It is the one child that must not be killed: dpkg stopped half-way leaves a package database to
    be mended by hand. It is asked to stop by SIGINT, which apt obeys where that is safe, and waited
    for. It also stays in our session, where sudo can ask for a password.
    """
    argv = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=60", *words]
    argv = argv if os.geteuid() == 0 else ["sudo", *argv]
    with logged(argv) as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log.file, stderr=log.file)
        try:
            status = child.wait(APT_SECONDS)
        except BaseException as error:
            with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):  # sudo cannot be signalled
                child.send_signal(signal.SIGINT)
                child.wait(APT_GRACE)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostError("apt-get did not end", cause=process.pasteable(argv), log=log.path) from error
            raise
        return status, log.path, log.first_error()


@dataclass(frozen=True)
class Log:
    """What one command wrote: the part of ``path`` from ``start`` on."""

    path: Path
    file: IO[bytes]
    start: int

    def first_error(self) -> str:
        """The first line that tells of an error in the words of apt, pip or python, else the last line."""
        text = self.path.read_bytes()[self.start :].decode(errors="replace")
        # Pip first tries hooks that a build backend need not have: what follows that excuse is the error.
        text = text.rpartition("During handling of the above exception")[2]
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if ERROR.search(line)]
        return next(iter(errors or lines[-1:]), "")


@contextlib.contextmanager
def logged(argv: Sequence[str | Path]) -> Iterator[Log]:
    """The bootstrap's log, open for what ``argv`` writes, and begun with the command itself."""
    path = cache.directory("log") / "bootstrap.log"
    with cache.writing(path):
        file = path.open("ab")
    with file:
        file.write(f"$ {process.pasteable(argv)}\n".encode())
        file.flush()
        yield Log(path, file, file.tell())

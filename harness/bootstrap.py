# SPDX-License-Identifier: GPL-2.0-only
"""From a bare python3 in a fresh clone to the real program in its own .venv. Standard library only.

Debian packages first (the venv may need one of them), then the venv, then `exec` into it: the
process that the user started is the one that ends. What is already there is left alone, and a
warm start costs one more start of python.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from harness import cache, process
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline
from harness.errors import HostError

#: The extras of pyproject.toml that a verb needs besides the dependencies.
EXTRAS = {"test": frozenset({"test"})}

#: The package's name for pip, and how an installed distribution shows in a directory of sys.path.
DISTRIBUTION = "nullfs-harness"
INFO = (".dist-info", ".egg-info")
#: A line of a log that tells what went wrong, unlike pip's "subprocess-exited-with-error".
ERROR = re.compile(r"connection broken by|^(E|ERROR|error):(?! subprocess-exited)|^\w*(Error|Exception)\b")
#: Seconds that a step may take on a slow line.
PIP_SECONDS = 900.0
APT_SECONDS = 1800.0
#: Seconds for apt to come to a safe end once it is asked to stop.
APT_GRACE = 60.0


def prepare(argv: Sequence[str], verb: str, *, needed: bool, install: bool) -> None:
    """Make sure that ``argv`` can run. Does not return if the venv's python is to run it: that takes over.

    Only if ``needed`` is what is missing provided, Debian's packages only if ``install`` allows it;
    raises HostError if that cannot be. Else the python there is will do, or a .venv that is ready.
    """
    extras = EXTRAS.get(verb, frozenset())
    venv = Venv(Path(__file__).resolve().parent.parent)
    stay = not venv.project.is_file() or (venv.ready(extras) if venv.running() else installed(venv.project, extras))
    if needed:
        provide(lacks(venv=not stay and not venv.reusable()), allowed=install)
        if not stay:
            venv.make(extras)
    if not stay and venv.ready(extras):
        venv.enter(argv)


def say(line: str) -> None:
    """One plain line for each thing that is done to the host."""
    print(line, file=sys.stderr, flush=True)


def lacks(*, venv: bool) -> dict[str, str]:
    """The programs this host lacks, each with Debian's package that has it.

    They are what boots both architectures and compiles their agent; with ``venv``, what makes a venv too.
    """
    found = {f"qemu-system-{arch.qemu}": arch.qemu_package for arch in ARCHES}
    found = {program: package for program, package in found.items() if shutil.which(program) is None}
    for arch in ARCHES:
        if not has_compiler(arch):
            native = platform.machine() == arch.qemu
            found |= {"gcc": "gcc"} if native else {f"{arch.cross}gcc": arch.cross_package}
    # Debian's python3 comes with venv, but without the ensurepip that fills one.
    if venv and importlib.util.find_spec("ensurepip") is None:
        found["python3 -m ensurepip"] = "python3-venv"
    return found


def has_compiler(arch: Arch) -> bool:
    """Whether a compiler for ``arch`` is there: a cross gcc, a native one, or clang with the linker it needs."""
    if shutil.which(f"{arch.cross}gcc") or (shutil.which("clang") and shutil.which("ld.lld")):
        return True
    if shutil.which("gcc") is None:
        return False
    return process.run(["gcc", "-dumpmachine"], Deadline.after(10)).stdout.startswith(f"{arch.qemu}-")


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
    if left := missing.keys() & lacks(venv=True):
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
        with self.path.open("rb") as file:
            file.seek(self.start)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
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


def installed(project: Path, extras: Collection[str]) -> bool:
    """Whether the running python has the distribution of ``project`` (a pyproject.toml) and all that it requires."""
    # A warm start would wait longer for importlib.metadata and tomllib than for all the rest.
    places = [path for path in map(Path, sys.path) if path.is_dir()]
    found = {canonical(info.name) for place in places for info in place.iterdir() if info.suffix in INFO}
    if DISTRIBUTION not in found:
        return False
    import tomllib  # noqa: PLC0415

    table = tomllib.loads(project.read_text())["project"]
    wanted = [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]
    return found.issuperset(map(canonical, wanted))


def canonical(name: str) -> str:
    """The distribution's name at the beginning of a requirement or of a .dist-info directory's name."""
    return re.sub(r"[_.]", "-", re.split(r"[^\w.-]|-\d", name, maxsplit=1)[0]).lower()


@dataclass(frozen=True)
class Stamp:
    """What is known of a venv; a file in it. With no ``project`` it is half-made."""

    #: Whether the bootstrap made it. One that the user made is installed into, but never removed.
    ours: bool
    #: Python version and place: a venv outlives a change of neither.
    maker: str = ""
    #: The pyproject.toml that was installed, and with which extras.
    project: str = ""
    extras: tuple[str, ...] = ()


class Venv:
    """The .venv at the top of the clone ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin/python"
        #: Says what has to be in the venv; absent where a wheel is installed.
        self.project = root / "pyproject.toml"
        #: The python version and the place that a venv made now would belong to.
        self.maker = f"{sys.version_info.major}.{sys.version_info.minor} {self.path}"

    def running(self) -> bool:
        """Whether this very process runs in the venv."""
        return Path(sys.prefix).resolve() == self.path.resolve()

    def reusable(self) -> bool:
        """Whether it can be installed into: it has a pip, and is neither half-made nor another python's."""
        if (was := self.stamp()) and was.ours and was.maker != self.maker:
            return False
        return os.access(self.python, os.X_OK) and any(self.path.glob("lib/python3*/site-packages/pip/__main__.py"))

    def stamp(self) -> Stamp | None:
        """The venv's stamp; None if there is none."""
        try:
            values = json.loads((self.path / "nullfs-harness.json").read_text())
            return Stamp(**values | {"extras": tuple(values["extras"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def mark(self, stamp: Stamp) -> None:
        """Replace the stamp, in one step."""
        new = self.path / "nullfs-harness.json.new"
        new.write_text(json.dumps(asdict(stamp)))
        new.replace(new.with_suffix(""))

    def ready(self, extras: Collection[str]) -> bool:
        """Whether it is whole, made for this python and this pyproject.toml, and has at least ``extras``."""
        if (stamp := self.stamp()) is None or not os.access(self.python, os.X_OK):
            return False
        return (stamp.maker, stamp.project) == (self.maker, self.project.read_text()) and {*extras} <= {*stamp.extras}

    def make(self, extras: Collection[str]) -> None:
        """Make it ready, unless it is; another bootstrap of the same clone is waited for. Raises HostError."""
        try:
            with self.locked():
                if not self.ready(extras):
                    self.fill(extras)
        except OSError as error:
            raise HostError(f"cannot make {self.path}", cause=str(error), hint="is the clone writable?") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the clone's lock: flock(2) on its directory, which leaves no file behind."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another nullfs-harness that is making {self.path}")
                fcntl.flock(handle, fcntl.LOCK_EX)  # its steps have deadlines
            yield
        finally:
            os.close(handle)

    def fill(self, extras: Collection[str]) -> None:
        """Make the venv or bring it up to date; the lock is held. Raises HostError, and OSError if it cannot write."""
        was = self.stamp()
        reusable = self.reusable()
        if was and was.ours and not reusable:
            shutil.rmtree(self.path)
        fresh = not self.path.exists()
        ours = was.ours if was else fresh
        wanted = tuple(sorted({*extras, *(was.extras if was else ())}))
        try:
            self.path.mkdir(exist_ok=True)
            self.mark(Stamp(ours))
            if not reusable:
                say(f"making {self.path}")
                # The interpreter under a venv's python: the one we run in may just have been removed.
                self.run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", self.path])
            say(f"installing nullfs-harness into {self.path}")
            quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
            self.run([self.python, "-m", "pip", "install", *quiet, "-e", f".[{','.join(wanted)}]" if wanted else "."])
            self.mark(Stamp(ours, self.maker, self.project.read_text(), wanted))
        except BaseException as error:
            if fresh:
                shutil.rmtree(self.path, ignore_errors=True)
            elif was and isinstance(error, HostError):
                self.mark(was)  # pip refused, and what was there before still is
            raise

    def run(self, argv: Sequence[str | Path]) -> None:
        """Run one step of the making, to the log. What it leaves behind when it is killed is swept with the cache."""
        with logged(argv) as log, cache.scratch("bootstrap") as scratch:
            env = os.environ | {"TMPDIR": str(scratch)}
            with process.spawn(argv, stdout=log.file, stderr=log.file, cwd=self.root, env=env) as child:
                try:
                    status = child.wait(PIP_SECONDS)
                except BaseException as error:
                    os.killpg(child.pid, signal.SIGTERM)  # pip's own children too
                    if isinstance(error, subprocess.TimeoutExpired):
                        raise HostError(f"{argv[2]} did not end within {PIP_SECONDS:.0f} s", log=log.path) from error
                    raise
            if status != 0:
                hint = "see that pip reaches its package index and that the disk has 300 MB, then run this again"
                raise HostError(f"{argv[2]} failed in {self.path}", cause=log.first_error(), log=log.path, hint=hint)

    def enter(self, argv: Sequence[str]) -> None:
        """Become the venv's python, running the same ``argv``. Raises HostError if that does not lead into the venv."""
        # Marked by an -X option of no meaning to python: unlike a variable, it is not inherited by children.
        if "nullfs-harness" in sys._xoptions:
            raise HostError(f"{self.python} does not run in its venv", hint="unset PYTHONHOME")
        sys.stdout.flush()
        os.execv(self.python, [str(self.python), "-X", "nullfs-harness", "-m", "harness", *argv])  # noqa: S606

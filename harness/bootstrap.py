# SPDX-License-Identifier: GPL-2.0-only
"""From a bare python3 in a fresh clone to the real program in its own .venv. Standard library only.

Debian packages first (the venv may need one of them), then the venv, then `exec` into it: the
process that the user started is the one that ends. What is already there is left alone, and a
warm start costs one more start of python.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import cache, packages, process
from harness.errors import HostError

#: The extras of pyproject.toml that a verb needs besides the dependencies.
EXTRAS = {"test": frozenset({"test"})}

#: The package's name for pip, and how an installed distribution shows in a directory of sys.path.
DISTRIBUTION = "nullfs-harness"
INFO = (".dist-info", ".egg-info")
#: Seconds that a step may take on a slow line.
PIP_SECONDS = 900.0


def prepare(argv: Sequence[str], verb: str, *, needed: bool, install: bool) -> None:
    """Make sure that ``argv`` can run. Does not return if the venv's python is to run it: that takes over.

    Only if ``needed`` is what is missing provided, Debian's packages only if ``install`` allows it;
    raises HostError if that cannot be. Else the python there is will do, or a .venv that is ready.
    """
    extras = EXTRAS.get(verb, frozenset())
    venv = Venv(Path(__file__).resolve().parent.parent)
    stay = not venv.project.is_file() or (venv.ready(extras) if venv.running() else installed(venv.project, extras))
    if needed:
        packages.provide(packages.lacks(venv=not stay and not venv.reusable()), allowed=install)
        if not stay:
            venv.make(extras)
    if not stay and venv.ready(extras):
        venv.enter(argv)


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
                packages.say(f"waiting for another nullfs-harness that is making {self.path}")
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
                packages.say(f"making {self.path}")
                # The interpreter under a venv's python: the one we run in may just have been removed.
                self.run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", self.path])
            packages.say(f"installing nullfs-harness into {self.path}")
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
        with packages.logged(argv) as log, cache.scratch("bootstrap") as scratch:
            env = os.environ | {"TMPDIR": str(scratch)}
            with process.spawn(argv, stdout=log.file, stderr=log.file, cwd=self.root, env=env) as child:
                try:
                    status = child.wait(PIP_SECONDS)
                except BaseException as error:
                    with contextlib.suppress(ProcessLookupError):
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
        os.execv(self.python, [str(self.python), "-X", "nullfs-harness", "-m", "harness", *argv])  # noqa: S606

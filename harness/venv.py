# SPDX-License-Identifier: GPL-2.0-only
"""The .venv of a clone: whether it is there and whole, and the way into it. What makes it is bootstrap.py.

A warm start runs just this before the venv's python takes over. So it imports only what a bare python has loaded
already: pathlib and json alone would double its time.
"""
# ruff: noqa: PTH112, PTH113, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import os
import sys

#: The extras of pyproject.toml that a verb needs besides the dependencies.
EXTRAS = {"test": frozenset({"test"})}

#: The package's name for pip, and how an installed distribution shows in a directory of sys.path.
DISTRIBUTION = "nullfs-harness"
INFO = (".dist-info", ".egg-info")
#: The file in a venv that tells what it is.
STAMP = "nullfs-harness"
#: An -X option of no meaning to python marks who has entered: unlike a variable, it is not inherited by children.
MARK = "nullfs-harness"


class Stamp:
    """What is known of a venv: lines in a file, and after them the text of the pyproject.toml that was installed."""

    def __init__(self, *, ours: bool, maker: str = "", extras: frozenset[str] = frozenset(), project: str = "") -> None:
        #: Whether the bootstrap made it. One that the user made is installed into, but never removed.
        self.ours = ours
        #: Python version and place: a venv outlives a change of neither. Of a half-made one it is empty.
        self.maker = maker
        self.extras = extras
        self.project = project

    def __str__(self) -> str:
        whose, extras = "ours" if self.ours else "the user's", " ".join(sorted(self.extras))
        return "\n".join((whose, self.maker, extras, self.project))

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """The stamp that was written as ``text``. Raises ValueError if it is none."""
        whose, maker, extras, project = text.split("\n", 3)
        return cls(ours=whose == "ours", maker=maker, extras=frozenset(extras.split()), project=project)


class Venv:
    """The .venv at the top of the clone ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.path = os.path.join(root, ".venv")
        self.python = os.path.join(self.path, "bin/python")
        #: Says what has to be in the venv; absent where a wheel is installed.
        self.project = os.path.join(root, "pyproject.toml")
        #: The python version and the place that a venv made now would belong to.
        self.maker = f"{sys.version_info.major}.{sys.version_info.minor} {self.path}"

    def running(self) -> bool:
        """Whether this very process runs in the venv."""
        return os.path.realpath(sys.prefix) == os.path.realpath(self.path)

    def needless(self, extras: frozenset[str]) -> bool:
        """Whether the running python will do: it has all that the venv would have."""
        if not os.path.isfile(self.project):
            return True
        return self.ready(extras) if self.running() else installed(self.project, extras)

    def stamp(self) -> Stamp | None:
        """The venv's stamp; None if there is none."""
        try:
            return Stamp.parse(read(os.path.join(self.path, STAMP)))
        except (OSError, ValueError):
            return None

    def ready(self, extras: frozenset[str]) -> bool:
        """Whether it is whole, made for this python and this pyproject.toml, and has at least ``extras``."""
        if (stamp := self.stamp()) is None or not os.access(self.python, os.X_OK):
            return False
        return stamp.maker == self.maker and stamp.project == read(self.project) and extras <= stamp.extras

    def enter(self, argv: list[str]) -> None:
        """Become the venv's python, running the same ``argv``. Raises HostError if that does not lead into the venv."""
        if MARK in sys._xoptions:
            from harness.errors import HostError  # noqa: PLC0415

            raise HostError(f"{self.python} does not run in its venv", hint="unset PYTHONHOME")
        os.execv(self.python, [self.python, "-X", MARK, "-m", "harness", *argv])  # noqa: S606


def here() -> Venv:
    """The venv that belongs to the running code."""
    return Venv(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def enter_ready(argv: list[str]) -> None:
    """Let the venv's python take over, if it is needed and ready to run ``argv``; else return."""
    venv, extras = here(), EXTRAS.get(argv[0] if argv else "", frozenset())
    if MARK not in sys._xoptions and not venv.needless(extras) and venv.ready(extras):
        venv.enter(argv)


def installed(project: str, extras: frozenset[str]) -> bool:
    """Whether the running python has the distribution of ``project`` (a pyproject.toml) and all that it requires."""
    # A warm start would wait longer for importlib.metadata and tomllib than for all the rest.
    names = [name for place in sys.path if os.path.isdir(place or ".") for name in os.listdir(place or ".")]
    infos = [name for name in names if name.endswith(INFO)]
    if not any(name.lower().replace("_", "-").startswith(f"{DISTRIBUTION}-") for name in infos):
        return False
    import tomllib  # noqa: PLC0415

    table = tomllib.loads(read(project))["project"]
    wanted = [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]
    return {canonical(name) for name in infos} >= {DISTRIBUTION, *map(canonical, wanted)}


def canonical(name: str) -> str:
    """The distribution's name at the beginning of a requirement or of a .dist-info directory's name."""
    import re  # noqa: PLC0415

    return re.sub(r"[_.]", "-", re.split(r"[^\w.-]|-\d", name, maxsplit=1)[0]).lower()


def read(path: str) -> str:
    """The text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()

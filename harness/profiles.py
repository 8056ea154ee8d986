# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: what a guest has besides the agent, as initramfs/profiles.toml says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness import resources
from harness.errors import RequestError

#: What a check gets that names no profile.
DEFAULT = "minimal"
#: MiB of a guest unless its profile asks for more.
MEMORY = 256


@dataclass(frozen=True)
class Profile:
    """What a guest of that name has; see initramfs/profiles.toml."""

    name: str
    #: MiB.
    memory: int = MEMORY
    #: Seconds that a check gets at least, whatever others do.
    timeout: float = 0
    cmdline: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    #: Modules that are loaded once, before guests are forked, as far as the kernel has them.
    modules: tuple[str, ...] = ()
    #: The file system that the image is, of those in harness/diskimage.py, instead of an initramfs.
    image: str = ""
    #: Whether the image is a disk's, and no initrd.
    disk: bool = False
    #: Directories of the tree's own tests (harness/selftests.py).
    selftests: tuple[str, ...] = ()
    #: Checks of it run only where it or they are asked for.
    asked: bool = False


@cache
def every() -> dict[str, Profile]:
    """All profiles, by name, in the order of the file."""
    import tomllib  # noqa: PLC0415 - slow to import; who checks nothing needs none of it

    text = (resources.directory("initramfs") / "profiles.toml").read_text(encoding="utf-8")
    return {name: _profile(name, table) for name, table in tomllib.loads(text).items()}


def _profile(name: str, table: Mapping[str, Any]) -> Profile:
    words: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Profile(name, **words)


def by_name(name: str) -> Profile:
    """The profile of that name. Raises RequestError if there is none."""
    if name not in every():
        raise RequestError(f"{name!r} is not a profile", hint=f"one of: {', '.join(every())}")
    return every()[name]


def check(names: Iterable[str]) -> None:
    """Raise RequestError for a name that is no profile's."""
    for name in names:
        by_name(name)

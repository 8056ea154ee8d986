# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: what a guest has besides the agent, as initramfs/profiles.toml says."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

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
    cmdline: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@cache
def every() -> dict[str, Profile]:
    """All profiles, by name, in the order of the file."""
    text = (resources.directory("initramfs") / "profiles.toml").read_text(encoding="utf-8")
    return {name: _profile(name, **table) for name, table in tomllib.loads(text).items()}


def _profile(name: str, memory: int = MEMORY, **lists: Sequence[str]) -> Profile:
    return Profile(name, memory, **{key: tuple(words) for key, words in lists.items()})


def by_name(name: str) -> Profile:
    """The profile of that name. Raises RequestError if there is none."""
    if name not in every():
        raise RequestError(f"{name!r} is not a profile", hint=f"one of: {', '.join(every())}")
    return every()[name]


def check(names: Iterable[str]) -> None:
    """Raise RequestError for a name that is no profile's."""
    for name in names:
        by_name(name)

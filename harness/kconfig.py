# SPDX-License-Identifier: GPL-2.0-only
"""Kconfig: the fragment for a kernel, made of what is wanted of it, and what of that a .config does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import profiles as known
from harness import resources
from harness.arch import Arch
from harness.errors import RequestError

LINE = re.compile(r"^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$", re.MULTILINE)


@dataclass(frozen=True)
class Wish:
    """One symbol with its CONFIG_, the value it shall have (n: not set), and who wants it, in words."""

    symbol: str
    value: str
    by: str

    @property
    def line(self) -> str:
        """As in a .config (Documentation/kbuild/kconfig.rst)."""
        if self.value == "n":
            return f"# {self.symbol} is not set"
        return f"{self.symbol}={self.value}"

    def met(self, config: Mapping[str, str]) -> bool:
        """Whether a .config has it. A module that became part of the kernel is as good."""
        got = config.get(self.symbol, "n")
        return got == self.value or (self.value == "m" and got == "y")


def parse(text: str) -> dict[str, str]:
    """The symbols that a .config or a fragment sets, with their values as they are written; n for what it unsets."""
    found = (match.groups() for match in LINE.finditer(text))
    return {name or unset: value if name else "n" for name, value, unset in found}


def fragment(name: str) -> dict[str, str]:
    """The symbols of kconfigs/<name>.config; none where there is no such file."""
    path = resources.directory("kconfigs") / f"{name}.config"
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else {}


def profile(name: str, arch: Arch) -> dict[str, str]:
    """The symbols of a profile: those on every architecture, and those that only ``arch`` has."""
    return fragment(name) | fragment(f"{name}.{arch.name}")


def lacking(config: Mapping[str, str], arch: Arch) -> list[str]:
    """The assignments that a guest of ``arch`` needs and ``config`` does not have."""
    wanted = fragment("guest") | fragment(arch.name)
    return [f"{symbol}={value}" for symbol, value in wanted.items() if config.get(symbol) != value]


def wishes(
    arch: Arch, profiles: Sequence[str], needs: Mapping[str, Sequence[str]], more: Sequence[Path] = ()
) -> list[Wish]:
    """What is wanted of a kernel, each symbol once.

    ``needs``: the symbols (without CONFIG_) that each check needs, ``SYMBOL@arm64`` only there; ``more``: fragments of
    the user's, the last one of which is obeyed where they differ from each other or from ours. Raises RequestError if
    one cannot be read.
    """
    known.check(profiles)
    found: dict[str, Wish] = {}
    parts = [("every guest", fragment("guest")), (f"every guest on {arch.name}", fragment(arch.name))]
    parts += [(f"profile {name}", profile(name, arch)) for name in dict.fromkeys((known.DEFAULT, *profiles))]
    parts += [(f"check {check}", _needed(names, arch)) for check, names in needs.items()]
    for by, symbols in parts:
        for symbol, value in symbols.items():
            found.setdefault(symbol, Wish(symbol, value, by))
    for path in more:
        try:
            symbols = parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"the fragment {path} cannot be read", cause=str(error)) from error
        if not symbols:
            raise RequestError(f"the fragment {path} sets no symbol", hint="its lines are CONFIG_NAME=value")
        for symbol, value in symbols.items():
            if (ours := found.get(symbol)) and ours.value == value:
                continue  # and no later one may take it back
            if ours and not ours.by.startswith("/"):
                raise RequestError(
                    f"{path} has {Wish(symbol, value, '').line}, but {ours.by} needs {ours.line}",
                    hint=f"take it out of {path.name}, or leave out what needs it (--check, --profile)",
                )
            found[symbol] = Wish(symbol, value, str(path.absolute()))
    return list(found.values())


def _needed(names: Iterable[str], arch: Arch) -> dict[str, str]:
    asked = (name.partition("@") for name in names)
    return {f"CONFIG_{symbol}": "y" for symbol, _, only in asked if only in ("", arch.name)}


def text(arch: Arch, wanted: Iterable[Wish]) -> str:
    """The fragment for scripts/kconfig/merge_config.sh."""
    groups: dict[str, list[Wish]] = {}
    for wish in wanted:
        groups.setdefault(wish.by, []).append(wish)
    return resources.render("kconfigs", "kernel.config.j2", arch=arch, groups=list(groups.items())) + "\n"


def unmet(wanted: Iterable[Wish], config: Mapping[str, str]) -> list[Wish]:
    """The wishes that a .config does not fulfil."""
    return [wish for wish in wanted if not wish.met(config)]

# SPDX-License-Identifier: GPL-2.0-only
"""Kconfig fragments: what a guest needs of its kernel, and what of that a .config lacks."""

from __future__ import annotations

from collections.abc import Mapping

from harness import resources
from harness.arch import Arch


def fragment(name: str) -> dict[str, str]:
    """The symbols of kconfigs/<name>.config."""
    lines = (resources.directory("kconfigs") / f"{name}.config").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line.startswith("CONFIG_"))
    return {symbol: value.strip('"') for symbol, value in pairs}


def lacking(config: Mapping[str, str], arch: Arch) -> list[str]:
    """The assignments that a guest of ``arch`` needs and ``config`` does not have."""
    wanted = fragment("guest") | fragment(arch.name)
    return [f"{symbol}={value}" for symbol, value in wanted.items() if config.get(symbol) != value]

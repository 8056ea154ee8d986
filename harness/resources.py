# SPDX-License-Identifier: GPL-2.0-only
"""Where the files that are no Python modules are: beside the package in a clone, below it in a wheel."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HostError

PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """The directory ``name``: "initramfs", "kconfigs", "patches" or "tests/kernel". Raises HostError if it is absent.

    A wheel has them in harness/_resources, see pyproject.toml's force-include. That is looked at
    first: beside an installed package lie the directories of strangers, ``tests`` for one.
    """
    for base in (PACKAGE / "_resources", PACKAGE.parent):
        if (path := base / name).is_dir():
            return path
    raise HostError(
        f"the directory {name} of nullfs-harness is missing",
        cause=f"neither in {PACKAGE.parent} nor in {PACKAGE / '_resources'}",
        hint="install the package again, or use a complete clone",
    )


def render(name: str, template: str, **values: object) -> str:
    """A template of the directory ``name`` with its values filled in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - slow, and rarely needed

    loader = FileSystemLoader(directory(name))
    # What is made is C, Kconfig and lists of files, never HTML.
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    return environment.get_template(template).render(**values)

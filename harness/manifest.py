# SPDX-License-Identifier: GPL-2.0-only
"""What is known of each series that was sent: the manifests in patches/, facts and no text."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

from harness import resources
from harness.errors import RequestError


@dataclass(frozen=True)
class Fact:
    """What is known of one patch of a series. ``checks``: those that speak for it, by id."""

    series: str
    n: int
    of: int
    subject: str
    message_id: str
    link: str
    files: tuple[str, ...] = ()
    #: As ``git patch-id --stable`` prints it; empty where nobody knows.
    patch_id: str = ""
    checks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.series} {self.n}/{self.of}: {self.subject}"


@dataclass(frozen=True)
class Manifest:
    """What is known of a series, by its name in patches/."""

    name: str
    title: str
    revision: int
    #: Message ids, without <>.
    cover: str
    change_id: str
    base_commit: str
    patches: tuple[Fact, ...]


def names() -> list[str]:
    """The series that there are manifests of."""
    return sorted(path.parent.name for path in resources.directory("patches").glob("*/series.toml"))


@cache
def read(name: str) -> Manifest:
    """The manifest of the series ``name``. Raises RequestError if there is none."""
    path = resources.directory("patches") / name / "series.toml"
    if name not in names():
        raise RequestError(f"no series {name!r} in {path.parent.parent}", hint=f"there are: {', '.join(names())}")
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = facts["patch"]
    ids = [facts["message_id"].format(n=row["n"]) for row in rows]
    patches = tuple(
        Fact(
            *(name, row["n"], len(rows), row["subject"], message_id, facts["link"].format(message_id=message_id)),
            files=tuple(row.get("files", ())),
            patch_id=row.get("patch_id", ""),
            checks=tuple(row.get("checks", ())),
        )
        for row, message_id in zip(rows, ids, strict=True)
    )
    keys = ("title", "revision", "cover", "change_id", "base_commit")
    return Manifest(name, **{key: facts[key] for key in keys}, patches=patches)


def patch(name: str) -> Fact:
    """The patch called ``SERIES/N``, as in ``kthread-nullfs-v2/22``. Raises RequestError if there is none."""
    series, _, number = name.partition("/")
    manifest = read(series)
    for fact in manifest.patches:
        if str(fact.n) == number:
            return fact
    raise RequestError(f"series {series!r} has no patch {number!r}", hint=f"it has 1 to {len(manifest.patches)}")

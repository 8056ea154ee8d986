# SPDX-License-Identifier: GPL-2.0-only
"""What is known of each series that was sent: the manifests in patches/, facts and no text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from harness import resources
from harness.errors import RequestError


@dataclass(frozen=True)
class Fact:
    """What is known of one patch of a series; what nobody knows is empty."""

    series: str
    n: int
    of: int
    subject: str = ""
    message_id: str = ""
    link: str = ""
    files: tuple[str, ...] = ()
    #: As ``git patch-id --stable`` prints it.
    patch_id: str = ""
    #: The checks that speak for it besides those whose decorator names it, or a patch with its subject (checks.py).
    checks: tuple[str, ...] = ()
    #: What it became in mainline, abbreviated.
    commit: str = ""

    def __str__(self) -> str:
        return f"{self.series} {self.n}/{self.of}: {self.subject}"


@dataclass(frozen=True)
class Manifest:
    """What is known of a series, by its name in patches/; what nobody knows is empty."""

    name: str
    title: str
    revision: int = 0
    #: Message id of the cover letter, without <>.
    cover: str = ""
    change_id: str = ""
    base_commit: str = ""
    patches: tuple[Fact, ...] = ()


def names() -> list[str]:
    """The series that there are manifests of."""
    return sorted(path.parent.name for path in resources.directory("patches").glob("*/series.toml"))


@cache
def read(name: str) -> Manifest:
    """The manifest of the series ``name``. Raises RequestError if there is none."""
    import tomllib  # noqa: PLC0415 - a run of kernels that are there needs none

    path = resources.directory("patches") / name / "series.toml"
    if name not in names():
        raise RequestError(f"no series {name!r} in {path.parent.parent}", hint=f"there are: {', '.join(names())}")
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = facts.get("patch", [])
    patches = []
    for n, row in enumerate(rows, start=1):
        message_id = row.get("message_id") or facts.get("message_id", "").format(n=n)
        link = facts.get("link", "").format(message_id=message_id) if message_id else ""
        known = {key: row.get(key, "") for key in ("subject", "patch_id", "commit")}
        files, checks = tuple(row.get("files", ())), tuple(row.get("checks", ()))
        words = {"message_id": message_id, "link": link} | known
        patches.append(Fact(name, n, len(rows), files=files, checks=checks, **words))
    known = {key: facts[key] for key in ("revision", "cover", "change_id", "base_commit") if key in facts}
    return Manifest(name, facts["title"], patches=tuple(patches), **known)


def patch(name: str) -> Fact:
    """The patch called ``SERIES/N``, as in ``kthread-nullfs-v2/22``. Raises RequestError if there is none."""
    series, _, number = name.partition("/")
    manifest = read(series)
    for fact in manifest.patches:
        if str(fact.n) == number:
            return fact
    there = f"it has 1 to {len(manifest.patches)}" if manifest.patches else f"nothing is known of those of {series}"
    raise RequestError(f"series {series!r} has no patch {number!r}", hint=there)

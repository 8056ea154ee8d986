# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a patch series: the manifests in patches/."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

from harness import resources
from harness.errors import RequestError


@dataclass(frozen=True)
class Patch:
    """One patch of a series: facts only."""

    series: str
    n: int
    of: int
    subject: str
    link: str

    def __str__(self) -> str:
        return f"{self.series} {self.n}/{self.of}: {self.subject}"


@cache
def patch(name: str) -> Patch:
    """The patch called ``SERIES/N``, as in ``kthread-nullfs-v2/22``. Raises RequestError if there is none."""
    series, _, number = name.partition("/")
    manifest = resources.directory("patches") / series / "series.toml"
    if not manifest.is_file():
        raise RequestError(f"no series {series!r} in {manifest.parent.parent}")
    facts = tomllib.loads(manifest.read_text(encoding="utf-8"))
    for row in facts["patch"]:
        if str(row["n"]) == number:
            link = facts["link"].format(message_id=facts["message_id"].format(n=number))
            return Patch(series, row["n"], len(facts["patch"]), row["subject"], link)
    raise RequestError(f"series {series!r} has no patch {number!r}", hint=f"it has 1 to {len(facts['patch'])}")

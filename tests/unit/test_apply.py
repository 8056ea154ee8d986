# SPDX-License-Identifier: GPL-2.0-only
"""harness/apply.py: a series on a tree is what git am -3 makes of it, and nothing of the user's is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from patches import applied, commit, hows, series
from trees import FILES, checkout, git, own_cache, user

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")

LINES = "".join(f"int line_{number};\n" for number in range(60))


def topic(top: Path) -> str:
    """Three commits, of which only the middle one touches two files; the id of the commit before them."""
    base = commit(top, {"fs/a.c": LINES, "fs/b.c": LINES}, "files")
    commit(top, {"fs/a.c": LINES.replace("line_10;", "changed_10;")}, "one")
    commit(top, {"fs/a.c": LINES.replace("line_10;", "changed_10;").replace("line_40;", "x;"), "fs/c.c": "int c;\n"}, "two")
    commit(top, {"fs/b.c": LINES.replace("line_1;", "first;")}, "three")
    return base


def test_each_step_is_the_tree_of_its_commit(user: Path) -> None:
    base = topic(user)
    what = series(user, f"{base}..")
    said: list[str] = []
    found = applied(what, f"{user}@{base}", user, said=said)
    assert [step.tree.oid for step in found.steps] == [git(user, "rev-parse", f"HEAD~{n}^{{tree}}") for n in (3, 2, 1, 0)]
    assert hows(found) == ["as it stands"] * 3
    assert said[1:] == ["1/3 one: as it stands", "2/3 two: as it stands", "3/3 three: as it stands"]

# SPDX-License-Identifier: GPL-2.0-only
"""Defects as a series of patches that git makes of a real tree, and the series that mends them. No tests here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toy import GIT

from harness.mutant import Defect
from harness.tree import Tree

#: The same defects in the same tree are the same mails.
DATES = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class Planted:
    """A series in a directory, and the tree that it is for."""

    directory: Path
    base: str
    #: By the number of a patch: the checks that turn with it.
    turns: Mapping[int, frozenset[str]]


def plant(tree: Tree, defects: Sequence[Defect], where: Path) -> tuple[Planted, Planted]:
    """One defect after the other, and the way back, last one first: both have the trees between in common."""
    repository = Scratch(where / "linux.git", tree)
    worse = [repository.commit(tree.oid, "the tree")]
    for defect in defects:
        worse.append(repository.changed(worse[-1], defect))
    better = [repository.commit(f"{worse[-1]}^{{tree}}", "all defects")]
    for commit, defect in zip(worse[-2::-1], reversed(defects), strict=True):
        better.append(repository.commit(f"{commit}^{{tree}}", f'Revert "{defect.title}"', better[-1]))
    turns = turning(defects)
    back = {len(turns) + 1 - n: checks for n, checks in turns.items()}
    repository.git("branch", "broken", better[0])
    return (
        Planted(repository.patches(worse, where / "worse"), tree.spec, turns),
        Planted(repository.patches(better, where / "better"), f"{repository.path}@broken", back),
    )


def turning(defects: Sequence[Defect]) -> dict[int, frozenset[str]]:
    """The checks that turn at each of them: a check that an earlier one has turned has nothing more to say."""
    red: frozenset[str] = frozenset()
    turns = {}
    for n, defect in enumerate(defects, start=1):
        turns[n] = frozenset(defect.checks) - red
        red |= turns[n]
    return turns


class Scratch:
    """A bare repository, which borrows the objects of a tree in the cache."""

    def __init__(self, path: Path, tree: Tree) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", ".")
        (path / "objects/info/alternates").write_text(f"{tree.repository.path / 'objects'}\n")

    def git(self, *words: str | Path, stdin: str = "") -> str:
        """What git said."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *words], cwd=self.path, check=True, capture_output=True, timeout=600,
            input=stdin.encode(errors="surrogateescape"), env=env | GIT | DATES | {"GIT_INDEX_FILE": "index"},
        )  # fmt: skip
        return done.stdout.decode(errors="surrogateescape")

    def commit(self, tree: str, title: str, *parents: str) -> str:
        """A commit of that tree object."""
        above = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *above, "-m", title).strip()

    def changed(self, commit: str, defect: Defect) -> str:
        """A commit with the defect, on top of ``commit``."""
        made = defect.made(lambda file: self.git("cat-file", "blob", f"{commit}:{file}"))
        self.git("read-tree", commit)
        for file, text in made.items():
            blob = self.git("hash-object", "-w", "--stdin", stdin=text).strip()
            self.git("update-index", "--cacheinfo", f"100644,{blob},{file}")
        return self.commit(self.git("write-tree").strip(), defect.title, commit)

    def patches(self, commits: Sequence[str], where: Path) -> Path:
        """What git-format-patch(1) makes of all of them but the first, which is the base."""
        self.git("format-patch", "--quiet", "-o", where, f"{commits[0]}..{commits[-1]}")
        return where

# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a series on a tree: each step's tree, and what waits for somebody's hand. It outlives us."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness import cache
from harness.deadline import Deadline
from harness.series import Series
from harness.tree import Tree

#: Raised when the same record would stand for other trees.
FORMAT = 1
IN_TREE = "already applied"
BY_HAND = "by hand"
LEFT_OUT = "left out by hand"


@dataclass
class Done:
    """A step. ``commit``: in the worktree; ``oid``: its whole tree, known once all steps are done."""

    commit: str
    how: str
    notes: list[str]
    oid: str = ""


@dataclass
class Record:
    """One series, by its key, on one tree. While it has a directory beside its file, it is not done."""

    series: str
    base: Tree
    why: str
    repair: bool
    skip: bool = False
    #: The base first.
    done: list[Done] = field(default_factory=list)
    #: What is wrong with the next patch, which waits for somebody to resolve it: the three parts of an error.
    stopped: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Where it is kept."""
        key = hashlib.sha256(json.dumps([FORMAT, self.base.oid, self.series, self.repair]).encode()).hexdigest()[:16]
        return self.base.home / "series" / f"{key}.json"

    @property
    def whole(self) -> bool:
        """Whether all steps are done."""
        return bool(self.done and self.done[-1].oid)

    @property
    def by_hand(self) -> bool:
        """Whether somebody has resolved anything."""
        return any(done.how in (BY_HAND, LEFT_OUT) for done in self.done)

    def write(self) -> None:
        """Keep it. Raises HostError."""
        facts = asdict(replace(self, base=replace(self.base, home=Path())))
        facts["base"]["home"] = ""
        cache.write(self.file, json.dumps(facts).encode())


def read(file: Path) -> Record | None:
    """The record in a file, None if there is none."""
    try:
        facts = json.loads(file.read_text())
        tree = Tree(**{**facts.pop("base"), "home": file.parent.parent})
        done = [Done(**done) for done in facts.pop("done")]
        return Record(base=tree, done=done, **facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _all(home: Path, series: Series) -> list[tuple[Path, Record]]:
    """All of one series on whatever was at one place, the newest first."""
    files = []
    for file in (home / "series").glob("*.json"):
        with suppress(FileNotFoundError):  # another run has forgotten it
            files.append((file.stat().st_mtime, file))
    found = [(file, read(file)) for _, file in sorted(files, reverse=True)]
    return [(file, record) for file, record in found if record and record.series == series.key]


def begun(home: Path, series: Series) -> Record | None:
    """The record of the last time that the series was begun on a tree there and was not done."""
    return next((record for file, record in _all(home, series) if file.with_suffix("").is_dir()), None)


def forget(home: Path, series: Series, deadline: Deadline) -> int:
    """Forget all of the series there; how many records had something that waits, or was done, by hand."""
    found = 0
    for file, record in _all(home, series):
        with cache.locked(deadline, "series", file.stem):
            found += bool(record.stopped) or record.by_hand
            file.unlink(missing_ok=True)
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
    return found

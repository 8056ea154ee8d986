# SPDX-License-Identifier: GPL-2.0-only
"""What it costs to apply a series and to go through it step by step, on a tree that is in the cache.

Each sample has patches that nobody has seen before, so nothing but the tree and the base's kernel is known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from harness import git
from harness.deadline import Deadline

from .builds import LIMIT, TOUCHED, Yard
from .figures import CannotError, Figure, Measured, Way, compared, interleaved, medians
from .subject import TOP, timed

#: As many as the second revision of kthread-nullfs has.
PATCHES = 23
#: Who has made them.
WHO = {f"GIT_{role}_{fact}": "bench" for role in ("AUTHOR", "COMMITTER") for fact in ("NAME", "EMAIL")}


def patches(yard: Yard, place: Path, names: Sequence[str], mark: str) -> Path:
    """A series that changes one file a patch, made by git of nothing but these files."""
    source, top = yard.place("trees/*/slots/0/source"), place / f"made-{mark}"
    env = git.environment(**WHO)
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes((source / name).read_bytes())
    steps: list[list[str | Path]] = [["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"], ["tag", "base"]]
    for words in steps:
        git.run(words, Deadline.after(60), env, cwd=top)
    for name in names:
        with (top / name).open("a") as file:
            # Something that is compiled, so that the kernel is another one.
            file.write(f'\nconst char bench_{names.index(name)}[] = "{mark}";\n')
        git.run(["commit", "-qam", f"bench: {name}"], Deadline.after(60), env, cwd=top)
    git.run(["format-patch", "-q", "-o", place / mark, "base"], Deadline.after(60), env, cwd=top)
    return place / mark


def marks(place: Path) -> Iterator[str]:
    """Names for series that nobody has had before."""
    place.mkdir(exist_ok=True)
    return (str(time.time_ns()) for _ in count())


def command(yard: Yard, what: str, series: Path) -> list[str | Path]:
    """``series WHAT`` on the tree."""
    words = ["--arch", yard.arch.name] if what == "step" else []
    return [sys.executable, "-m", "harness", "series", what, "--no-install", series, yard.spec, *words]


def apply(yard: Yard) -> Measured:
    """Seconds of ``series apply`` with 23 patches by those of ``git am -3`` in a whole checkout. Raises FailedError."""
    yard.unpack()
    source, place = yard.place("trees/*/slots/0/source"), yard.scratch / "apply"
    fresh = marks(place)
    names = sorted(str(path.relative_to(source)) for path in (source / "fs").glob("*.c"))[:PATCHES]
    if len(names) < PATCHES:
        raise CannotError(f"{source}/fs has only {len(names)} files")
    whole, env = place / "whole", git.environment(**WHO)
    whole.mkdir()
    for words in (["init", "-q"], ["--work-tree", source, "add", "-A", "-f", "."], ["commit", "-qm", "base"]):
        git.run([*words], Deadline.after(LIMIT), env, cwd=whole)
    git.run(["reset", "-q", "--hard"], Deadline.after(LIMIT), env, cwd=whole)

    def ours() -> float:
        return timed(command(yard, "apply", patches(yard, place, names, next(fresh))), TOP, yard.environment)

    def by_hand() -> float:
        files = sorted(patches(yard, place, names, next(fresh)).iterdir())
        took = timed(["git", "am", "-q", "-3", *files], whole, env)
        git.run(["reset", "-q", "--hard", f"HEAD~{PATCHES}"], Deadline.after(LIMIT), env, cwd=whole)
        return took

    return compared(Way("series apply", ours), Way("git am -3", by_hand), max(3, yard.repeats))


def step(yard: Yard) -> Measured:
    """Seconds of a step whose patch touches one .c, and of the same steps once more. Raises FailedError."""
    yard.unpack()
    place = yard.scratch / "step"
    fresh = marks(place)
    last = [place]

    def one() -> float:
        last[0] = patches(yard, place, [TOUCHED], next(fresh))
        return timed(command(yard, "step", last[0]), TOP, yard.environment)

    def again() -> float:
        return timed(command(yard, "step", last[0]), TOP, yard.environment)

    samples = interleaved([Way("one .c, built and checked", one), Way("once more", again)], max(3, yard.repeats))
    figures = [Figure.of(f"series step, {name}", "s", values) for name, values in samples.items()]
    return Measured(samples, figures, [medians(samples, "s")])

# SPDX-License-Identifier: GPL-2.0-only
"""What a series does to the checks, step by step: what turns where, what a later patch heals, what is misplaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, pairwise
from typing import Any

from harness import ktap, warned

#: Raised when a field changes its meaning or goes; a new field does not change it.
SCHEMA = 1
#: The verdicts that say something of the kernel.
BROKEN = ("fail", "crash")
SAYS = ("pass", *BROKEN)
#: Tests of the tree's own that are named in one finding.
NAMED = 10


@dataclass(frozen=True)
class Stage:
    """One step on one architecture; step 0 is the base."""

    n: int
    arch: str
    built: bool
    #: None if nobody tried.
    booted: bool | None = None
    #: Why it does not build or boot: the first cause, and the file with the rest.
    why: str = ""
    log: str = ""
    #: The image, and the tree object it was built from.
    image: str = ""
    tree: str = ""
    #: Seconds of make, 0 where the kernel was in the cache, and objects made; bytes of the image.
    seconds: float = 0.0
    objects: int = 0
    size: int = 0
    warnings: tuple[str, ...] = ()
    #: Kernel warnings: "name: line", those of the boot and those that a check provoked.
    troubles: tuple[str, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)
    #: Why each check that did not pass ended so.
    reasons: Mapping[str, str] = field(default_factory=dict)
    #: Tests of the tree's own: Result.tests of all checks.
    tests: Mapping[str, str] = field(default_factory=dict)
    #: The results were there before this run.
    known: bool = False


@dataclass(frozen=True)
class Turn:
    """A check that passes where it did not, or the other way round."""

    check: str
    arch: str
    #: Where it is seen, and the last step before that which could be judged.
    n: int
    since: int
    passes: bool
    #: Where it turns back, if it does.
    back: int | None = None


@dataclass(frozen=True)
class Report:
    """All of it. ``subjects[0]`` stands for the base; ``expected``: which patch a check speaks for, by its number."""

    series: str
    base: str
    subjects: tuple[str, ...]
    stages: tuple[Stage, ...]
    expected: Mapping[str, int] = field(default_factory=dict)
    #: What the reader should know beforehand: of the series and of how it was applied.
    notes: tuple[str, ...] = ()
    evidence: str = ""

    @property
    def architectures(self) -> list[str]:
        """In the order in which they were asked for."""
        return list(dict.fromkeys(stage.arch for stage in self.stages))

    def of(self, arch: str) -> list[Stage]:
        """The stages on one architecture."""
        return [stage for stage in self.stages if stage.arch == arch]

    def name(self, n: int) -> str:
        """A step in words."""
        return f"{n}/{len(self.subjects) - 1} {self.subjects[n]}" if n else "the base"

    def to_json(self) -> str:
        """The document that ``series step --json`` writes."""
        found = [{"kind": kind, "text": text} for kind, text in findings(self)]
        data: dict[str, Any] = {"schema": SCHEMA, "kind": "steps", **asdict(self)}
        return json.dumps({**data, "turns": [asdict(turn) for turn in turns(self)], "findings": found}, indent=1) + "\n"


def turns(report: Report) -> list[Turn]:
    """Every turn, in the order of the steps."""
    found: list[Turn] = []
    for arch in report.architectures:
        stages = report.of(arch)
        for check in dict.fromkeys(check for stage in stages for check in stage.verdicts):
            said = [(stage.n, stage.verdicts[check] == "pass") for stage in stages if stage.verdicts.get(check) in SAYS]
            runs = [next(run) for _, run in groupby(said, key=lambda one: one[1])]
            ends = [run[0] for run in runs[1:]] + [None]
            for (n, passes), back in list(zip(runs, ends, strict=True))[1:]:
                since = max(other for other, _ in said if other < n)
                found.append(Turn(check, arch, n, since, passes, back))
    return sorted(found, key=lambda turn: turn.n)


def warnings(stages: Sequence[Stage]) -> dict[int, tuple[list[str], list[str]]]:
    """The compilers' warnings that came and went with each step but the base; ``stages`` are of one architecture."""
    return {
        stage.n: (warned.new(before.warnings, stage.warnings), warned.new(stage.warnings, before.warnings))
        for before, stage in pairwise(stage for stage in stages if stage.built)
    }


def findings(report: Report) -> list[tuple[str, str]]:
    """What a maintainer has to look at: its kind, and a sentence or two."""
    found: list[tuple[str, str]] = []
    for arch in report.architectures:
        stages = report.of(arch)
        found += [("build", text) for text in _gaps(report, stages, lambda stage: stage.built)]
        booting = [stage for stage in stages if stage.booted is not None]
        found += [("boot", text) for text in _gaps(report, booting, lambda stage: bool(stage.booted))]
    together: dict[tuple[object, ...], list[Turn]] = {}
    every = turns(report)
    heals = {(turn.check, turn.arch, turn.back) for turn in every if not turn.passes}
    for turn in every:
        if (turn.check, turn.arch, turn.n) in heals:
            continue  # told with what it heals
        together.setdefault((turn.arch, turn.n, turn.since, turn.passes, turn.back), []).append(turn)
    for same in together.values():
        found += _turned(report, same)
    found += [("test", text) for arch in report.architectures for text in _lost(report, report.of(arch))]
    for arch in report.architectures:
        for n, (came, _) in warnings(report.of(arch)).items():
            found += [("warning", f"{report.name(n)} ({arch}): {line}") for line in came]
    return found


def _lost(report: Report, stages: list[Stage]) -> Iterator[str]:
    """Where tests of the tree's own passed before and do no more."""
    for before, after in pairwise(stage for stage in stages if stage.tests):
        lost = [f"{path} ({outcome})" for path, outcome in ktap.lost(before.tests, after.tests).items()]
        if lost:
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            since = f"{report.name(after.n)} ({after.arch})"
            yield f"{since}: tests of the tree's own pass no more: {', '.join(lost[:NAMED])}{more}"


def _turned(report: Report, same: list[Turn]) -> list[tuple[str, str]]:
    """What there is to say of checks that turn together."""
    turn = same[0]
    names = ", ".join(each.check for each in same)
    where = f"{report.name(turn.n)} ({turn.arch})"
    if turn.n - turn.since > 1:
        where += f", or a patch before it: {_range(turn.since + 1, turn.n - 1)} could not be judged"
    if not turn.passes and turn.back is not None:
        healed = f"healed by {report.name(turn.back)}; in between a bisection is misled"
        return [("bisect", f"{names}: broken by {where}, {healed}")]
    if not turn.passes:
        return [("worse", f"{names}: broken by {where}, and no later patch mends it")]
    wrong: dict[int, list[str]] = {}
    for each in same:
        due = report.expected.get(each.check)
        if due is not None and not turn.since < due <= turn.n:
            wrong.setdefault(due, []).append(each.check)
    return [
        ("place", f"{', '.join(checks)}: kept from {where} on, though patches/ says {report.name(due)}")
        for due, checks in wrong.items()
    ]


def _gaps(report: Report, stages: list[Stage], well: Any) -> list[str]:  # noqa: ANN401 - a plain predicate
    """Where a series does not build or boot, and where it does again."""
    found = []
    for good, run in groupby(stages, key=well):
        if not good:
            bad = list(run)
            after = next((stage for stage in stages if stage.n > bad[-1].n), None)
            end = f"; it does again from {report.name(after.n)} on: a bisection has to skip" if after else ""
            log = f" (log: {bad[0].log})" if bad[0].log else ""
            found.append(f"{report.name(bad[0].n)} ({bad[0].arch}): {bad[0].why}{log}{end}")
    return found


def bad(found: Sequence[tuple[str, str]]) -> bool:
    """Whether any of the findings is a failure of the series."""
    return any(kind in ("build", "boot", "bisect", "worse", "test", "place") for kind, _ in found)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"

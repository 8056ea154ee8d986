# SPDX-License-Identifier: GPL-2.0-only
"""What became better, worse, new or gone from one kernel to the next. Pure functions of their results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise

from harness import ktap, warned
from harness.results import KernelFacts, Result

#: Raised when a field of the comparison's JSON changes its meaning or goes.
FORMAT = 1
#: Verdicts on a kernel, the best first; skip and error are none.
RANKS = {"pass": 0, "fail": 1, "timeout": 2, "crash": 2}
#: Those with which a check did not come to its end.
SILENT = ("crash", "timeout", "error")
#: What is different in each boot of the same kernel, and after each edit of its source, and what to read for it.
NOISE = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        # kernel/printk/printk.c: print_time(), print_caller()
        (r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?", ""),
        (r"\b0x[0-9a-f]+", "0xN"),
        (r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b", "N"),
        (r"(\.[chS]):\d+", r"\1:N"),
        (r"\b(CPU|[UPT]?[GPU]ID|cpu|pid)([:#= ]+)\d+", r"\1\2N"),
        # kernel/panic.c names the task as COMM/PID, and so does a worker itself.
        (r"/\d+\b", "/N"),
        (r":\d+\]", ":N]"),
        (r"\bkworker/\S+", "kworker"),
        (r"\[#\d+\]", "[#N]"),
        (r"\b\d+(?:\.\d+)? ?([mun]?s|sec|seconds|jiffies)\b", r"N \1"),
    )
)


class Kind(StrEnum):
    """What became of a check."""

    WORSE = "worse"
    BETTER = "better"
    #: Neither: it was skipped before, or dies in another way.
    OTHER = "other"
    NEW = "new"
    GONE = "gone"
    #: The host failed, so nobody knows.
    UNKNOWN = "unknown"
    SAME = "same"


@dataclass(frozen=True)
class Column:
    """One kernel of one item. ``letter`` stands for the item, ``item`` is its words."""

    letter: str
    item: str
    arch: str
    #: None where there is no kernel; then ``no_build`` says why, in a line or two, and ``log`` is the file with all.
    facts: KernelFacts | None
    results: tuple[Result, ...] = ()
    no_build: str = ""
    log: str = ""
    harness: str = ""
    qemu: str = ""
    #: Builds and checks it once more, where it is of a tree; a --check can be added.
    command: str = ""

    @property
    def stage(self) -> int:
        """How far it came: 0 if it does not build, 1 if it does not boot, else 2."""
        return 0 if self.facts is None else 1 if self.facts.no_boot else 2

    @property
    def fault(self) -> str:
        """Why it came no further; empty if it boots."""
        return self.no_build.replace("\n", ": ") or (self.facts.no_boot if self.facts else "")

    @property
    def name(self) -> str:
        """The release, if there is a kernel."""
        return self.facts.name if self.facts else "no kernel"


@dataclass(frozen=True)
class Change:
    """One check on two kernels; ``before`` and ``after`` are verdicts, empty where it did not run."""

    check: str
    kind: Kind
    before: str
    after: str
    patch: str
    #: Why it is as it is after.
    why: str


@dataclass(frozen=True)
class Pair:
    """Two kernels of one architecture. ``before`` and ``after`` are the letters of their items."""

    before: str
    after: str
    arch: str
    #: Column.stage of both.
    stages: tuple[int, int]
    #: Why the later one came no further; empty if it boots.
    fault: str
    changes: tuple[Change, ...]
    #: Tests of the tree's own, those within checks, which are not the same; their ``check`` is the path of the test.
    tests: tuple[Change, ...]
    #: Complaints of the kernel on the console, with where they were seen.
    lines_new: tuple[str, ...]
    lines_gone: tuple[str, ...]
    #: Of the compilers; None where one of the two is not known.
    warnings_new: tuple[str, ...] | None
    warnings_gone: tuple[str, ...] | None
    #: Of the image; 0 where it is not known.
    image_bytes: tuple[int, int]
    #: What else is different, and may be the reason.
    notes: tuple[str, ...]

    def of(self, *kinds: Kind) -> list[Change]:
        """The changes of these kinds."""
        return [change for change in self.changes if change.kind in kinds]

    @property
    def worse(self) -> bool:
        """Whether anything that was well is no longer so."""
        return bool(self.stages[1] < self.stages[0] or self.of(Kind.WORSE) or self.lost or self.lines_new)

    @property
    def lost(self) -> list[Change]:
        """The tests of the tree's own that passed and do no more."""
        return [change for change in self.tests if change.kind is Kind.WORSE]


@dataclass(frozen=True)
class Comparison:
    """All of it: each kernel against the one before, and of three or more the first against the last."""

    columns: tuple[Column, ...]
    pairs: tuple[Pair, ...]
    ends: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether anything got worse anywhere on the way."""
        return any(pair.worse for pair in (*self.pairs, *self.ends))

    @property
    def unknown(self) -> bool:
        """Whether there is something that the host could not find out."""
        return any(result.verdict == "error" for column in self.columns for result in column.results)

    @property
    def last(self) -> list[Column]:
        """What it is all about: the kernels of the last item."""
        return [column for column in self.columns if column.letter == self.columns[-1].letter]

    def to_json(self) -> str:
        """The document that ``compare --json`` writes."""
        return json.dumps({"comparison": FORMAT, **asdict(self)}, indent=1) + "\n"


def compare(columns: Sequence[Column]) -> Comparison:
    """Like with like, in the order of the items. ``pairs`` is empty if no two have the same architecture."""
    pairs, ends, notes = [], [], []
    letters = list(dict.fromkeys(column.letter for column in columns))
    for arch in dict.fromkeys(column.arch for column in columns):
        mine = [column for column in columns if column.arch == arch]
        pairs += [_pair(*two) for two in pairwise(mine)]
        ends += [_pair(mine[0], mine[-1])] if len(mine) > 2 else []
        if lacking := [letter for letter in letters if letter not in {column.letter for column in mine}]:
            notes.append(f"{' and '.join(lacking)} has no kernel for {arch}")
    return Comparison(tuple(columns), tuple(pairs), tuple(ends), tuple(notes))


def plain(line: str) -> str:
    """A line of the kernel's without what differs from boot to boot: times, addresses, numbers of tasks and lines."""
    for pattern, text in NOISE:
        line = pattern.sub(text, line)
    return line.strip()


def kind(before: str, after: str) -> Kind:
    """What became of a check that had one verdict and now has another; "" stands for none."""
    if not (before and after):
        return Kind.GONE if before else Kind.NEW
    if "error" in (before, after):
        return Kind.UNKNOWN
    if before == after:
        return Kind.SAME
    if "pass" in (before, after):
        return Kind.WORSE if before == "pass" else Kind.BETTER
    if before in RANKS and after in RANKS and RANKS[before] < RANKS[after]:
        return Kind.WORSE
    return Kind.OTHER


def _pair(before: Column, after: Column) -> Pair:
    old, new = ({result.check: result for result in column.results} for column in (before, after))
    said = [_complaints(column, set(old) & set(new)) for column in (before, after)]
    if before.stage < 2 or after.stage < 2:  # one that did not come up has said less, and that is not its merit
        said = [{}, {}]
    warnings = [column.facts.warnings if column.facts else None for column in (before, after)]
    known = None not in warnings
    sizes = [column.facts.image_bytes if column.facts else 0 for column in (before, after)]
    return Pair(
        before.letter, after.letter, after.arch,
        stages=(before.stage, after.stage),
        fault=after.fault,
        changes=tuple(_change(check, old.get(check), new.get(check)) for check in dict.fromkeys((*old, *new))),
        tests=tuple(change for check in old if check in new for change in _tests(old[check], new[check])),
        lines_new=tuple(line for key, line in said[1].items() if key not in said[0]),
        lines_gone=tuple(line for key, line in said[0].items() if key not in said[1]),
        warnings_new=tuple(warned.new(warnings[0] or (), warnings[1] or ())) if known else None,
        warnings_gone=tuple(warned.new(warnings[1] or (), warnings[0] or ())) if known else None,
        image_bytes=(sizes[0], sizes[1]),
        notes=tuple(_notes(before, after)),
    )  # fmt: skip


def _change(check: str, before: Result | None, after: Result | None) -> Change:
    one = after or before
    verdicts = (before.verdict if before else "", after.verdict if after else "")
    why = next(iter((*after.troubles, *after.reason.splitlines())), "") if after else ""
    return Change(check, kind(*verdicts), *verdicts, one.patch if one else "", why)


def _tests(before: Result, after: Result) -> Iterable[Change]:
    """Tests within a check that are not the same; none where one of the two did not get so far as to run them."""
    if not (before.tests and after.tests):
        return
    for path in dict.fromkeys((*before.tests, *after.tests)):
        old, new = before.tests.get(path, ""), after.tests.get(path, "")
        if old and not new and after.verdict in SILENT:
            continue  # of all that did not run any more, the check's own verdict tells
        if old == "pass" and not new and not ktap.intact(path, after.tests):
            new = ktap.MISSING
        became = Kind.OTHER if old and new == ktap.XFAIL != old else kind(old, new)
        if became is not Kind.SAME:
            yield Change(path, became, old, new, after.patch, "")


def _complaints(column: Column, checks: set[str]) -> dict[str, str]:
    """The kernel's own troubles, by what is plain of them: of its boot, and in ``checks``, where it did them."""
    booting = column.facts.boot_troubles if column.facts else ()
    found = [(trouble, "while booting") for trouble in booting]
    for result in column.results:
        if result.check in checks:
            found += [(trouble, f"in {result.check}") for trouble in result.troubles]
    return {plain(trouble): f"{trouble} ({where})" for trouble, where in reversed(found)}


def _notes(before: Column, after: Column) -> Iterable[str]:
    ways = [column.facts.accel if column.facts else "" for column in (before, after)]
    for what, old, new in (
        ("ran under", *ways),
        ("was checked by harness", before.harness, after.harness),
        ("ran in QEMU", before.qemu, after.qemu),
    ):
        if old and new and old != new:
            yield f"{before.letter} {what} {old}, {after.letter} {what} {new}"
    builds = [column.facts.build_id if column.facts else "" for column in (before, after)]
    if builds[0] and builds[0] == builds[1]:
        yield f"{before.letter} and {after.letter} are the same build, {builds[0]}"

# SPDX-License-Identifier: GPL-2.0-only
"""Renderings of a comparison: which kernels, the table of what differs, what is to be said of it, one last sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness import ktap
from harness.compare import Change, Column, Comparison, Kind, Pair
from harness.report import CELLS, listed, table_text

# Slow to import, and not needed before the last check is done.
if TYPE_CHECKING:
    from rich.table import Table

#: Tests of a tree's that are told one a line, and that are named where the number matters more.
TOLD, FEW = 20, 3
#: In the order of what a reader wants to know first.
SAID = (Kind.WORSE, Kind.UNKNOWN, Kind.OTHER, Kind.NEW)


def rows(comparison: Comparison, *, every: bool) -> list[str]:
    """The checks that are not the same on all kernels of an architecture that boot, or all of them."""
    pairs = (*comparison.pairs, *comparison.ends)
    changes = [change for pair in pairs if min(pair.stages) == 2 for change in pair.changes]
    there = {result.check for column in comparison.columns for result in column.results}
    wanted = there if every else {change.check for change in changes if change.kind is not Kind.SAME}
    order = dict.fromkeys(result.check for column in comparison.columns for result in column.results)
    return [check for check in order if check in wanted]


def table(comparison: Comparison, checks: list[str]) -> Table:
    """Checks down, kernels across, those of one architecture side by side."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    out = Table(show_edge=False, pad_edge=False, header_style="bold")
    out.add_column("check", no_wrap=True)
    arches = list(dict.fromkeys(column.arch for column in comparison.columns))
    columns = sorted(comparison.columns, key=lambda column: arches.index(column.arch))
    for column in columns:
        out.add_column("\n".join((column.letter, *column.name.split("-", 1), column.arch)), no_wrap=True)
    cells = {(column.letter, column.arch, result.check): result for column in columns for result in column.results}
    for check in checks:
        found = [cells.get((check_of.letter, check_of.arch, check)) for check_of in columns]
        out.add_row(Text(check), *(Text(*CELLS[result.verdict]) if result else Text("-") for result in found))
    return out


def text(comparison: Comparison, *, every: bool = False) -> str:
    """All that there is to say, the closing sentence last."""
    lines = [headline(column) for column in comparison.columns]
    lines += comparison.notes
    if checks := rows(comparison, every=every):
        lines += ["", table_text(table(comparison, checks)), ""]
    pairs = (*comparison.pairs, *comparison.ends)
    for pair in pairs:
        # What became of a check between the ends has been told where it did.
        said = list(facts(pair) if pair in comparison.ends else remarks(pair))
        if said and len(pairs) > 1:
            lines.append(f"{pair.before} to {pair.after}, {pair.arch}:")
        lines += [f"  {line}" for line in said]
    return "\n".join([*lines, *closing(comparison)])


def headline(column: Column) -> str:
    """Which kernel it is."""
    ways = ", ".join(filter(None, (column.arch, column.facts.accel if column.facts else "")))
    return f"{column.letter}: {column.name} ({ways}), {column.item}"


def remarks(pair: Pair) -> Iterator[str]:
    """What has to be said of two kernels, one fact a line."""
    if pair.fault:
        yield f"{pair.after} {came(pair.stages[1])}: {pair.fault}"
    if min(pair.stages) == 2:
        for each in SAID:
            yield from (remark(change) for change in pair.of(each))
        if gone := pair.of(Kind.GONE):
            yield f"{pair.after} did not try {listed(change.check for change in gone)}"
        yield from tests(pair)
    yield from (f"new on the console: {line}" for line in pair.lines_new)
    yield from (f"no longer on the console: {line}" for line in pair.lines_gone)
    yield from (f"new from the compiler: {line}" for line in pair.warnings_new or ())
    yield from facts(pair)


def tests(pair: Pair) -> Iterator[str]:
    """What became of the tests of the tree's own: first those that passed."""
    for change in pair.lost[:TOLD]:
        yield f"worse: the tree's test {change.check}: {change.before}, then {change.after}"
    if more := pair.lost[TOLD:]:
        yield f"worse: {counted(len(more), 'more test')} of the tree's"
    bad = [change for change in pair.tests if change.kind is Kind.NEW and change.after in ktap.BAD]
    for change in bad[:TOLD]:
        yield f"new: the tree's test {change.check}: {change.after}"
    if better := [change.check for change in pair.tests if change.kind is Kind.BETTER]:
        also = f" and {len(better) - FEW} more" if len(better) > FEW else ""
        yield f"better: {counted(len(better), 'test')} of the tree's: {', '.join(better[:FEW])}{also}"


def facts(pair: Pair) -> Iterator[str]:
    """What is different besides, in numbers and in tools."""
    if pair.warnings_gone:
        yield f"no longer from the compiler: {counted(len(pair.warnings_gone), 'warning')}"
    before, after = pair.image_bytes
    if before and after and before != after:
        yield f"image: {before:,} bytes, then {after:,} ({after - before:+,}, {(after - before) / before:+.1%})"
    yield from pair.notes


def remark(change: Change) -> str:
    """What became of one check."""
    words = f"{change.kind}: {change.check} ({change.patch})"
    words += f": {change.before}, then {change.after}" if change.before else f": {change.after}"
    return f"{words}: {change.why}" if change.why else words


def came(stage: int) -> str:
    """How far a kernel came."""
    return ("does not build", "does not boot", "boots")[stage]


def closing(comparison: Comparison) -> list[str]:
    """The sentence that matters, once for all architectures of which it is true."""
    said: dict[str, list[str]] = {}
    for pair in (*comparison.pairs, *comparison.ends):
        said.setdefault(sentence(pair), []).append(pair.arch)
    several = len({column.arch for column in comparison.columns}) > 1
    return [f"{listed(arches)}: {words}" if several else words for words, arches in said.items()]


def sentence(pair: Pair) -> str:
    """What became of one kernel's promises in another one."""
    before, after = pair.before, pair.after
    if pair.stages[1] < 2:
        was = "does not either" if pair.stages[0] == pair.stages[1] else came(pair.stages[0])
        return f"{after} {came(pair.stages[1])}, {before} {was}."
    if pair.stages[0] < 2:
        tried = [change for change in pair.changes if change.after]
        kept = sum(change.after == "pass" for change in tried)
        return f"{after} boots, {before} {came(pair.stages[0])}; {after} keeps {kept} of {len(tried)}."
    kept = sum(change.before == "pass" and bool(change.after) for change in pair.changes)
    lost = sum(change.before == "pass" for change in pair.of(Kind.WORSE))
    more = sum(change.after == "pass" for change in pair.of(Kind.BETTER, Kind.NEW))
    words = f"breaks {lost} of the {kept} that {before} kept" if lost else f"keeps all that {before} kept"
    words += " and was tried on both" if pair.of(Kind.GONE) else ""
    words += f" {'and' if lost else 'but for'} {counted(len(pair.lost), 'test')} of the tree's own" if pair.lost else ""
    ends = [f"{len(pair.of(Kind.WORSE))} worse"]
    ends += [f"{counted(len(pair.lines_new), 'new complaint')} of the kernel"] if pair.lines_new else []
    ends += [f"{counted(len(pair.warnings_new), 'new warning')} of the compiler"] if pair.warnings_new else []
    ends += [f"{len(pair.of(Kind.UNKNOWN))} not known, for the host failed"] if pair.of(Kind.UNKNOWN) else []
    keeps = " keeps" if lost else ""
    return f"{after} {words}, and{keeps} {more or 'no'} more; {', '.join(ends)}."


def counted(number: int, what: str) -> str:
    """Of one or more: "1 warning", "2 warnings"."""
    return f"{number} {what}{'s' if number != 1 else ''}"

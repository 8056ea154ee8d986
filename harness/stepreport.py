# SPDX-License-Identifier: GPL-2.0-only
"""How ``series step`` tells what it found: a table for each architecture, and what is to be looked at."""

from __future__ import annotations

from collections import Counter

from harness import turns
from harness.report import trimmed
from harness.turns import Report, Stage, Turn

#: Findings in the order in which they are told, and what they are called.
KINDS = {
    "build": "Does not build",
    "boot": "Does not boot",
    "worse": "Worse",
    "test": "Tests of the tree's own that pass no more",
    "bisect": "Broken on the way",
    "place": "Not where it was announced",
    "warning": "New warnings of the compiler",
}


def text(report: Report) -> str:
    """All of it, as it looks on stdout."""
    parts = [*_tables(report), *report.notes]
    found = turns.findings(report)
    for kind, title in KINDS.items():
        told = [f"  {sentence}" for of, sentence in found if of == kind]
        parts += [f"{title}:\n" + "\n".join(told)] if told else []
    return "\n\n".join([*parts, *(closing(report, arch) for arch in report.architectures)])


def _tables(report: Report) -> list[str]:
    # It takes a tenth of a second to import, and a refused request needs none of it.
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    every = turns.turns(report)
    shown = []
    for arch in report.architectures:
        out = Table(show_edge=False, pad_edge=False, header_style="bold")
        for name in (f"step, {arch}", "builds", "warnings", "boots", "checks"):
            out.add_column(name, overflow="fold")
        changed = turns.warnings(report.of(arch))
        for stage in report.of(arch):
            turned = [turn for turn in every if turn.arch == arch and turn.n == stage.n]
            cells = [_built(stage), _warnings(stage, changed), _booted(stage), _checks(stage, turned)]
            out.add_row(report.name(stage.n), *(Text(cell, style=style) for cell, style in cells))
        shown.append(trimmed(out))
    return shown


def _built(stage: Stage) -> tuple[str, str]:
    if not stage.built:
        return "no", "red"
    return (f"{stage.seconds:.0f} s" if stage.seconds else "known"), ""


def _warnings(stage: Stage, changed: dict[int, tuple[list[str], list[str]]]) -> tuple[str, str]:
    if not stage.built or stage.n not in changed:
        return (str(len(stage.warnings)) if stage.built else ""), ""
    came, gone = changed[stage.n]
    words = [f"+{len(came)}"] * bool(came) + [f"-{len(gone)}"] * bool(gone)
    return " ".join(words), "yellow" if came else ""


def _booted(stage: Stage) -> tuple[str, str]:
    if stage.booted is None:
        return ("", "") if not stage.built else ("not tried", "yellow")
    return ("yes", "") if stage.booted else ("no", "red")


def _checks(stage: Stage, turned: list[Turn]) -> tuple[str, str]:
    """The base with its counts, later steps with what turned."""
    counts = Counter(stage.verdicts.values())
    parts = []
    for passes, words in ((True, "now pass"), (False, "now fail")):
        if names := [turn.check for turn in turned if turn.passes is passes]:
            parts.append(f"{words}: {', '.join(names)}")
    lost = counts["timeout"] + counts["error"]
    if lost:
        parts.append(f"{lost} without a verdict")
    if stage.n == 0 and stage.booted:
        parts.insert(0, ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    worse = lost or any(not turn.passes for turn in turned)
    return "; ".join(parts), "red" if worse else "green" if turned else ""


def closing(report: Report, arch: str) -> str:
    """One sentence for one architecture, and where the consoles are."""
    stages = report.of(arch)
    built, booted = sum(stage.built for stage in stages), sum(bool(stage.booted) for stage in stages)
    counts = Counter(verdict for verdict in stages[-1].verdicts.values())
    last = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "no verdict"
    here = [turn for turn in turns.turns(report) if turn.arch == arch]
    names = {turn.check for turn in here}
    turned = f"{len(names) or 'no'} check{'s' * (len(names) > 1)} turned"
    known = sum(stage.known for stage in stages)
    said = f" ({known} known from before)" if known else ""
    return (
        f"{report.series} on {report.base}, {arch}: {built} of {len(stages)} steps build, {booted} boot{said}; "
        f"{turned}; at the end {last}."
    )

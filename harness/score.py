# SPDX-License-Identifier: GPL-2.0-only
"""How sharp the checks are: what became of each defect, and how many were caught by the check that is to notice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.mutant import ENDS, Defect
from harness.report import trimmed
from harness.turns import Stage

#: Raised when a field changes its meaning or goes; a new field does not change it.
SCHEMA = 1
#: A check that did not pass, for a reason that is the kernel's.
RED = ("fail", "crash", "timeout")
#: What can become of a defect, and what it is called.
KINDS = {
    "caught": "caught",
    "surprise": "caught, but also by a check that should not have noticed",
    "elsewhere": "missed by the check that is named for it",
    "missed": "missed by all checks",
    "lost": "not judged",
    "unmade": "could not be made",
    "ended": "ends before any check",
    "equivalent": "equivalent",
    "told": "noticed, though it is said that nobody can",
    "refused": "refused by the compiler, as it is said",
    "unseen": "nothing to see there",
}
#: Those that count, and of them those that count as caught.
SCORED = ("caught", "surprise", "elsewhere", "missed", "lost", "ended")
CAUGHT = ("caught", "surprise")
#: Those with which all is as it should be.
GOOD = ("caught", "equivalent", "refused", "unseen")


@dataclass(frozen=True)
class Outcome:
    """What became of one defect on one architecture."""

    name: str
    arch: str
    title: str
    kind: str
    #: The check that is named for it; empty if none is.
    check: str = ""
    #: All checks that went red, and of them those that should not have.
    red: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    #: Why it could not be made or judged, how far it came, or why nobody can notice it.
    why: str = ""
    #: Seconds of make; 0 where the kernel was in the cache.
    seconds: float = 0.0
    #: The results are from before.
    known: bool = False

    @property
    def words(self) -> str:
        """What became of it, in words."""
        said = KINDS[self.kind]
        if self.kind in ("caught", "surprise"):
            said = f"caught by {self.check}" if self.check else f"caught: {self.why}"
            others = [name for name in self.red if name not in (self.check, *self.strange)]
            said += f"; also {', '.join(others)}" if others else ""
            return said + (f"; should not have noticed: {', '.join(self.strange)}" if self.strange else "")
        if self.kind == "elsewhere":
            return f"missed by {self.check}; caught by {', '.join(self.red)}"
        if self.kind == "told":
            return f"{said}: {', '.join(self.red)}"
        return f"{said}: {self.why}" if self.why else said


def judged(defect: Defect, stage: Stage) -> Outcome:
    """What the checks say of a kernel with the defect, where all of them pass on one without it."""
    red = tuple(check for check, verdict in stage.verdicts.items() if verdict in RED)
    strange = tuple(check for check in red if check not in defect.checks)
    lost = any(verdict == "error" for verdict in stage.verdicts.values())
    end = ENDS[0] if not stage.built else ENDS[1] if stage.booted is False else ""
    why = stage.why
    if end or defect.ends:
        red, strange = ((), ()) if end else (red, strange)
        well = end == defect.ends
        kind = ("refused" if end == ENDS[0] else "caught") if well else "ended" if end else "missed"
        why = {ENDS[0]: "does not build", ENDS[1]: "does not boot"}.get(end, f"it was to end with {defect.ends}")
        why += f": {stage.why}" if end and stage.why else ""
        why += f"; red: {', '.join(red)}" if not end and red else ""
    elif lost and not red:
        kind, why = "lost", "; ".join(stage.reasons.values())
    elif defect.equivalent:
        kind, why = ("told", "") if red else ("equivalent", defect.equivalent)
    elif defect.check in red:
        kind = "surprise" if strange else "caught"
    else:
        kind = "elsewhere" if red else "missed"
        verdict = stage.verdicts.get(defect.check, "")
        why = f"{defect.check}: {verdict}" + (f", {stage.reasons[defect.check]}" if verdict == "skip" else "")
    about = (defect.name, stage.arch, defect.title, kind, defect.check)
    return Outcome(*about, red, strange, why, stage.seconds, stage.known)


@dataclass(frozen=True)
class Score:
    """All of it. ``base``: the verdicts of the kernels without a defect, for each profile and architecture."""

    tree: str
    release: str
    started: str
    base: tuple[Stage, ...]
    outcomes: tuple[Outcome, ...]
    evidence: str = ""

    @property
    def well(self) -> bool:
        """Whether every defect that can be noticed was, by the check that is named for it, and by no stranger."""
        sound = all(sound_base(stage) for stage in self.base)
        return sound and all(outcome.kind in GOOD for outcome in self.outcomes)

    def closing(self, arch: str) -> str:
        """One sentence for one architecture."""
        counts = Counter(outcome.kind for outcome in self.outcomes if outcome.arch == arch)
        caught, scored = (sum(counts[kind] for kind in kinds) for kinds in (CAUGHT, SCORED))
        share = f" ({100 * caught // scored} %)" if scored else ""
        others = (
            (counts["surprise"], "noticed by a check that should not have"),
            (counts["unmade"], "could not be made"),
            (counts["told"], "noticed, though said to be equivalent"),
            (counts["equivalent"], "equivalent"),
            (counts["refused"], "refused by the compiler"),
            (counts["unseen"], "not to be seen there"),
        )
        more = "".join(f"; {count} {words}" for count, words in others if count)
        return f"{self.release}, {arch}: {caught} of {scored} mutants caught{share}{more}."

    def to_json(self) -> str:
        """The document that ``mutate --json`` writes."""
        data = {"schema": SCHEMA, "kind": "mutants", "well": self.well, **asdict(self)}
        return json.dumps(data, indent=1) + "\n"


def sound_base(stage: Stage) -> bool:
    """Whether defects can be judged against it: all checks pass, or say why they have nothing to look at."""
    return bool(stage.booted) and all(verdict in ("pass", "skip") for verdict in stage.verdicts.values())


def wrong_base(stage: Stage) -> str:
    """Why they cannot, in words."""
    if not stage.built or not stage.booted:
        return f"it does not {'boot' if stage.built else 'build'}: {stage.why}"
    bad = [f"{check} ({verdict})" for check, verdict in stage.verdicts.items() if verdict not in ("pass", "skip")]
    return f"its own checks do not pass: {', '.join(bad)}"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each defect: which check is named for it, and who noticed."""
    # It takes a tenth of a second to import, and a refused request needs none of it.
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    arches = list(dict.fromkeys(outcome.arch for outcome in outcomes))
    shown = []
    for arch in arches:
        out = Table(show_edge=False, pad_edge=False, header_style="bold")
        for name in (f"mutant, {arch}", "what it does", "outcome"):
            out.add_column(name, overflow="fold")
        for outcome in outcomes:
            if outcome.arch == arch:
                style = "" if outcome.kind in GOOD else "red"
                out.add_row(outcome.name, outcome.title, Text(outcome.words, style=style))
        shown.append(trimmed(out))
    return "\n\n".join(shown)

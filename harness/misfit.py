# SPDX-License-Identifier: GPL-2.0-only
"""Why a patch does not fit: which hunk, where its place may be now, what of it is there already. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from harness.diff import Change, Hunk

#: Lines of a file that may have come between those of a hunk.
SLACK = 10
#: The least share of a hunk's lines that makes another file a candidate for the one that is gone.
LIKELY = 0.5
#: Hunks of one file that are told of.
SHOWN = 12


@dataclass(frozen=True)
class Place:
    """Where most of some lines are: the first line, and how many are there in their order."""

    line: int
    same: int


def known(line: str) -> str:
    """A line as git's output is read: what is no UTF-8 is told apart no more."""
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def position(wanted: Sequence[str], lines: Sequence[str], near: int = 0) -> int | None:
    """Where ``wanted`` stand in ``lines``, in one piece and nearest to line ``near``; None: nowhere. From 0."""
    if not wanted:
        return None
    there = [
        at for at, line in enumerate(lines) if line == wanted[0] and list(lines[at : at + len(wanted)]) == [*wanted]
    ]
    return min(there, key=lambda at: abs(at - near), default=None)


def nearest(wanted: Sequence[str], lines: Sequence[str], near: int = 0) -> Place | None:
    """Where most of ``wanted`` are in ``lines``, however blanks differ; None if none is."""
    where: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        where.setdefault("".join(line.split()), []).append(at)
    # Each line speaks for the places at which the hunk would begin, a frequent one less for each.
    votes: Counter[int] = Counter()
    for offset, line in enumerate(wanted):
        there = where.get("".join(line.split()), []) if line.strip() else []
        for at in there:
            votes[at - offset] += 1000 // len(there)
    if not votes:
        return None
    best = max(votes, key=lambda at: (votes[at], -abs(at - near)))
    straight = sum(lines[best + at] == line for at, line in enumerate(wanted) if 0 <= best + at < len(lines))
    # Something may have come between them.
    start = max(0, best - SLACK)
    matcher = SequenceMatcher(None, wanted, lines[start : best + len(wanted) + SLACK], autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    if (loose := sum(block.size for block in blocks)) > straight:
        return Place(start + blocks[0].b + 1, loose)
    return Place(max(0, best) + 1, straight)


def hunk(one: Hunk, lines: Sequence[str]) -> str:
    """What is wrong with a hunk in a file of these ``lines``; empty if it fits."""
    old, new = [known(line) for line in one.old], [known(line) for line in one.new]
    near = max(0, one.old_start - 1)
    if not old or position(old, lines, near) is not None:
        return ""
    if (there := position(new, lines, near)) is not None:
        return f"is there already, at line {there + 1}"
    place = nearest(old, lines, near)
    if place is None:
        return "no line of it is in the file"
    return f"nearest is line {place.line}, where {place.same} of its {len(old)} lines are the same"


def header(one: Hunk) -> str:
    """The line that a hunk begins with."""
    return f"@@ -{one.old_start},{one.old_count} +{one.new_start},{one.new_count} @@ {one.section}".rstrip()


def change(one: Change, text: str | None, others: Mapping[str, str]) -> list[str]:
    """Why a change of one file does not fit, a line each; empty if it does.

    ``text`` is what the file has, None: there is none. ``others`` are files that may be the one that is gone.
    """
    if one.old is None:
        if text is None:
            return []
        content = [known(line) for each in one.hunks for line in each.new]
        same = text.splitlines() == content
        return [f"{one}: it is made by the patch, and is there already{', the same' if same else ''}"]
    if text is None:
        found = renamed(one, others)
        return [f"{one.old} is gone" + (f": perhaps renamed to {found}" if found else "")]
    if one.binary:
        return [f"{one.old} is binary, and not what the patch was made from"]
    lines = text.split("\n")
    wrong = [(each, why) for each in one.hunks if (why := hunk(each, lines))]
    if not wrong:
        return []
    told = [f"{one.old}: {len(wrong)} of {len(one.hunks)} hunks do not fit"]
    told += [f"  {header(each)}: {why}" for each, why in wrong[:SHOWN]]
    return told + ([f"  and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else [])


def renamed(one: Change, others: Mapping[str, str]) -> str:
    """The file among ``others`` that has most of the lines that a change wants to find, and how many it has."""
    wanted = {line for each in one.hunks for line in map(known, each.old) if len(line.strip()) > 3}
    if not wanted:
        return ""
    shares = {path: len(wanted & set(text.split("\n"))) / len(wanted) for path, text in others.items()}
    best = max(shares, key=lambda path: shares[path], default="")
    return f"{best} ({shares[best]:.0%} of the lines are there)" if shares.get(best, 0.0) >= LIKELY else ""

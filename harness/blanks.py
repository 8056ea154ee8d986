# SPDX-License-Identifier: GPL-2.0-only
"""Where the blank lines of a hunk stand that a mail lost. The tree has them; beside new lines there is a choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

#: git puts so many lines of context on either side of a change (git-diff(1)).
CONTEXT = 3
#: How much speaks for a place: that the hunk has CONTEXT lines then; that it is beside all new lines, not among them.
STRONG, EDGE = 8, 2
#: Places among new lines that are looked at, at most, and blank lines that are not left in one place.
PLACES = 5
DECLARATION = re.compile(
    r"^(?!return |goto |else )(?:(?:const|static|volatile|struct|enum|union|(?:un)?signed) )*"
    r"\w+ \**\w+(?:\[.*\])?(?: = .*|, .*)?;$"
)
CONTROL = re.compile(r"^(?:\} )?(?:if|for|while|else|switch|do)\b")


@dataclass(frozen=True)
class Line:
    """A line of a hunk. ``letter`` is blank, ``-`` or ``+``; what is not new has its text from the file."""

    letter: str
    text: str
    #: As the mail has it, first letter and all, maybe in several lines; None for a blank line that it lost.
    raw: str | None = None
    #: Whether no end of line is behind it (``\\ No newline at end of file``).
    last: bool = False


def settled(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The same hunk, with the blank lines that the mail lost where they look right; it fits as well as before."""
    found = list(lines)
    at = 0
    while at < len(found):
        end = at
        while end < len(found) and (found[end].letter == "+" or found[end].raw is None):
            end += 1
        new = [line for line in found[at:end] if line.letter == "+"]
        blank = [line for line in found[at:end] if line.letter != "+"]
        if new and blank:
            found[at:end] = _spread(found[:at], new, blank, found[end:])
        at = end + 1
    return tuple(found)


def guessed(lines: Sequence[Line]) -> list[int]:
    """The indices of those that could stand elsewhere as well."""
    beside = [one.letter == "+" or other.letter == "+" for one, other in pairwise(lines)]
    sides = zip([False, *beside], [*beside, False], strict=True)
    return [n for n, (line, side) in enumerate(zip(lines, sides, strict=True)) if line.raw is None and any(side)]


def _spread(before: Sequence[Line], new: Sequence[Line], blank: Sequence[Line], behind: Sequence[Line]) -> list[Line]:
    count = len(new)
    texts = [next((line.text for line in reversed(before) if line.letter != "-"), ""), *(line.text for line in new)]
    texts.append(next((line.text for line in behind if line.letter != "-"), ""))
    reasons = [_reason(one.strip(), other.strip()) for one, other in pairwise(texts)]
    # git writes what is new right behind what goes, and nothing that goes right behind what is new.
    reasons[0] += EDGE - 2 * STRONG * bool(before and before[-1].letter == "-")
    reasons[count] += EDGE + 1 + 2 * STRONG * bool(behind and behind[0].letter == "-")
    first, last = (all(line.letter == " " for line in side) for side in (before, behind))

    def reason(places: Sequence[int]) -> int:
        sides = [len(before) + places.count(0)] * first + [len(behind) + places.count(count)] * last
        whole = sum((side == CONTEXT) - (side > CONTEXT) for side in sides)
        return sum(reasons[place] for place in places) + 3 * STRONG * whole

    among = sorted(range(1, count), key=lambda place: -reasons[place])[: PLACES if len(blank) < PLACES else 0]
    best = max(combinations_with_replacement(sorted({0, count, *among}), len(blank)), key=reason)
    found: list[Line] = []
    for place in range(count + 1):
        found += [line for line, its in zip(blank, best, strict=True) if its == place]
        found += new[place : place + 1]
    return found


def _reason(before: str, behind: str) -> int:
    """How much speaks for a blank line between two lines of the kernel's C."""
    if not before or not behind or before.endswith((",", "(", "{", "\\")) or behind.startswith("}"):
        return -STRONG
    if CONTROL.match(before) and not before.endswith(";"):
        return -STRONG
    block = EDGE * (before in ("}", "};")) + behind.startswith(("/*", "return"))
    if not DECLARATION.match(before):
        return block
    return -2 * EDGE if DECLARATION.match(behind) else 2 * EDGE + block

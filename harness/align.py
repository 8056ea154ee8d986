# SPDX-License-Identifier: GPL-2.0-only
"""Where a hunk belongs in a file, whatever became of its white space: which line of the mail is which of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import TypeAlias

from harness import diff
from harness.blanks import CONTEXT, Line, settled
from harness.diff import Hunk

#: Lines that one may have become on its way, at most.
PARTS = 5
#: Places in a file that are told apart, at most.
PLACES = 6
#: What it costs to have a line of a hunk for something else than its first letter says: for a blank line that the mail
#: lost, for context though it begins with + or -, for the rest of the line before, for the same of a new line, for
#: nothing.
LOST, MISTAKEN, JOINED, JOINED_NEW, NOTHING = 1, 2, 1, 3, 4

#: The lines up to some place, the last one first.
_Path: TypeAlias = "tuple[_Path, Line] | None"
#: The cheapest paths that took so many lines of the file, and made so many new ones.
_Paths: TypeAlias = dict[tuple[int, int], tuple[int, _Path]]


@dataclass(frozen=True)
class Place:
    """A hunk where it belongs."""

    #: The first line of the file that it takes, from 0, and the one behind it.
    at: int
    end: int
    lines: tuple[Line, ...]
    #: Another line where it would fit; None if there is none.
    other: int | None = None


def squeezed(text: str) -> str:
    """``text`` without any white space."""
    return "".join(text.split())


class File:
    """The lines of a file, to be found by what is not white space in them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.removesuffix("\n").split("\n") if text else []
        self._bare = [squeezed(line) for line in self.lines]
        self._where: dict[str, list[int]] = {}
        for number, bare in enumerate(self._bare):
            self._where.setdefault(bare, []).append(number)

    def place(self, hunk: Hunk, offset: int, start: int) -> Place | None:
        """Where ``hunk`` belongs, from the line ``start`` on, nearest to what its header says plus ``offset``."""
        wanted = begin(hunk) + offset
        fits: list[Place] = []
        for at in sorted(self._candidates(hunk, wanted), key=lambda at: abs(at - wanted)):
            lines = self._aligned(hunk, at) if at >= start else None
            if lines is None:
                continue
            fits.append(Place(at, at + hunk.old_count, lines))
            if len(fits) == PLACES or (at == wanted and not self._uneven(fits[0])):
                break
        if not fits:
            return None
        # Where blank lines at the ends leave a choice, it has as much context before as behind.
        near = [place for place in fits if abs(place.at - fits[0].at) <= CONTEXT]
        best = min(near, key=lambda place: (self._uneven(place), abs(place.at - wanted)))
        others = [place.at for place in fits if place not in near and best.at != wanted]
        return replace(best, other=others[0] if others else None)

    def nearest(self, hunk: Hunk, offset: int) -> tuple[int, int, int]:
        """The line from which on most of what it wants to find is there, and how many of its lines, of how many."""
        old = [bare for line in hunk.lines if line[:1] != "+" and (bare := squeezed(line.removeprefix("-")))]
        best = (0, 0, max(begin(hunk) + offset, 0))
        for at in {max(number - place, 0) for place, bare in enumerate(old) for number in self._where.get(bare, [])}:
            there = set(self._bare[at : at + hunk.old_count])
            best = max(best, (sum(bare in there for bare in old), -abs(at - begin(hunk) - offset), at))
        return best[2], best[0], len(old)

    def _candidates(self, hunk: Hunk, wanted: int) -> set[int]:
        """Lines where it may begin: where its first line that is not new is, in whatever parts, or blank ones above."""
        if not hunk.old_count:
            return {wanted}
        first = next((number for number, line in enumerate(hunk.lines) if line.strip() and line[0] != "+"), None)
        bares = {squeezed(line) for line in hunk.lines[: first or 0]} or ({""} if first is None else set())
        # What is left of a broken @@ line is before it.
        fitting = next((number for number, line in enumerate(hunk.lines) if line.strip() and diff.fits(line)), None)
        for number in (first, fitting):
            rest = () if number is None else hunk.lines[number : number + PARTS]
            parts = [squeezed("".join(rest[:count])) for count in range(1, len(rest) + 1)]
            bares.update(parts, (part.removeprefix("-") for part in parts))
        found = {number for bare in bares for number in self._where.get(bare, [])}
        for number in list(found):
            above = number
            while above and not self._bare[above - 1]:
                above -= 1
                found.add(above)
        return found

    def _aligned(self, hunk: Hunk, at: int) -> tuple[Line, ...] | None:
        """What its lines are if it begins at the line ``at``: the cheapest way to have as many as its header says."""
        if at + hunk.old_count > len(self.lines):
            return None
        bare = [squeezed(line) for line in hunk.lines]
        # A new line may go on with a +, but only if there are too many of them, and so many at most.
        grown = list(accumulate(((line[:1] == "+") - (line[:1] == "-") for line in hunk.lines), initial=0))
        spare = grown[-1] - hunk.new_count + hunk.old_count
        most = spare + sum(line[:1] == "-" for line in hunk.lines)
        paths: list[_Paths] = [{} for _ in range(len(bare) + 1)]
        paths[0][0, 0] = (0, None)
        for number in range(len(bare) + 1):
            for old, new in self._reached(paths[number], hunk, at):
                cost, path = paths[number][old, new]
                there = at + old if old < hunk.old_count else None
                for parts, letter, price in self._readings(hunk.lines, bare, number, there, plus=spare > 0):
                    state = old + (letter in (" ", "-")), new + (letter in (" ", "+"))
                    over = grown[number + parts] - state[1] + state[0] > most
                    if state[0] <= hunk.old_count and state[1] <= hunk.new_count and not (over and spare > 0):
                        known = paths[number + parts].get(state)
                        if known is None or cost + price < known[0]:
                            step = self._step(path, letter, hunk.lines[number : number + parts], there)
                            paths[number + parts][state] = (cost + price, step)
        path = paths[-1].get((hunk.old_count, hunk.new_count), (0, None))[1]
        found: list[Line] = []
        while path:
            path, line = path
            found.append(line)
        found.reverse()
        # Without context behind it, it is for the end of the file (git: apply.c, find_pos).
        ends = not found or found[-1].letter == " " or not hunk.old_count or at + hunk.old_count == len(self.lines)
        return settled(found) if found and ends else None

    def _reached(self, paths: _Paths, hunk: Hunk, at: int) -> Iterator[tuple[int, int]]:
        """Where paths are, also behind blank lines of the file that the mail lost."""
        todo = list(paths)
        heapify(todo)
        while todo:
            old, new = heappop(todo)
            yield old, new
            if old < hunk.old_count and new < hunk.new_count and not self._bare[at + old]:
                cost, path = paths[old, new]
                known = paths.get((old + 1, new + 1))
                if known is None:
                    heappush(todo, (old + 1, new + 1))
                if known is None or cost + LOST < known[0]:
                    paths[old + 1, new + 1] = cost + LOST, (path, Line(" ", self.lines[at + old]))

    def _readings(
        self, raw: Sequence[str], bare: Sequence[str], at: int, there: int | None, *, plus: bool
    ) -> Iterator[tuple[int, str, int]]:
        """What the line ``at`` of the mail may be: with how many in all, which letter, for what price."""
        if at == len(raw):
            return
        line, wanted = raw[at], None if there is None else self._bare[there]
        if line.startswith("\\ "):
            yield 1, "\\", 0
        if not bare[at]:
            if wanted == "":
                yield 1, " ", 0
            yield 1, "", NOTHING
            return
        if at < PARTS and not any(map(diff.fits, raw[: at + 1])):  # of the @@ line
            yield 1, "", NOTHING
        together, new = "", line[0] == "+"
        for parts in range(1, min(PARTS, len(raw) - at) + 1):
            together += bare[at + parts - 1]
            if parts > 1 and raw[at + parts - 1][:1] == "+":
                new = new and plus and diff.broken(*raw[at + parts - 2 : at + parts])
            if together == wanted:
                yield parts, " ", (parts - 1) * JOINED + MISTAKEN * (line[0] in "+-")
            if line[0] == "-" and together[1:] == wanted:
                yield parts, "-", (parts - 1) * JOINED
            if new:
                yield parts, "+", (parts - 1) * JOINED_NEW

    def _step(self, path: _Path, letter: str, raw: Sequence[str], there: int | None) -> _Path:
        if letter == "\\" and path and path[1].letter == "+":
            return path[0], replace(path[1], last=True)
        if letter not in (" ", "-", "+"):
            return path
        if letter == "+" or there is None:
            text = "".join(part if part.endswith(" ") else f"{part} " for part in raw[:-1]) + raw[-1]
            return path, Line(letter, text[1:], "\n".join(raw))
        last = there == len(self.lines) - 1 and not self.text.endswith("\n")
        return path, Line(letter, self.lines[there], "\n".join(raw), last)

    def _uneven(self, place: Place) -> int:
        """By how many lines its context before and behind differ, where the file has enough."""
        changed = [number for number, line in enumerate(place.lines) if line.letter != " "]
        if not place.at or place.end == len(self.lines) or not changed:
            return 0
        return abs(changed[0] - (len(place.lines) - 1 - changed[-1]))


def begin(hunk: Hunk) -> int:
    """The line where it begins as its header says, from 0."""
    return hunk.old_start - (hunk.old_count > 0)

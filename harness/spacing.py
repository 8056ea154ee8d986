# SPDX-License-Identifier: GPL-2.0-only
"""What became of the white space of a patch, by the lines that the tree has too; and what new lines had, by that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from harness.blanks import Line
from harness.indent import TAB, lead

#: So many of the lines that tell must agree: in the tree, some may have been indented anew since.
MOST = 0.7
#: The same, where what they agree in is taken for a rule.
RULE = 0.9
#: White space that could have been lost.
SPACED = re.compile(r"^[ \t]|\t|  ")
RUN = re.compile(r"[ \t]{2}")
GAP = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Spacing:
    """What is known of the white space of a patch's new lines."""

    #: They have it.
    kept: bool
    #: Gives a line its tabs back, where they became blanks; by the column at which it is thought to begin.
    tabs: Callable[[str, int], str] | None = None
    #: A line still shows whether it was indented at all.
    shows: bool = True

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Spacing:
        """That of a patch, by all its lines. What goes tells most: what happened to it happened to what is new."""
        with_raw = ((line.letter, line.raw or "", line.text) for line in lines)
        whole = [(letter, raw, text) for letter, raw, text in with_raw if raw.strip() and "\n" not in raw]
        new = [text for letter, _, text in whole if letter == "+"]
        gone = [(raw[1:].rstrip(), text.rstrip()) for letter, raw, text in whole if letter == "-"]
        stays = [(raw[1:].rstrip(), text.rstrip()) for letter, raw, text in whole if letter == " " == raw[0]]
        if any("\t" in text for text in new):
            return cls(kept=True)
        telling = [pair for pair in gone if SPACED.search(pair[1])] or [
            pair for pair in stays if SPACED.search(pair[1])
        ]
        shows = any(text[:1] == " " for text in new) and _most(
            (raw[:1] == " ", text[:1].isspace()) for raw, text in gone
        )
        if not _most(telling):
            for way in WAYS:
                # Where there are only single tabs, one blank for each of them is one for each run.
                runs = [pair for pair in telling if way is not WAYS[-1] or RUN.search(pair[1])]
                if runs and _most(((raw, way(text)) for raw, text in runs), RULE):
                    return cls(kept=False, tabs=partial(_back, way=way))
            return cls(kept=False, shows=shows)
        if any("\t" in text or text.startswith("  ") for _, text in telling):
            return cls(kept=True)
        least = min((len(text) - len(text.lstrip(" ")) for text in new if text.startswith("  ")), default=0)
        if least in (TAB - 1, TAB):  # nothing tells, but nobody indents so far with blanks
            return cls(kept=False, tabs=partial(_back, way=WAYS[TAB - least]))
        lost = any(letter == " " != raw[0] for letter, raw, _ in whole)
        single = any(text[:1] == " " and not text.startswith(" *") for text in new) and not any(map(RUN.search, new))
        return cls(kept=bool(telling) or not (lost or single), shows=shows)


def _most(pairs: Iterable[tuple[object, object]], part: float = MOST) -> bool:
    same = [one == other for one, other in pairs]
    return sum(same) >= part * len(same)


def _columns(text: str, shift: int) -> str:
    """With blanks up to the columns that tabs show as, if the line is shown ``shift`` columns to the right."""
    return ("#" * shift + text).expandtabs(TAB)[shift:]


def _fixed(text: str, size: int) -> str:
    """With so many blanks for each tab."""
    return text.replace("\t", " " * size)


#: What becomes of tabs: mailers have blanks for them, and a terminal shows the first letter of a line, too.
WAYS = [partial(_columns, shift=0), partial(_columns, shift=1), *(partial(_fixed, size=size) for size in (8, 4, 2, 1))]


def _back(text: str, column: int, way: Callable[[str], str]) -> str:
    """The line that became ``text``: in front with tabs as far as they fit, and where blanks reach to a tab's end."""
    body = text.lstrip(" ")
    blanks = len(text) - len(body)
    rest = {count: blanks - len(way("\t" * count)) for count in range(blanks + 1)}
    fitting = [count for count in rest if 0 <= rest[count] < TAB]
    tabs = next((count for count in fitting if TAB * count + rest[count] == column), max(fitting, default=0))
    line = "\t" * tabs + " " * rest[tabs]
    for part in re.split("( {2,})", body):
        gaps = ["\t" * count for count in range(1, len(part) + 1)] if part.startswith("  ") else []
        line += next((gap for gap in gaps if way(line + gap) == way(line) + part), part)
    return line


def like(text: str, column: int, models: Sequence[str]) -> str:
    """``text``, with one blank for each gap, as a line that begins at ``column`` and is spaced as lines around it.

    ``models`` are lines as they stand, the nearest first.
    """
    words = text.split(" ")
    line = lead(column) + words[0]
    for number, word in enumerate(words[1:], start=1):
        line += _up_to(len(line.expandtabs(TAB)), *_column(words, number, models)) + word
    return line


def _up_to(place: int, column: int, gap: str) -> str:
    """The gap between a word that ends at ``place`` and one that should stand at ``column``."""
    if "\t" in gap and column % TAB == 0:
        return "\t" * max(column // TAB - place // TAB, 1)
    return " " * max(column - place, 1)


def _column(words: Sequence[str], number: int, models: Sequence[str]) -> tuple[int, str]:
    """Where the word ``number`` should stand, as its like do around, and the gap before one of them; 0 for nowhere."""
    kind = _kind(words, number)
    for model in models if kind else ():
        theirs = model.split()
        gaps = list(GAP.finditer(model.strip()))
        for other, gap in enumerate(gaps, start=1):
            if _kind(theirs, other) == kind:
                end = len(model) - len(model.lstrip()) + gap.end()
                return (0, "") if gap[0] == " " else (len(model[:end].expandtabs(TAB)), gap[0])
    return 0, ""


def _kind(words: Sequence[str], number: int) -> str:
    """What a word is, if such words are put under each other: a value, a member's name, a comment, a line's end."""
    word = words[number]
    if word == "\\" and number == len(words) - 1:
        return "end"
    if word.startswith("/*"):
        return "comment"
    if words[0] == "#define":
        return "value" if number == 2 and "(" not in words[1] else ""
    if word == "=" and number == 1:
        return "initial" if words[0].startswith((".", "[")) else "assigned"
    last = next((n for n, each in enumerate(words) if each.endswith(";")), None)
    plain = words[0] not in ("return", "goto") and not any(set("=()") & set(each) for each in words[: number + 1])
    return "member" if number == last and plain else ""

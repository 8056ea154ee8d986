# SPDX-License-Identifier: GPL-2.0-only
"""Mails that lost something on their way, recognised by what git can never have written.

How mailers do that: Documentation/process/email-clients.rst of the kernel. What the mail alone does not show, such as
tabs that became blanks, the tree does: see repair.py.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

from harness import diff
from harness.diff import Change, Hunk
from harness.errors import RequestError
from harness.series import Patch

ENTITY = re.compile(r"&(lt|gt|amp|quot|apos|nbsp|#0*3[49]|#x2[27]);")
PLAIN = {
    "lt": "<",
    "gt": ">",
    "amp": "&",
    "quot": '"',
    "apos": "'",
    "nbsp": " ",
    "34": '"',
    "39": "'",
    "x22": '"',
    "x27": "'",
}
#: Where a mail that was escaped shows it: its trailers, and what every C file is full of.
ESCAPED = re.compile(r"^[\w-]+-by: .*&lt;\S+@\S+&gt;\s*$", re.MULTILINE)
SIGNED = re.compile(r"^[\w-]+-by: .*<\S+@\S+>\s*$", re.MULTILINE)
FLOWED = re.compile(r"\A(?:[^\n]+\n)*?Content-Type:(?:[^\n]|\n[ \t])*format=\"?flowed", re.IGNORECASE)
C = (".c", ".h", ".cc", ".cpp", ".hpp")
#: A "diff --git" that is broken between its two names; git wants both.
HEADER = re.compile(
    r"^(diff --git \S+) ?\n(?!index |old |new |deleted |similarity |dissimilarity |rename |copy |--- )(\S+)$", re.M
)
#: A line that opens a block, and those that may follow it without being further in.
OPENS = re.compile(r"(?:\)|\belse|\bdo|=|^) ?\{$")
SAME = re.compile(r"[}#/*]|case\b|default\b|\w+:|extern\b|namespace\b")
#: A context line that no C file has without some indentation.
INSIDE = re.compile(r" (?:return\b|goto \w|break;|continue;|else\b|\} else\b|(?:if|for|while|switch) \(|\w+->\w)")


class Kind(Enum):
    """What can be wrong with a patch, in plain words, and whether a tree can help."""

    BLANK = "context lines have lost the blank before them", True
    WRAPPED = "long lines are broken", True
    DROPPED = "context lines are missing, most likely blank ones", True
    COLLAPSED = "tabs and blanks have become one blank each", True
    TABS = "tabs have become blanks", True
    SPACE = "its context is there, but with other white space", True
    STUFFED = "context lines have one blank too many: it was sent as format=flowed", True
    ESCAPED = "<, > and & are written as in HTML", True
    CUT = "the mail ends in the middle of it", False
    COUNT = "it has not the lines that its header says", False

    @property
    def words(self) -> str:
        """What is wrong."""
        return self.value[0]

    @property
    def mendable(self) -> bool:
        """Whether repair.repaired() may mend it."""
        return self.value[1]


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a patch, with the first place where it is seen."""

    patch: Patch
    kind: Kind
    file: str
    #: Which hunk of the file, 0 for what is before them, and its line of the mail, from 1.
    hunk: int
    line: int
    #: Hunks that have it.
    hunks: int
    #: What was seen there.
    seen: str = ""

    def __str__(self) -> str:
        hunk = f"hunk {self.hunk}, " if self.hunk else ""
        more = f" and {self.hunks - 1} more" if self.hunks > 1 else ""
        seen = f" ({self.seen})" if self.seen else ""
        return f"{self.patch}: {self.kind.words}: {self.file}, {hunk}line {self.line} of the mail{more}{seen}"


def found(patch: Patch) -> list[Damage]:
    """What is wrong with a patch, each kind once, by the mail alone; nothing for whatever git writes."""
    places = list(_seen(patch))
    if any(place[0] is Kind.WRAPPED for place in places):  # what is left of a broken line may look like another line
        places = [(Kind.WRAPPED if place[0] is Kind.COUNT else place[0], *place[1:]) for place in places]
    first: dict[Kind, Damage] = {}
    for kind, change, hunk, seen in places:
        if known := first.get(kind):
            first[kind] = replace(known, hunks=known.hunks + 1)
        else:
            number = change.hunks.index(hunk) + 1 if hunk else 0
            first[kind] = Damage(patch, kind, str(change), number, hunk.at if hunk else change.at, 1, seen)
    return list(first.values())


def refused(damages: Sequence[Damage]) -> RequestError:
    """The error that names all that is wrong with the patches of a series, and what to do."""
    patches = list(dict.fromkeys(damage.patch for damage in damages))
    names = ", ".join(f"{patch.n}/{patch.of}" for patch in patches[:20]) + (", …" if len(patches) > 20 else "")
    what = f"patch {names} is damaged" if len(patches) == 1 else f"{len(patches)} patches are damaged: {names}"
    anew = f"get the mail anew: b4 am {patches[0].message_id or 'MESSAGE-ID'}"
    hint = f"--repair-whitespace mends it by what the tree has, and says what it had to guess; or {anew}"
    mendable = all(damage.kind.mendable for damage in damages)
    cause = "\n         ".join(map(str, damages))
    return RequestError(what, cause=cause, hint=hint if mendable else anew)


def undone(patch: Patch) -> str:
    """Its text without what can be undone without a tree: HTML's entities, and the blanks of format=flowed."""
    text = HEADER.sub(r"\1 \2", patch.text)
    if _escaped(patch):
        text = ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\N{NO-BREAK SPACE}", " "), text)
    if _stuffed(patch):
        head, start, rest = text.partition("\ndiff --git ")
        text = head + start + rest.replace("\n ", "\n")
    return text


def _seen(patch: Patch) -> Iterator[tuple[Kind, Change, Hunk | None, str]]:
    """Every hunk, or header of a file, with something wrong in it, and what was seen there."""
    hunks = list(diff.hunks(patch.changes))
    for header in HEADER.finditer(patch.text):
        line = patch.text.count("\n", 0, header.start()) + 1
        yield from ((Kind.WRAPPED, change, None, repr(header[2])) for change in patch.changes if change.at == line)
    faulty = [(change, hunk) for change, hunk in hunks if hunk.fault]
    whole = ((Kind.ESCAPED, _escaped(patch)), (Kind.STUFFED, _stuffed(patch)))
    for kind, is_so in (*whole, (Kind.COLLAPSED, not faulty and _collapsed(patch))):
        if is_so:
            yield from ((kind, *hunk, "") for hunk in hunks)
    bad = sum(not diff.fits(line) for _, hunk in faulty for line in hunk.lines)
    kept = sum(line.startswith(" ") for line in _lines(patch))
    end = patch.text.rstrip("\n").count("\n") + 1
    for change, hunk in faulty:
        lost = [number for number, line in enumerate(hunk.lines) if not diff.fits(line)]
        if bad > 2 * kept:  # no mailer leaves so many lines of its own
            yield Kind.BLANK, change, hunk, repr(hunk.lines[lost[0]]) if lost else ""
        elif lost and all(not number or diff.broken(*hunk.lines[number - 1 : number + 1]) for number in lost):
            yield Kind.WRAPPED, change, hunk, repr(hunk.lines[lost[0]])
        elif lost:
            yield Kind.COUNT, change, hunk, hunk.fault
        elif (missing := hunk.old_count - len(hunk.old)) != hunk.new_count - len(hunk.new) or missing < 0:
            cut = hunk.at + len(hunk.lines) >= end
            yield Kind.CUT if cut else Kind.COUNT, change, hunk, hunk.fault
        elif hunk.at + len(hunk.lines) >= end:
            yield Kind.CUT, change, hunk, f"{missing} of its lines are missing"
        else:
            yield Kind.DROPPED, change, hunk, f"{missing} of its lines"


def _lines(patch: Patch) -> list[str]:
    return [line for _, hunk in diff.hunks(patch.changes) for line in hunk.lines]


def _escaped(patch: Patch) -> bool:
    lines = _lines(patch)
    if not any(map(ENTITY.search, lines)) or any("<" in line or ">" in line for line in lines):
        return False
    c_lines = [line for change, hunk in diff.hunks(patch.changes) if str(change).endswith(C) for line in hunk.lines]
    usual = any("-&gt;" in line or "#include &lt;" in line for line in c_lines)
    return usual or bool(ESCAPED.search(patch.text) and not SIGNED.search(patch.text))


def _stuffed(patch: Patch) -> bool:
    if not FLOWED.match(patch.text.partition("\n\n")[0]):
        return False
    blank = [line for line in _lines(patch) if line.startswith(" ")]
    return bool(blank) and all(line.startswith("  ") for line in blank)


def _collapsed(patch: Patch) -> bool:
    """Whether C code has no indentation but single blanks, though there is more than one line that needs some."""
    hunks = [hunk for change, hunk in diff.hunks(patch.changes) if str(change).endswith(C)]
    if any("\t" in line or "  " in line for hunk in hunks for line in hunk.lines):
        return False
    flat = sum(bool(INSIDE.match(line)) for hunk in hunks for line in hunk.lines)
    for hunk in hunks:
        for opening, line in pairwise(line for line in hunk.new if line.strip()):
            same = len(line) - len(line.lstrip()) <= len(opening) - len(opening.lstrip())
            flat += bool(OPENS.search(opening.strip())) and same and not SAME.match(line.lstrip())
    return flat > 1

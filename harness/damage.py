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
#: Where a mail that was escaped shows it: its trailers, and what every C file is full of.
ESCAPED = re.compile(r"^[\w-]+-by: .*&lt;\S+@\S+&gt;\s*$", re.MULTILINE)
SIGNED = re.compile(r"^[\w-]+-by: .*<\S+@\S+>\s*$", re.MULTILINE)
FLOWED = re.compile(r"\A(?:[^\n]+\n)*?Content-Type:(?:[^\n]|\n[ \t])*format=\"?flowed", re.IGNORECASE)
C = (".c", ".h", ".cc", ".cpp", ".hpp")
#: The names of a file, which may be broken apart; git wants them on their lines.
NAMES = re.compile(r"^(?:diff --git(?: | ?\n)a/\S+(?: | ?\n)b/\S+|(?:---|\+\+\+) ?\n[ab]/\S+)$", re.MULTILINE)
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


#: What shows against a tree only; it may be the tree that was changed.
AGAINST = (Kind.TABS, Kind.SPACE)


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
    for kind, file, hunk, line, seen in places:
        if known := first.get(kind):
            first[kind] = replace(known, hunks=known.hunks + 1)
        else:
            first[kind] = Damage(patch, kind, file, hunk, line, 1, seen)
    return list(first.values())


def refused(damages: Sequence[Damage]) -> RequestError:
    """The error that names all that is wrong with the patches of a series, and what to do."""
    patches = list(dict.fromkeys(damage.patch for damage in damages))
    names = ", ".join(f"{patch.n}/{patch.of}" for patch in patches[:20]) + (", …" if len(patches) > 20 else "")
    is_so = "damaged" if any(damage.kind not in AGAINST for damage in damages) else "spaced otherwise than the tree"
    what = f"patch {names} is {is_so}" if len(patches) == 1 else f"{len(patches)} patches are {is_so}: {names}"
    anew = f"get the mail anew: b4 am {patches[0].message_id or 'MESSAGE-ID'}"
    hint = f"--repair-whitespace mends it by what the tree has, and says what it had to guess; or {anew}"
    mendable = all(damage.kind.mendable for damage in damages)
    cause = "\n         ".join(map(str, damages))
    return RequestError(what, cause=cause, hint=hint if mendable else anew)


def undone(patch: Patch) -> str:
    """Its text without what can be undone without a tree: HTML's entities, and broken names of files."""
    text = NAMES.sub(lambda names: " ".join(names[0].split()), patch.text)
    if _escaped(patch):
        text = ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\N{NO-BREAK SPACE}", " "), text)
    return text


def _seen(patch: Patch) -> Iterator[tuple[Kind, str, int, int, str]]:
    """Every hunk with something wrong in it: file, number, line, and what was seen there; also every broken header."""
    for names in NAMES.finditer(patch.text):
        if "\n" in names[0]:
            words = names[0].split()
            yield Kind.WRAPPED, words[-1].partition("/")[2], 0, patch.text.count("\n", 0, names.start()) + 1, words[-1]
    hunks = list(diff.hunks(patch.changes))
    whole = ((Kind.ESCAPED, _escaped), (Kind.STUFFED, _stuffed), (Kind.COLLAPSED, _collapsed))
    for kind in [kind for kind, is_so in whole if is_so(patch)]:
        yield from ((kind, *_place(*hunk), "") for hunk in hunks)
    bad = sum(not diff.fits(line) for _, hunk in hunks for line in hunk.lines if hunk.fault)
    lost = bad > 2 * sum(line.startswith(" ") for line in _lines(patch))
    end = patch.text.rstrip("\n").count("\n") + 1
    for change, hunk in hunks:
        if hunk.fault:
            kind, seen = _fault(hunk, lost=lost, cut=hunk.at + len(hunk.lines) >= end)
            yield kind, *_place(change, hunk), seen


def _place(change: Change, hunk: Hunk) -> tuple[str, int, int]:
    return str(change), change.hunks.index(hunk) + 1, hunk.at


def _fault(hunk: Hunk, *, lost: bool, cut: bool) -> tuple[Kind, str]:
    """What is wrong with a hunk that is none; ``lost``: most of the patch's context has no first letter."""
    odd = [number for number, line in enumerate(hunk.lines) if not diff.fits(line)]
    if lost:
        return Kind.BLANK, repr(hunk.lines[odd[0]]) if odd else ""
    if odd:
        broken = all(not number or diff.broken(*hunk.lines[number - 1 : number + 1]) for number in odd)
        return (Kind.WRAPPED, repr(hunk.lines[odd[0]])) if broken else (Kind.COUNT, hunk.fault)
    missing = hunk.old_count - len(hunk.old), hunk.new_count - len(hunk.new)
    if cut and max(missing) > 0:
        return Kind.CUT, f"{max(missing)} of its lines are missing"
    if missing[0] == missing[1] > 0:
        return Kind.DROPPED, f"{missing[0]} of its lines"
    return Kind.COUNT, hunk.fault


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
    if any(hunk.fault or any("\t" in line or "  " in line for line in hunk.lines) for hunk in hunks):
        return False
    flat = sum(bool(INSIDE.match(line)) for hunk in hunks for line in hunk.lines)
    for hunk in hunks:
        for opening, line in pairwise(line for line in hunk.new if line.strip()):
            same = len(line) - len(line.lstrip()) <= len(opening) - len(opening.lstrip())
            flat += bool(OPENS.search(opening.strip())) and same and not SAME.match(line.lstrip())
    return flat > 1

# SPDX-License-Identifier: GPL-2.0-only
"""Mends a patch that lost white space on its way, by the tree that it is for.

Context and what goes are in the tree, byte by byte. What is new is nowhere else: its white space is guessed, and that
is said. A patch-id leaves white space out, so what is mended has that of what was sent. Where the tree has the very
file that an index line names, the id of the result behind it proves a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from harness import blanks, damage, diff
from harness.align import File, Place, begin
from harness.blanks import Line
from harness.diff import Change, Hunk
from harness.errors import RequestError
from harness.indent import TAB, Indenter, width
from harness.series import Patch
from harness.spacing import Spacing, like

#: Lines around, in which columns are looked for.
AROUND = 30

Reader = Callable[[str], str | None]


@dataclass(frozen=True)
class Repaired:
    """A mended patch, and what had to be guessed, "file:lines: what"; the lines are those of the result."""

    patch: Patch
    guesses: tuple[str, ...]
    #: Files that come out byte by byte as they were meant, as the ids in their index lines prove.
    proved: tuple[str, ...]

    @property
    def patch_id(self) -> str:
        """As ``git patch-id --stable`` prints it; the same as before anything was lost."""
        return diff.patch_id(self.patch.text)


class Unmendable(RequestError):
    """Hunks of a patch belong nowhere in the tree. ``rest`` is the patch without them; ``left``: them, by file."""

    def __init__(self, patch: Patch, homeless: Sequence[tuple[Change, Hunk, str]], rest: Repaired) -> None:
        causes = [f"{_where(change, hunk)} {why}" for change, hunk, why in homeless]
        hint = f"a tree that it is for, or the mail as it was sent: b4 am {patch.message_id or 'MESSAGE-ID'}"
        super().__init__(f"patch {patch} cannot be mended", cause="\n         ".join(causes), hint=hint)
        self.rest = rest
        self.left: dict[str, str] = {}
        for change, hunk, _ in homeless:
            text = "\n".join((f"line {hunk.old_start} {hunk.section}".rstrip(), *hunk.lines, ""))
            self.left[str(change)] = self.left.get(str(change), "") + text


@dataclass
class _Mended:
    """A hunk where it belongs, with its lines as far as they are mended."""

    change: Change
    hunk: Hunk
    place: Place
    lines: list[Line]
    #: Lines of the new file in which something is guessed, by what.
    guessed: dict[str, list[int]] = field(default_factory=dict)


def repaired(patch: Patch, read: Reader) -> Repaired:
    """``patch`` as it applies where ``read(path)`` is the text of a file, None if there is none.

    Raises Unmendable, with each file, hunk and its nearest place, if not all of it belongs there.
    """
    text = damage.undone(patch)
    changes = diff.parse(text)
    placed: list[_Mended] = []
    homeless: list[tuple[Change, Hunk, str]] = []
    files: dict[int, File] = {}
    for change in changes:
        old = read(change.old) if change.old else ""
        files[change.at] = file = File(old or "")
        found = list(_fitting(change, file))
        placed += found
        homes = [mended.hunk for mended in found]
        gone = f"is for {change.old}, which is not in the tree" if old is None else ""
        homeless += [(change, hunk, gone or _why(hunk, file)) for hunk in change.hunks if hunk not in homes]
    spacing = Spacing.of(line for mended in placed for line in mended.lines)
    guesses, proved = [], []
    for at, group in groupby(placed, key=lambda mended: mended.change.at):
        hunks = list(group)
        result = _mend(hunks, files[at], spacing)
        change = hunks[0].change
        if _is(change.old_blob, files[at].text) and _is(change.new_blob, result):
            proved.append(str(change))
        else:
            guesses += [said for mended in hunks for said in _said(mended)]
    mail = _written(text, changes, placed).encode("utf-8", "surrogateescape")
    whole = Repaired(replace(patch, mail=mail), tuple(guesses), tuple(proved))
    if homeless:
        raise Unmendable(patch, homeless, whole)
    return whole


def differs(patch: Patch, read: Reader) -> list[damage.Damage]:
    """Where a patch that looks intact has other white space than the tree, if nothing else is in its way."""
    found: dict[damage.Kind, damage.Damage] = {}
    for change in patch.changes:
        file = File((read(change.old) if change.old else "") or "")
        fitting = list(_fitting(change, file))
        if len(fitting) < len(change.hunks):
            return []
        for number, mended in enumerate(fitting, start=1):
            if any(line.raw and line.raw[1:] != line.text for line in mended.lines if line.letter != "+"):
                kind = damage.Kind.TABS if Spacing.of(mended.lines).tabs else damage.Kind.SPACE
                first = damage.Damage(patch, kind, str(change), number, mended.hunk.at, 0)
                known = found.get(kind, first)
                found[kind] = replace(known, hunks=known.hunks + 1)
    return list(found.values())


def _fitting(change: Change, file: File) -> Iterator[_Mended]:
    """The hunks of a file that belong somewhere, each after the one before."""
    offset = start = 0
    for hunk in change.hunks:
        if place := file.place(hunk, offset, start):
            offset, start = place.at - begin(hunk), place.end
            yield _Mended(change, hunk, place, list(place.lines))


def _where(change: Change, hunk: Hunk) -> str:
    number = change.hunks.index(hunk) + 1
    return f"{change}, hunk {number} (line {hunk.at} of the mail, for line {hunk.old_start} of the file)"


def _why(hunk: Hunk, file: File) -> str:
    """Why a hunk belongs nowhere in a file."""
    at, there, of = file.nearest(hunk, 0)
    turned = [{"+": "-", "-": "+"}.get(line[:1], " ") + line[1:] if diff.fits(line) else line for line in hunk.lines]
    back = Hunk(hunk.new_start, hunk.new_count, hunk.old_start, hunk.old_count, "", tuple(turned), hunk.at)
    if hunk.new_count and (known := file.place(back, 0, 0)):
        return f"is in the tree already, at line {known.at + 1}"
    if not of:
        return f"has not the {hunk.new_count} lines that it says"
    if there == of:
        return f"belongs to line {at + 1}, but some of it is lost: it has not the lines that it says"
    return f"is for another text; nearest is line {at + 1}, where {there} of its {of} lines are"


def _mend(hunks: Sequence[_Mended], file: File, spacing: Spacing) -> str:
    """Give the new lines of a file their white space; the text that it has then."""
    indenter = Indenter() if str(hunks[0].change).endswith((".c", ".h")) else None
    result: list[str] = []
    at = 0
    wired = sum(line.endswith("\r") for line in file.lines) > len(file.lines) / 2

    def take(line: str) -> None:
        result.append(line)
        if indenter:
            indenter.feed(line)

    for mended in hunks:
        for line in file.lines[at : mended.place.at]:
            take(line)
        at = mended.place.end
        moved = blanks.guessed(mended.lines)
        for number, each in enumerate(mended.lines):
            if each.letter == "+":
                text = _new(mended, number, indenter, result, spacing)
                text += "\r" if wired and not text.endswith("\r") else ""
                mended.lines[number] = replace(each, text=text)
            if number in moved:
                mended.guessed.setdefault("place of a blank line guessed", []).append(len(result) + 1)
            if each.letter != "-":
                take(mended.lines[number].text)
    result += file.lines[at:]
    ended = file.text.endswith("\n") if at < len(file.lines) else not any(line.last for line in hunks[-1].lines[-1:])
    return "\n".join(result) + "\n" * (ended and bool(result))


def _new(mended: _Mended, number: int, indenter: Indenter | None, result: Sequence[str], spacing: Spacing) -> str:
    """The new line ``number`` of a hunk with its white space; what is guessed is noted."""
    line = mended.lines[number]

    def note(what: str) -> None:
        mended.guessed.setdefault(what, []).append(len(result) + 1)

    if "\n" in (line.raw or ""):
        note("broken line put together")
    if spacing.kept or not line.text.strip():
        return line.text
    bare = " ".join(line.text.split())
    column = indenter.guess(bare) if indenter else 0
    if spacing.tabs:
        text = spacing.tabs(line.text, column)
    else:
        indented = line.text[:1] == " "
        if not indenter and (indented or not spacing.shows):
            column = next((width(known) for known in reversed(result) if known.strip()), 0)
        if spacing.shows:
            least = 1 if bare.startswith("*") or bare.endswith(":") else TAB
            column = (column or least) if indented else 0
        gone = [one.text for one in reversed(mended.lines[max(number - 3 * AROUND, 0) : number]) if one.letter == "-"]
        around = [one.text for one in mended.lines[number + 1 : number + AROUND] if one.letter != "+"]
        text = like(bare, column, [*gone, *reversed(result[-AROUND:]), *around])
    if text != line.text:
        note("tabs put back" if spacing.tabs else "white space guessed")
    return text


def _is(blob: str, text: str) -> bool:
    """Whether a file with that text has the id ``blob``, abbreviated (git-hash-object(1))."""
    data = text.encode("utf-8", "surrogateescape")
    make = hashlib.sha256 if len(blob) == 64 else hashlib.sha1
    digest = make(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return bool(blob) and digest.startswith(blob)


def _said(mended: _Mended) -> Iterator[str]:
    """What was guessed in a hunk."""
    for what, numbers in mended.guessed.items():
        yield f"{mended.change}:{_ranges(numbers)}: {what}"
    if mended.place.other is not None:
        yield f"{mended.change}:{mended.place.at + 1}: would fit at line {mended.place.other + 1} as well"


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as words: 1-3,5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _written(text: str, changes: Sequence[Change], placed: Sequence[_Mended]) -> str:
    """The mail with its hunks as they are now, without those that belong nowhere."""
    lines = text.removesuffix("\n").split("\n")
    out = lines[: changes[0].at - 1] if changes else lines
    for change, following in zip(changes, [*changes[1:], None], strict=True):
        hunks = [mended for mended in placed if mended.change is change]
        head = change.hunks[0].at if change.hunks else (following.at if following else len(lines) + 1)
        if hunks or not change.hunks:
            out += lines[change.at - 1 : head - 1]
        grown = 0
        for mended in hunks:
            old, new = mended.hunk.old_count, mended.hunk.new_count
            counts = f"-{mended.place.at + (old > 0)},{old} +{mended.place.at + grown + (new > 0)},{new}"
            section = f" {mended.hunk.section}" if mended.hunk.section else ""
            out.append(f"@@ {counts.replace(',1 ', ' ').removesuffix(',1')} @@{section}")
            for line in mended.lines:
                out.append(line.letter + line.text)
                out += ["\\ No newline at end of file"] * line.last
            grown += new - old
        if change.hunks:
            end = change.hunks[-1].at + len(change.hunks[-1].lines)
            out += lines[end : following.at - 1 if following else None]
    return "\n".join([*out, ""])

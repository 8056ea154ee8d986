# SPDX-License-Identifier: GPL-2.0-only
"""Reads unified diffs as git prints them, damaged ones too; git itself is asked to apply them (git-diff(1))."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADER = re.compile(r"^@@ -(\d{1,18})(?:,(\d{1,18}))? \+(\d{1,18})(?:,(\d{1,18}))? @@ ?(.*)$")
INDEX = re.compile(r"^index ([0-9a-f]{7,64})\.\.([0-9a-f]{7,64})(?: ([0-7]{6}))?$")
#: What is behind the "-- " at the end of a mail of format-patch.
VERSION = re.compile(r"^\d+\.\d|^$")
#: Columns from which on mailers break lines; those that send format=flowed do at 66 (RFC 3676).
BREAK = 60
ESCAPE = re.compile(rb"\\([0-3][0-7]{2}|.)")
#: What git holds for white space (git: ctype.c), as str.translate() wants it to take it away.
BLANKS = dict.fromkeys(map(ord, " \t\r\n"))
LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


@dataclass(frozen=True)
class Hunk:
    """One hunk; lines count from 1. ``lines`` have their first letter, and no line end."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: str
    lines: tuple[str, ...]
    #: The line of the text with its @@.
    at: int
    #: Why it is no hunk as it stands; empty if it is well.
    fault: str = ""

    @property
    def old(self) -> list[str]:
        """The lines it wants to find, without their first letter."""
        return [line[1:] for line in self.lines if line[:1] in (" ", "-", "")]

    @property
    def new(self) -> list[str]:
        """The lines it leaves."""
        return [line[1:] for line in self.lines if line[:1] in (" ", "+", "")]


@dataclass
class Change:
    """What is done to one file; ``old`` is None for a new one, ``new`` for one that is removed."""

    old: str | None
    new: str | None
    #: The line of the text where it begins.
    at: int
    hunks: list[Hunk] = field(default_factory=list)
    #: Abbreviated ids of the blobs before and after (the index line); empty where there is none.
    old_blob: str = ""
    new_blob: str = ""
    old_mode: str = ""
    new_mode: str = ""
    binary: bool = False
    renamed: bool = False

    @property
    def paths(self) -> list[str]:
        """The one or two paths that it is about."""
        return list(dict.fromkeys(path for path in (self.old, self.new) if path is not None))

    def __str__(self) -> str:
        return self.new or self.old or "a file without a name"


def parse(text: str) -> list[Change]:
    """The changes in ``text``, a diff or a mail with one; what stands before, between and after them is left out."""
    lines = text.removesuffix("\n").split("\n")
    found: list[Change] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("diff --git "):
            found.append(Change(*_both(line.removeprefix("diff --git ")), at + 1))
        elif line.startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ "):
            if not found or found[-1].hunks:  # of quilt(1), without a line of git's
                found.append(Change(None, None, at + 1))
            found[-1].old, found[-1].new = _side(line[4:]), _side(lines[at + 1][4:])
            at += 1
        elif found and (header := HEADER.match(line)):
            hunk, at = _hunk(header, lines, at)
            found[-1].hunks.append(hunk)
            continue
        elif found and not found[-1].hunks:
            _extended(found[-1], line)
        at += 1
    return found


def _extended(change: Change, line: str) -> None:
    word, _, rest = line.partition(" ")
    if index := INDEX.match(line):
        change.old_blob, change.new_blob = index[1], index[2]
        if index[3]:
            change.old_mode = change.new_mode = index[3]
    elif line.startswith(("old mode ", "deleted file mode ")):
        change.old_mode = line.rpartition(" ")[2]
        change.new = change.new if word == "old" else None
    elif line.startswith(("new mode ", "new file mode ")):
        change.new_mode = line.rpartition(" ")[2]
        change.old = None if line.startswith("new file") else change.old
    elif word in ("rename", "copy") and rest.startswith(("from ", "to ")):
        side, _, path = rest.partition(" ")
        change.renamed = True
        if side == "from":
            change.old = unquote(path)
        else:
            change.new = unquote(path)
    elif line == "GIT binary patch" or (line.startswith("Binary files ") and line.endswith(" differ")):
        change.binary = True


def _hunk(header: re.Match[str], lines: list[str], at: int) -> tuple[Hunk, int]:
    """The hunk whose header is line ``at``, and the line behind it."""
    old_count, new_count = int(header[2] or 1), int(header[4] or 1)
    old, new, end, fault = old_count, new_count, at + 1, ""
    while end < len(lines) and (old > 0 or new > 0 or lines[end].startswith("\\ ")):
        line = lines[end]
        letter = line[:1]
        if line.startswith("diff --git ") or HEADER.match(line) or not fits(line):
            break
        # Some mailers and editors cut blanks at the end of a line, so an empty one is context (git: apply.c).
        old -= letter in ("", " ", "-")
        new -= letter in ("", " ", "+")
        end += 1
    if old or new or _more(lines, end):
        fault = _fault(lines, end, old, new)
        # What lost its blank may have been taken for another kind of line, and so the end for a line.
        end = next((number for number in range(at + 1, len(lines)) if _ends(lines, number)), len(lines))
    body = tuple(lines[at + 1 : end])
    return Hunk(int(header[1]), old_count, int(header[3]), new_count, header[5], body, at + 1, fault), end


def fits(line: str) -> bool:
    """Whether a line can be one of a hunk: by its first letter."""
    return line[:1] in ("", " ", "+", "-") or line.startswith("\\ ")


def _more(lines: list[str], end: int) -> bool:
    """Whether the hunk goes on behind its end; a signature does not count."""
    if end >= len(lines) or not lines[end] or _ends(lines, end):
        return False
    if lines[end][0] in "+-":
        return not lines[end].startswith("--")
    return end + 1 < len(lines) and _ends(lines, end + 1) and broken(lines[end - 1], lines[end])


def broken(before: str, line: str) -> bool:
    """Whether a line looks like the rest of the one before, which had no room for its first word."""
    return before.endswith(" ") or len(before.expandtabs()) + len(line.split(" ", maxsplit=1)[0]) >= BREAK


def _fault(lines: list[str], end: int, old: int, new: int) -> str:
    if old < 0 or new < 0 or not (old or new):
        return "it has more lines than its header says"
    if end < len(lines) and not _ends(lines, end) and lines[end][:1] not in ("", " ", "+", "-"):
        return f"line {end + 1} begins with neither a blank, + nor -: {lines[end]!r}"
    return f"{max(old, new)} of its lines are missing"


def _ends(lines: list[str], at: int) -> bool:
    line = lines[at]
    if line == "--":  # a signature that lost its blank; else it takes a dash away
        return at + 1 == len(lines) or bool(VERSION.match(lines[at + 1]))
    return line == "-- " or line.startswith("diff --git ") or bool(HEADER.match(line))


def _both(words: str) -> tuple[str | None, str | None]:
    """The two paths after "diff --git": both the same, unless lines below say otherwise."""
    if words.startswith('"'):
        end = re.match(r'"(?:[^"\\]|\\.)*"', words)
        rest = words[end.end() :].lstrip() if end else ""
        return _side(end[0]) if end else None, _side(rest)
    for place in (match.start() for match in re.finditer(" ", words)):
        old, new = words[:place], words[place + 1 :]
        if _side(old) == _side(new):
            return _side(old), _side(new)
    old, _, new = words.partition(" ")
    return _side(old), _side(new)


def _side(word: str) -> str | None:
    """A path as it stands after --- or +++: without a/ or b/, without what follows a tab; None for /dev/null."""
    path = unquote(word.partition("\t")[0].rstrip("\r"))  # a quoted one has its tabs as \t
    if path == "/dev/null":
        return None
    return path.partition("/")[2] if re.match(r"[^/]+/", path) and not path.startswith("../") else path


def unquote(path: str) -> str:
    """A path that git may have quoted as C does (git-config(1), core.quotePath)."""
    if not (path.startswith('"') and path.endswith('"') and len(path) > 1):
        return path

    def letter(match: re.Match[bytes]) -> bytes:
        return bytes([int(match[1], 8)]) if len(match[1]) == 3 else LETTERS.get(match[1], match[1])

    return ESCAPE.sub(letter, path[1:-1].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def patch_id(text: str) -> str:
    """What ``git patch-id --stable`` prints for the diff in ``text``; empty if there is none (git: builtin/patch-id.c).

    White space, blank lines and line numbers count for nothing there, so a mail that only lost white space has the id
    of the intact one, which git itself cannot tell: it counts the lines of a hunk.
    """
    lines = text.split("\n")
    total, digest, changes = 0, hashlib.sha1(usedforsecurity=False), parse(text)
    for before, change in zip([None, *changes], changes, strict=False):
        # As git does: its line "diff" is lost to what comes behind a binary one.
        words = _header(change, lines)[before is not None and before.binary :]
        body = [line for hunk in change.hunks for line in hunk.lines if not line.startswith("\\ ")]
        words += [change.old_blob, change.new_blob] if change.binary else body
        digest.update("".join(words).translate(BLANKS).encode("utf-8", "surrogateescape"))
        if body or change.binary:
            total += int.from_bytes(digest.digest(), "little")
            digest = hashlib.sha1(usedforsecurity=False)
    if changes and not changes[-1].hunks:  # what is left, if only of nothing
        total += int.from_bytes(digest.digest(), "little")
    return (total % (1 << 160)).to_bytes(20, "little").hex() if changes else ""


def _header(change: Change, lines: list[str]) -> list[str]:
    """The lines before the first hunk that make a patch-id."""
    end = change.at
    while lines[end][:1].isalpha() and not lines[end].startswith(("diff --git ", "GIT binary patch", "Binary files ")):
        end += 1
    found = [line for line in lines[change.at - 1 : end] if not line.startswith("index ")]
    return found + (lines[change.hunks[0].at - 3 : change.hunks[0].at - 1] if change.hunks else [])


def hunks(changes: list[Change]) -> Iterator[tuple[Change, Hunk]]:
    """Every hunk with the change that it is of."""
    yield from ((change, hunk) for change in changes for hunk in change.hunks)

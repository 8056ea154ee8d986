# SPDX-License-Identifier: GPL-2.0-only
"""Defects described by structure, and made in the text of a C file: in this function, that is no longer done."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import resources
from harness.errors import RequestError

#: What a C compiler would read as one (ISO C, 6.4), and comments; of a directive, its words.
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
    |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\w+
    |->|\+\+|--|&&|\|\||<<=?|>>=?|[-+*/%&|^<>=!]=|\S""",
    re.DOTALL | re.VERBOSE,
)
CLOSING = {"(": ")", "[": "]", "{": "}"}
VERBS = ("unwrap", "drop", "replace")
PLACE = ("file", "function")
TEXTS = ("name", "title", "check", "equivalent", "ends")
#: The compiler refuses it; PID 1 is not reached.
ENDS = ("no build", "no boot")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
HINT = "see the defects in patches/mutants/, and Mutants in README.md"


class NoPlace(RequestError):
    """What a defect changes is not there, or is there twice: the tree is another than it was described for."""


@dataclass(frozen=True)
class Edit:
    """One change in a file. ``what`` and ``by`` are C, compared word by word.

    ``verb`` says what is done in ``function``: ``unwrap`` runs the body of the scope that the macro ``what`` opens
    without it, ``drop`` leaves out the statement that begins with ``what``, ``replace`` puts ``by`` in its place.
    """

    file: str
    function: str
    verb: str
    what: str
    by: str = ""


@dataclass(frozen=True)
class Defect:
    """A change for the worse, of one edit or several."""

    name: str
    title: str
    edits: tuple[Edit, ...]
    #: The check that must notice it where nothing else is broken; none, if none can.
    check: str = ""
    #: All checks that may: what it turns from pass to fail.
    checks: tuple[str, ...] = ()
    #: Why nobody can tell the kernel with it from the one without.
    equivalent: str = ""
    #: How far its kernel comes, if not to the checks: ENDS.
    ends: str = ""

    def made(self, read: Callable[[str], str]) -> dict[str, str]:
        """The files with it, by their paths; ``read`` has the text of each as it is. Raises NoPlace."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            try:
                text = texts[edit.file] if edit.file in texts else read(edit.file)
                texts[edit.file] = _EDITS[edit.verb](_Function(text, edit.function), edit)
            except _Missing as missing:
                raise NoPlace(
                    f"the defect {self.name!r} cannot be made: {edit.file} {missing}",
                    cause=f"it is to {edit.verb} {edit.what!r} in {edit.function}()",
                    hint="the tree has moved on: describe it anew in patches/mutants/",
                ) from missing
        return texts


def read(name: str) -> list[Defect]:
    """The defects of patches/mutants/NAME.toml, in their order. Raises RequestError."""
    return load(resources.directory("patches") / "mutants" / f"{name}.toml")


def all_in(place: Path) -> list[Defect]:
    """The defects of all .toml files in a directory. Raises RequestError."""
    if not (files := sorted(place.glob("*.toml"))):
        raise RequestError(f"no defects in {place}", cause="it is no directory with .toml files", hint=HINT)
    found = [(path, defect) for path in files for defect in load(path)]
    names = [defect.name for _, defect in found]
    for path, defect in found:
        if names.count(defect.name) > 1:
            raise _wrong(path, defect.name, "there is another one with that name")
    return [defect for _, defect in found]


def load(path: Path) -> list[Defect]:
    """The defects of one file, in their order. Raises RequestError if any of them is not told as it must be."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read", cause=str(error), hint=HINT) from error
    rows = data.pop("defect", [])
    if data or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(f"{path} has something in it that is no [[defect]]", cause=", ".join(data), hint=HINT)
    return [_defect(path, row) for row in rows]


def _defect(path: Path, row: dict[str, Any]) -> Defect:
    name = row.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _wrong(path, str(name), "its name is no word of letters, digits and -")
    words = {key: value for key, value in row.items() if key in TEXTS}
    checks = row.get("checks", [])
    if not all(isinstance(word, str) for word in (*words.values(), *(checks if isinstance(checks, list) else [0]))):
        raise _wrong(path, name, "text is wanted, and for checks a list of it")
    if unknown := row.keys() - {*TEXTS, *PLACE, *VERBS, "by", "checks", "edit"}:
        raise _wrong(path, name, f"it has {', '.join(sorted(unknown))}, which means nothing here")
    alone = {key: value for key, value in row.items() if key in {*PLACE, *VERBS, "by"}}
    rows = row.get("edit", [alone])
    if ("edit" in row and alone) or not isinstance(rows, list) or not rows:
        raise _wrong(path, name, "its edit is told in itself, or as one or more [[defect.edit]]")
    if "title" not in row or (words.get("ends") or ENDS[0]) not in ENDS:
        raise _wrong(path, name, f"it needs a title, and ends is one of {', '.join(ENDS)}")
    if [bool(words.get(key)) for key in ("check", "equivalent", "ends")].count(True) != 1:
        raise _wrong(path, name, "it needs just one of: check (who must notice), equivalent (why nobody can), ends")
    every = tuple(dict.fromkeys([*filter(None, [words.get("check")]), *checks]))
    return Defect(**words, edits=tuple(_edit(path, name, each) for each in rows), checks=every)


def _edit(path: Path, name: str, row: Any) -> Edit:  # noqa: ANN401 - whatever is in the file
    verbs = [key for key in VERBS if key in row]
    if not all(isinstance(value, str) and key in {*PLACE, *VERBS, "by"} for key, value in dict(row).items()):
        raise _wrong(path, name, "an edit has a file, a function, one of the verbs and by, all of them text")
    if len(verbs) != 1 or not row.keys() >= {*PLACE} or ("by" in row) != (verbs == ["replace"]):
        raise _wrong(path, name, f"an edit has a file, a function, and one of {', '.join(VERBS)}; by is for replace")
    return Edit(row["file"], row["function"], verbs[0], row[verbs[0]], row.get("by", ""))


def _wrong(path: Path, name: str, cause: str) -> RequestError:
    return RequestError(f"{path}: the defect {name!r} is not told as it must be", cause=cause, hint=HINT)


class _Missing(Exception):
    """In words that follow the file's name."""


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    return [_Token(found[0], found.start(), found.end()) for found in TOKEN.finditer(text) if not found["comment"]]


def _closing(tokens: Sequence[_Token], at: int) -> int:
    """Where the bracket at ``at`` is closed."""
    opening, depth = tokens[at].text, 0
    for number in range(at, len(tokens)):
        depth += (tokens[number].text == opening) - (tokens[number].text == CLOSING[opening])
        if depth == 0:
            return number
    raise _Missing(f"has a {opening} that nothing closes")


def _names(tokens: Sequence[_Token], name: str) -> bool:
    """Whether a definition of ``name`` may begin with these: ``name(``, or ``SYSCALL_DEFINE2(name``."""
    words = [token.text for token in tokens]
    return words[:2] == [name, "("] or (words[0].startswith("SYSCALL_DEFINE") and f"sys_{words[-1]}" == name)


class _Function:
    """A function's definition in a file, as the tokens of its body, braces included."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        tokens = [*_tokens(text), _Token("", len(text), len(text))]
        found, at = [], 0
        while tokens[at].text:
            if _names(tokens[at : at + 3], name):
                body = _closing(tokens, at + 1) + 1
                while tokens[body].text not in (";", "{", ""):  # __acquires(lock) and its like
                    body += 1
                if tokens[body].text == "{":
                    found.append(tokens[body : _closing(tokens, body) + 1])
            # Nothing but definitions is looked for: what is in braces is passed over.
            at = _closing(tokens, at) + 1 if tokens[at].text == "{" else at + 1
        if len(found) != 1:
            raise _Missing(f"defines {name}() {_times(len(found))}")
        self.tokens = found[0]

    @cached_property
    def words(self) -> list[str]:
        return [token.text for token in self.tokens]

    def one(self, what: str, *, statement: bool = False) -> tuple[int, int]:
        """The first and the last token of the only place with ``what``; it may have to begin a ``statement``."""
        wanted = [token.text for token in _tokens(what)]
        places = [at for at in range(1, len(self.words)) if self.words[at : at + len(wanted)] == wanted]
        if statement:
            places = [at for at in places if self.words[at - 1] in ("{", "}", ";")]
        if len(places) != 1:
            raise _Missing(f"has it {_times(len(places))} in that function")
        return places[0], places[0] + len(wanted) - 1

    def end(self, at: int) -> int:
        """The last token of the statement that begins at ``at``."""
        while self.words[at] not in (";", "{"):
            at = _closing(self.tokens, at) + 1 if self.words[at] in CLOSING else at + 1
        last = _closing(self.tokens, at) if self.words[at] == "{" else at
        return self.end(last + 2) if self.words[last + 1] == "else" else last

    def without(self, start: int, end: int, instead: str = "") -> str:
        """The file's text with ``instead`` between two offsets."""
        return self.text[:start] + instead + self.text[end:]


def _times(number: int) -> str:
    return ("never", "once", "twice")[number] if number < 3 else f"{number} times"


def _unwrapped(function: _Function, edit: Edit) -> str:
    scope, call = function.one(f"{edit.what}()")
    first, last = call + 1, function.end(call + 1)
    start, end = function.tokens[call].end, function.tokens[last].end
    if function.words[first] == "{":
        if function.words[scope - 1] not in ("{", "}", ";"):  # the body of an if without braces of its own
            return function.without(function.tokens[scope].start, function.tokens[first].start)
        start, end = function.tokens[first].end, function.tokens[last].start
    # One tab less: gcc takes a line that stands too far to the right for a mistake (-Wmisleading-indentation).
    body = function.text[start:end].strip().replace("\n\t", "\n")
    return function.without(function.tokens[scope].start, function.tokens[last].end, body)


def _dropped(function: _Function, edit: Edit) -> str:
    first, _ = function.one(edit.what, statement=True)
    start, end = function.tokens[first].start, function.tokens[function.end(first)].end
    begin = function.text.rfind("\n", 0, start) + 1
    whole_lines = not function.text[begin:start].strip() and function.text[end : end + 1] == "\n"
    return function.without(begin, end + 1) if whole_lines else function.without(start, end)


def _replaced(function: _Function, edit: Edit) -> str:
    first, last = function.one(edit.what)
    return function.without(function.tokens[first].start, function.tokens[last].end, edit.by)


_EDITS = {"unwrap": _unwrapped, "drop": _dropped, "replace": _replaced}

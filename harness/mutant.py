# SPDX-License-Identifier: GPL-2.0-only
"""Defects described by structure, and made in the text of a C file: in this function, that is no longer done."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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


class NoPlace(RequestError):
    """What a defect changes is not there, or is there twice: the tree is another than it was described for."""


@dataclass(frozen=True)
class Defect:
    """One change for the worse. ``what`` and ``by`` are C, compared word by word.

    ``verb`` says what is done in ``function``: ``unwrap`` runs the body of the scope that the macro ``what`` opens
    without it, ``drop`` leaves out the statement that begins with ``what``, ``replace`` puts ``by`` in its place.
    """

    name: str
    title: str
    file: str
    function: str
    verb: str
    what: str
    by: str = ""
    #: The checks that it turns from pass to fail where nothing else is broken.
    checks: tuple[str, ...] = ()

    def made(self, text: str) -> str:
        """The file's text with it. Raises NoPlace."""
        try:
            return _EDITS[self.verb](_Function(text, self.function), self)
        except _Missing as missing:
            raise NoPlace(
                f"the defect {self.name!r} cannot be made: {self.file} {missing}",
                cause=f"it is to {self.verb} {self.what!r} in {self.function}()",
                hint="the tree has moved on: describe it anew in patches/mutants/",
            ) from missing


def read(name: str) -> list[Defect]:
    """The defects of patches/mutants/NAME.toml, in their order."""
    path = resources.directory("patches") / "mutants" / f"{name}.toml"
    return [_defect(row) for row in tomllib.loads(path.read_text(encoding="utf-8"))["defect"]]


def _defect(row: dict[str, str | list[str]]) -> Defect:
    fields = {key: value for key, value in row.items() if key not in VERBS}
    ((verb, what),) = ((key, value) for key, value in row.items() if key in VERBS)
    checks = tuple(fields.pop("checks", ()))
    return Defect(**{key: str(value) for key, value in fields.items()}, verb=verb, what=str(what), checks=checks)


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


class _Function:
    """A function's definition in a file, as the tokens of its body, braces included."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        tokens = [*_tokens(text), _Token("", len(text), len(text))]
        found, at = [], 0
        while tokens[at].text:
            if tokens[at].text == name and tokens[at + 1].text == "(":
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


def _unwrapped(function: _Function, defect: Defect) -> str:
    scope, call = function.one(f"{defect.what}()")
    first, last = call + 1, function.end(call + 1)
    start, end = function.tokens[call].end, function.tokens[last].end
    if function.words[first] == "{":
        if function.words[scope - 1] not in ("{", "}", ";"):  # the body of an if without braces of its own
            return function.without(function.tokens[scope].start, function.tokens[first].start)
        start, end = function.tokens[first].end, function.tokens[last].start
    # One tab less: gcc takes a line that stands too far to the right for a mistake (-Wmisleading-indentation).
    body = function.text[start:end].strip().replace("\n\t", "\n")
    return function.without(function.tokens[scope].start, function.tokens[last].end, body)


def _dropped(function: _Function, defect: Defect) -> str:
    first, _ = function.one(defect.what, statement=True)
    start, end = function.tokens[first].start, function.tokens[function.end(first)].end
    begin = function.text.rfind("\n", 0, start) + 1
    whole_lines = not function.text[begin:start].strip() and function.text[end : end + 1] == "\n"
    return function.without(begin, end + 1) if whole_lines else function.without(start, end)


def _replaced(function: _Function, defect: Defect) -> str:
    first, last = function.one(defect.what)
    return function.without(function.tokens[first].start, function.tokens[last].end, defect.by)


_EDITS = {"unwrap": _unwrapped, "drop": _dropped, "replace": _replaced}

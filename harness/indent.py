# SPDX-License-Identifier: GPL-2.0-only
"""Where a line of C begins in the kernel's style, by what stands before it (the kernel's process/coding-style.rst).

A guess: it follows brackets, statements without braces, labels, comments and macros, line by line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TAB = 8
LABEL = re.compile(r"^(?!default\b)[A-Za-z_]\w*:(?!:)$")
CASE = re.compile(r"^(?:case\b.*|default\s*):")
CONTROL = re.compile(r"^(?:\}\s*)?(?:else\s+)?(?:if|for|while|switch|\w*for_each\w*|\w*scoped_\w+)\b")
IF = re.compile(r"^(?:\}\s*)?(?:else\s+)?if\b")
#: What a declaration begins with; it goes on behind a comma, which ends a member of an initialiser.
DECLARATION = re.compile(r"^(?:const|static|unsigned|struct|enum|int|char|long|bool|[us]\d+)\b[^(]*$")
#: What may stand behind the head of a function, indented (linux/compiler_types.h).
ANNOTATION = re.compile(r"^__(?:releases|acquires|must_hold)\w*\(")
DEFINE = re.compile(r"^ *# *define +\w+(?:\([^)]*\))?")
#: Strings, characters and comments, in which no bracket counts.
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?|\'(?:[^\'\\]|\\.)+\'|/\*.*?\*/|//.*')
PAIRS = ("()", "[]", "{}")


def width(text: str) -> int:
    """The column at which a line begins."""
    plain = text.expandtabs(TAB)
    return len(plain) - len(plain.lstrip(" "))


def lead(column: int) -> str:
    """The white space up to a column."""
    return "\t" * (column // TAB) + " " * (column % TAB)


@dataclass
class _Open:
    """A bracket that is open, or the ``#`` of a macro's definition."""

    letter: str
    #: Where the statement began that has it.
    column: int
    #: Where what is behind it begins, if that is on the same line.
    inside: int | None = None
    switch: bool = False
    #: Statements around it that wait for what they govern.
    waiting: list[int] = field(default_factory=list)


@dataclass
class _State:
    """What is open, from the outermost in."""

    open: list[_Open] = field(default_factory=list)
    #: Where the statement began that is not finished, how, and where it was gone on with.
    statement: int | None = None
    head: str = ""
    further: int | None = None
    #: Where statements began that wait for what they govern, without a brace.
    waiting: list[int] = field(default_factory=list)
    #: Where the last of them began that may have an else.
    condition: int | None = None

    @property
    def inner(self) -> _Open | None:
        """The innermost."""
        return self.open[-1] if self.open else None


class Indenter:
    """Follows a file, line by line."""

    def __init__(self) -> None:
        self._state = _State()
        #: What is around a macro's definition.
        self._around: _State | None = None
        #: Where the comment began that is not finished.
        self._comment: int | None = None

    def guess(self, text: str) -> int:
        """The column at which ``text``, a line without the white space before it, will begin."""
        if self._comment is not None:
            return self._comment + (1 if text.startswith("*") else 3)
        if text.startswith("#") and not self._around:
            return 0
        return _next(self._state, text)

    def feed(self, line: str) -> None:
        """What the next line is, as it stands."""
        plain = line.expandtabs(TAB).rstrip()
        column = width(plain)
        goes_on = plain.endswith("\\")
        if self._comment is not None:
            behind = plain.find("*/") + 2
            plain = " " * behind + plain[behind:] if behind > 1 else ""
            self._comment = None if behind > 1 else self._comment
        elif plain.lstrip().startswith("#") and not self._around:
            if goes_on:
                self._around, self._state = self._state, _State([_Open("#", 0)])
            # Of a macro, what it is defined as.
            column, plain = 0, (DEFINE.sub(lambda name: " " * len(name[0]), plain) if goes_on else "")
        if self._around:
            plain = plain.removesuffix("\\").rstrip()
        if plain:
            self._read(plain, column)
        if self._around and not goes_on:
            self._state, self._around = self._around, None

    def _read(self, plain: str, column: int) -> None:
        """Follow the code on a line without tabs, which counts as one that begins at ``column``."""
        plain = QUOTED.sub(lambda match: (" " if match[0][0] == "/" else "~") * len(match[0]), plain)
        if (comment := plain.find("/*")) >= 0:
            self._comment, plain = comment, plain[:comment]
        code = plain.strip()
        if not code:
            return
        state = self._state
        begins = not column and not self._around and code[0] not in "{}" and not LABEL.match(code)
        if begins and state.inner and state.inner.letter == "{":  # of what went before, something was not understood
            state = self._state = _State()
        fresh, before = state.statement is None, state.inner
        if fresh:
            state.statement, state.head = column, code
        for place, letter in enumerate(plain):
            if letter in "([{":
                _opened(state, letter, column, place + 1 if plain[place + 1 :].strip() else None)
            elif letter in ")]}":
                closed = _closed(state, letter)
                if closed and letter == "}":
                    state.statement, state.waiting = closed.column, closed.waiting
                    state.head = code if not plain[:place].strip() else state.head
        _ended(state, code, column, same=before is state.inner and not fresh)


def _next(state: _State, text: str) -> int:
    """Where the next line of code begins."""
    inner = state.inner
    if inner and inner.letter == "{" and text[0] == "}":
        return inner.column
    if state.further is not None:
        return state.further
    if inner and inner.letter in "([":
        return inner.column + TAB * (text[0] not in ")]") if inner.inside is None else inner.inside
    if state.statement is not None:
        return state.statement + TAB * (text[0] != "{" and bool(inner or ANNOTATION.match(text)))
    return _begun(state, text)


def _begun(state: _State, text: str) -> int:
    """Where a statement begins."""
    inner = state.inner
    if inner and inner.switch and CASE.match(text):
        return inner.column
    if text.startswith("else") and state.condition is not None:
        return state.condition
    if LABEL.match(text):
        return 0
    if state.waiting:
        return state.waiting[-1] + TAB * (text[0] != "{")
    return inner.column + TAB if inner else 0


def _opened(state: _State, letter: str, column: int, inside: int | None) -> None:
    begun = _Open(letter, column if state.statement is None else state.statement, inside)
    if letter == "{":
        begun.switch = bool(re.search(r"\bswitch\b", state.head))
        begun.waiting, state.waiting = state.waiting, []
        state.statement = None if inside is None else state.statement
    state.open.append(begun)


def _closed(state: _State, letter: str) -> _Open | None:
    """What a bracket closes; what is open inside of that was not understood."""
    while state.inner and state.inner.letter != "#":
        closed = state.open.pop()
        if closed.letter + letter in PAIRS:
            return closed
    return None


def _ended(state: _State, code: str, column: int, *, same: bool) -> None:
    """At the end of a line: is the statement at its end, too; ``same``: the line goes on in the bracket it began in."""
    inner, last = state.inner, code[-1]
    if inner and inner.letter in "([":
        state.further = column if same else None
        return
    statement, state.further = state.statement, None
    member = last == "," and inner and inner.letter == "{" and not DECLARATION.match(state.head)
    if last in ";}" or member:
        state.waiting = []
    elif last == "{" or (last == ":" and (CASE.match(code) or LABEL.match(code))):
        pass
    elif (
        inner
        and statement is not None
        and (re.search(r"\b(?:else|do)$", code) or (last == ")" and CONTROL.match(state.head)))
    ):
        state.waiting.append(statement)
        state.condition = statement if IF.match(state.head) else state.condition
    else:
        state.further = column if same else None
        return
    state.statement = None

# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's own tests have said, read: KTAP of KUnit and TAP of kselftest. Pure functions.

KUnit nests by indentation (Documentation/dev-tools/ktap.rst), kselftest's runner by making comments of what a program
prints (tools/testing/selftests/kselftest/runner.sh). Both are the same here: how far in a line begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PASS, FAIL, SKIP, XFAIL, MISSING = "pass", "fail", "skip", "xfail", "missing"
#: What no test may end with.
BAD = (FAIL, MISSING)
#: Before a line of the kernel's (kernel/printk/printk.c: print_prefix()); what stands before it on a line is another's.
STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ?")
INDENT = re.compile(r"(?: |#(?= )(?! *Subtest: ))*")
VERSION = re.compile(r"K?TAP version \d+$")
RUNNER = "selftests: "
#: What the tests that come now belong to, in the words of KUnit and of kselftest's runner.
NAMED = re.compile(r"(?:# *Subtest|selftests): (.*)")
PLAN = re.compile(r"1\.\.(\d+)(?: *# *(?i:(skip)).*)?$")
#: Of kselftest_harness.h: a test begins.
BEGUN = re.compile(r"RUN +(\S+) \.\.\.$")
RESULT = re.compile(r"(not )?ok (\d+)(?: - | |\t|$)(.*)")
#: The first "#" after a blank, and the word there that says how the result is meant (kselftest.h).
DIRECTIVE = re.compile(r"(?:^|(?<=\s))#(?=\s|skip|todo)\s*(?:(skip|todo|xfail|xpass|error)\b:?)?\s*(.*)", re.IGNORECASE)
#: How a program of kselftest may end without having failed (kselftest.h).
STATUS = {0: PASS, 2: XFAIL, 3: PASS, 4: SKIP}


@dataclass
class _Level:
    """Tests that follow each other, equally far in."""

    indent: int
    name: str = ""
    planned: int = 0
    skipped: bool = False
    #: The test that has begun, as far as it was told.
    begun: str = ""
    #: Its own results, by the numbers they came with; and all, with those further in.
    numbers: list[int] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, outcome: str) -> None:
        """Keep a result; a second one of the same name is another test."""
        unique, times = path, 1
        while unique in self.found:
            times += 1
            unique = f"{path}#{times}"
        self.found[unique] = outcome

    def adopt(self, name: str, outcome: str, inner: dict[str, str]) -> None:
        """Keep a result together with those of its own tests."""
        self.put(name, outcome)
        for path, each in inner.items():
            self.put(f"{name}.{path}", each)

    def ended(self) -> dict[str, str]:
        """All results, with those that were planned and did not come."""
        left = [number for number in range(1, self.planned + 1) if number not in self.numbers]
        for number in left[: max(0, self.planned - len(self.numbers))]:
            self.put(self.begun or f"test {number}", MISSING)
            self.begun = ""
        if self.begun:
            self.put(self.begun, MISSING)
        return self.found


def parse(text: str, top: str = "") -> dict[str, str]:
    """Every test that ``text`` tells of, by its path with dots between, and what became of it.

    ``top`` is put before the paths, and stands for itself where all was skipped. What else is in the text is left out.
    A test that was planned, or begun, and did not end is MISSING; where its name was not told it is "test N".
    """
    levels = [_Level(-1)]
    for line in STAMP.sub("\n", text).replace("\r", "").split("\n"):
        _read(line, levels)
    _fold(levels, -1)
    [root] = levels
    found = {".".join(filter(None, (top, path))): outcome for path, outcome in root.found.items()}
    found.pop("", None)
    return found


def program(name: str, text: str, status: int | None) -> dict[str, str]:
    """What one program of kselftest has told, and under its own ``name`` how it ended.

    ``status``: its exit status, negative for a signal; None if it did not end in time.
    """
    return {name: FAIL if status is None else STATUS.get(status, FAIL)} | {
        path: outcome for path, outcome in parse(text, name).items() if path != name
    }


def intact(path: str, outcomes: Mapping[str, str]) -> bool:
    """Whether all that ``path`` is part of ended well, so that a test which is not there is none any more.

    A program that fails may do so before it comes to a test, or call a test otherwise.
    """
    return not any(outcome in BAD and path.startswith(f"{above}.") for above, outcome in outcomes.items())


def lost(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The tests that passed before and have failed after, or are missing there."""
    now = {
        path: after.get(path, PASS if intact(path, after) else MISSING)
        for path, outcome in before.items()
        if outcome == PASS
    }
    return {path: outcome for path, outcome in now.items() if outcome in BAD}


def _read(line: str, levels: list[_Level]) -> None:
    match = INDENT.match(line)
    indent, body = (match.end(), line[match.end() :].rstrip()) if match else (0, "")
    if VERSION.match(body):
        _fold(levels, indent)
        if levels[-1].indent == indent and levels[-1].found:
            _fold(levels, indent - 1)
        _at(levels, indent)
    elif named := NAMED.match(body):
        _at(levels, indent).name = _path(named[0] if named[0].startswith(RUNNER) else named[1])
    elif plan := PLAN.match(body):
        level = _at(levels, indent)
        level.planned, level.skipped = int(plan[1]), bool(plan[2])
    elif begun := BEGUN.match(body):
        [*_, level] = [level for level in levels if level.indent < indent]
        level.begun = begun[1]
    elif result := RESULT.match(body):
        _result(result, levels, indent)


def _at(levels: list[_Level], indent: int) -> _Level:
    """The level that begins so far in, new if need be; one further in waits for the result that comes after it."""
    at = next((place for place, level in enumerate(levels) if level.indent >= indent), len(levels))
    if at == len(levels) or levels[at].indent > indent:
        levels.insert(at, _Level(indent))
    return levels[at]


def _result(result: re.Match[str], levels: list[_Level], indent: int) -> None:
    level = _at(levels, indent)
    inner: dict[str, str] = {}
    if levels[-1] is not level:
        _fold(levels, levels[levels.index(level) + 1].indent)
        inner = levels.pop().ended()
    failed, number, text = result.groups()
    directive = DIRECTIVE.search(text)
    word = (directive[1] or "").lower() if directive else ""
    name = text[: directive.start()].strip() if directive else text.strip()
    if not name and word:  # kselftest has the name where others have the reason
        name = directive[2].strip() if directive else ""
    outcome = FAIL if failed else PASS
    if word == "skip":
        outcome = SKIP
    elif word == "xfail" or (word == "todo" and failed):
        outcome = XFAIL
    level.begun = ""
    level.numbers.append(int(number))
    level.adopt(_path(name) or f"test {number}", outcome, inner)


def _path(name: str) -> str:
    """A name as part of a path; kselftest's runner says "selftests: DIRECTORY: PROGRAM"."""
    return name.removeprefix(RUNNER).replace(": ", ".").strip() if name.startswith(RUNNER) else name.strip()


def _fold(levels: list[_Level], indent: int) -> None:
    """End all levels further in than ``indent``, of which no result has come."""
    while levels[-1].indent > indent:
        level = levels.pop()
        above = levels[-1]
        found = level.ended()
        if above.indent < 0:  # nothing is above them, or it was cut off
            for path, outcome in found.items():
                above.put(path, outcome)
            if level.skipped and not found:
                above.put("", SKIP)
            continue
        number = max(above.numbers, default=0) + 1
        above.numbers.append(number)
        above.adopt(level.name or f"test {number}", MISSING, found)

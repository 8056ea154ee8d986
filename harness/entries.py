# SPDX-License-Identifier: GPL-2.0-only
"""The cells of b4's table of checks (b4/review/checks.py). Only the standard library: what is missing is told, too."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import HarnessError

#: What b4 calls its columns: with a prefix, for those of other tools are beside them.
APPLIES, BUILDS, BOOTS, CHECKS = (f"nullfs-{word}" for word in ("applies", "builds", "boots", "checks"))
#: From good to bad.
STATUSES = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Entry:
    """One cell. ``details``: what b4 shows for it, a status and a line each."""

    tool: str
    status: str
    summary: str
    details: tuple[tuple[str, str], ...] = ()

    @property
    def data(self) -> dict[str, str]:
        """As b4 reads it. It takes a string that is JSON for a list (b4/review_tui/_modals.py)."""
        lines = [{"status": status, "description": words} for status, words in self.details]
        details = json.dumps(lines) if lines else ""
        return {"tool": self.tool, "status": self.status, "summary": self.summary, "url": "", "details": details}


def of(tool: str, rows: Sequence[tuple[str, str]], summary: str = "") -> Entry:
    """As bad as the worst of ``rows``, which is its summary unless there is one."""
    worst = max((status for status, _ in rows), key=STATUSES.index, default="pass")
    return Entry(tool, worst, summary or next((words for status, words in rows if status == worst), ""), tuple(rows))


def failed(error: BaseException, tool: str = APPLIES) -> Entry:
    """What ended it, in the reader's words."""
    if not isinstance(error, HarnessError):
        return Entry(tool, "fail", f"a mistake in nullfs-harness itself: {type(error).__name__}: {error}")
    return Entry(tool, "fail", error.brief.splitlines()[0], tuple(("fail", line) for line in str(error).splitlines()))


def tell(found: Iterable[Entry]) -> None:
    """The answer."""
    print(json.dumps([entry.data for entry in found], indent=1), flush=True)


def tell_failure(error: BaseException) -> None:
    """The answer of a program that did not come so far as to begin."""
    tell([failed(error)])


@contextmanager
def quiet() -> Iterator[None]:
    """Let all that is printed in the block, by whomever, go to stderr."""
    sys.stdout.flush()
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(answer, 1)
        os.close(answer)

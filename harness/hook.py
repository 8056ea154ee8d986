# SPDX-License-Identifier: GPL-2.0-only
"""What b4's review asks of a check for a whole series (b4/review/checks.py): the answer is a JSON list on stdout.

b4 0.16 runs ``b4.review-series-check-cmd`` at the top of the user's repository, with the cover letter, or the first
patch, on stdin, and in $B4_TRACKING_FILE the name of a JSON file with what it knows of the series.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from harness import apply, cache, columns, compare, entries, git, process, runner, session, source, versus
from harness.apply import Applied
from harness.compare import Column, Comparison, Kind, Pair
from harness.deadline import Deadline
from harness.entries import APPLIES, BOOTS, BUILDS, CHECKS, Entry
from harness.errors import EXIT_OK, RequestError
from harness.git import Checkout, GitError
from harness.series import Series

TRACKING = "B4_TRACKING_FILE"
#: The two that are compared, as they are called in sentences.
BASE, SERIES = "the base", "the series"
OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def main(args: argparse.Namespace, deadline: Deadline) -> int:
    """Print what became of the series. Whatever goes wrong is an entry, too; returns EXIT_OK."""
    with entries.quiet():
        found = answered(args, deadline)
    entries.tell(found)
    return EXIT_OK


def answered(args: argparse.Namespace, deadline: Deadline) -> list[Entry]:
    """The entries, as far as it came."""
    found: list[Entry] = []
    try:
        series, commit = asked(sys.stdin.buffer.read(), tracked(), deadline)
        wish = replace(apply.wish(args), base=args.base or commit)
        done = apply.applied(series, args.tree, wish, deadline, runner.say)
        found.append(applied(done))
        evidence = args.evidence or session.new_evidence()
        bare = replace(done, steps=done.steps[:1])
        kernels = columns.built(BASE, bare, "", args, evidence / "base")
        kernels += columns.built(SERIES, done, series.spec, args, evidence / "series")
        found += judged(compare.compare(kernels))
    except Exception as error:  # noqa: BLE001
        found.append(entries.failed(error, BUILDS if found else APPLIES))
    return found


def tracked() -> dict[str, Any]:
    """What b4 knows of the series; nothing where it has not begun to review it."""
    try:
        series = json.loads(Path(os.environ[TRACKING]).read_text(encoding="utf-8"))["series"]
    except (KeyError, OSError, ValueError, TypeError):
        return {}
    return series if isinstance(series, dict) else {}


def asked(mail: bytes, known: dict[str, Any], deadline: Deadline) -> tuple[Series, str]:
    """The series that the mail on stdin is of, and the commit that b4 found it is for, if any.

    It is read from the thread that b4 keeps in the repository, else it is b4 that gets it. Raises RequestError.
    """
    message_id = str(BytesHeaderParser().parsebytes(mail).get("Message-Id", "")).strip(" <>")
    if not message_id:
        raise RequestError("there is no mail on stdin, or none with a Message-ID", hint="b4 calls this: see README.md")
    checkout = Checkout.of(Path.cwd(), deadline)
    blob, commit = (str(known.get(name) or "") for name in ("thread-blob", "base-commit"))
    with cache.scratch("hook") as scratch:
        box = scratch / "thread.mbox"
        there = checkout is not None and OBJECT.fullmatch(blob) and _brought(checkout, blob, box, deadline)
        series = source.read(f"{box}@{message_id}" if there else message_id, deadline)
    own = series.base_commit or checkout is None or not OBJECT.fullmatch(commit)
    return replace(series, spec=message_id), "" if own or not _has(checkout, commit, deadline) else commit


def _brought(checkout: Checkout, blob: str, box: Path, deadline: Deadline) -> bool:
    """Put a blob of the user's repository into the file ``box``; whether it is there."""
    argv = ["git", "cat-file", "blob", blob]
    env = git.environment(GIT_DIR=checkout.directory)
    with cache.writing(box), box.open("wb") as out, process.spawn(argv, stdout=out, env=env) as child:
        return child.wait(deadline.left()) == 0


def _has(checkout: Checkout | None, commit: str, deadline: Deadline) -> bool:
    try:
        return bool(checkout and checkout.git("rev-parse", "--verify", f"{commit}^{{commit}}", deadline=deadline))
    except GitError:
        return False


def applied(done: Applied) -> Entry:
    """That it applies: how each patch did, and what of it will run on this host."""
    rows = [("pass", f"{step.patch}: {step.how}") for step in done.steps if step.patch]
    rows += [("warn", note) for note in done.series.notes]
    rows += [("warn", f"runs on the host when a kernel is built: {path}") for path in done.on_host]
    count = len(done.steps) - 1
    words = f"{count} patch{'es' if count != 1 else ''} on {done.base.short}, {done.why}"
    return entries.of(APPLIES, rows, words)


def judged(comparison: Comparison) -> list[Entry]:
    """Whether it builds, boots, and what became of the checks, on all architectures."""
    building, booting, checking = [], [], []
    for pair, column in zip(comparison.pairs, comparison.last, strict=True):
        building += list(_building(pair, column))
        if pair.stages[1] > 0:
            booting.append(
                ("fail" if column.fault else "pass", f"{pair.arch}: {column.fault or 'boots'}{_before(pair, 1)}")
            )
        if pair.stages[1] > 1:
            checking += list(_checking(pair, column))
    found = [entries.of(BUILDS, building)]
    if booting:
        found.append(entries.of(BOOTS, booting))
    if checking:
        found.append(entries.of(CHECKS, checking, " ".join(versus.closing(comparison))))
    return found


def _building(pair: Pair, column: Column) -> Iterator[tuple[str, str]]:
    if column.no_build:
        yield "fail", f"{pair.arch}: {column.fault}{_before(pair, 0)}"
        return
    more = len(pair.warnings_new or ())
    yield (
        "warn" if more else "pass",
        f"{pair.arch}: builds, {versus.counted(more, 'new warning') if more else 'no new warning'}",
    )
    yield from (("warn", line) for line in pair.warnings_new or ())
    yield from (("pass", line) for line in versus.facts(pair))


def _before(pair: Pair, stage: int) -> str:
    """Said of what is no fault of the series."""
    return f" ({pair.before}: {versus.came(pair.stages[0])})" if pair.stages == (stage, stage) else ""


def _checking(pair: Pair, column: Column) -> Iterator[tuple[str, str]]:
    """What got worse fails; what did not pass before either is a warning."""
    for change in pair.changes:
        if change.kind is Kind.WORSE:
            yield "fail", versus.remark(change)
        elif change.after not in ("pass", "skip"):
            yield "warn", versus.remark(change)
        elif change.kind is not Kind.SAME:
            yield "pass", versus.remark(change)
    yield from (("fail", f"new on the console: {line}") for line in pair.lines_new)
    yield from (("pass", f"no longer on the console: {line}") for line in pair.lines_gone)
    kept = sum(one.verdict == "pass" for one in column.results)
    yield "pass", f"{pair.arch}: {kept} of {len(column.results)} checks pass"

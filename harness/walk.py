# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``series step``: what each step of a series does to the checks, or where one of them turns."""

from __future__ import annotations

import argparse
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext

from harness import apply, bisection, build, declared, paths, runner, session, source, stepreport, turns
from harness.apply import Applied
from harness.build import Order
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, EXIT_HOST, EXIT_OK
from harness.results import Run
from harness.series import Series
from harness.steps import Job, Place, built, checked, request_of, stage, works
from harness.turns import Report


def report(applied: Applied, jobs: Sequence[Job], runs: Mapping[Place, Run], known: Container[Place]) -> Report:
    """All of it as data."""
    evidence = dict.fromkeys(run.evidence for place, run in runs.items() if place not in known)
    return Report(
        applied.series.name,
        applied.base.spec,
        ("the base", *(step.patch.subject for step in applied.steps if step.patch)),
        tuple(stage(job, runs.get(job.place), known=job.place in known) for job in jobs),
        expected(applied.series),
        (*applied.series.notes, *([paths.warning(applied.series)] * bool(applied.on_host))),
        next(iter(evidence), ""),
    )


def expected(series: Series) -> dict[str, int]:
    """Which patch each check speaks for, by its number: by the subjects that patches/ knows."""
    return {check: patch.n for patch in series.patches for check in declared.speaking(patch.subject)}


def run(args: argparse.Namespace) -> int:
    """The verb ``series step``. Returns the exit status. Raises RequestError, HostError."""
    asked = [args.bisect] if args.bisect else args.check
    every = declared.every(asked, args.profile)
    ids = asked or [*every]
    runner.writable(args.json)
    arches = build.arches_of(args.arch)
    screen = runner.on_terminal()
    # Kernels are built for all checks, also where a few are chosen: then another choice needs no other kernels.
    order = Order(args.profile, every, args.fragment, watch=runner.watching(screen))
    request = request_of(args, args.evidence)
    deadline = Deadline.after(session.FETCH)
    done = apply.applied(source.read(args.series, deadline), args.tree, apply.wish(args), deadline, runner.say)
    if args.bisect:
        return bisection.series(done, arches[0], order, request, args.bisect)
    with screen.waiting("building") if screen else nullcontext():
        jobs = built(works(done), arches, order, deadline, runner.say)
    runs, known = checked(jobs, request, ids)
    told = report(done, jobs, runs, known)
    if args.json is not None:
        runner.write(args.json, told.to_json())
    runner.say(f"\n{stepreport.text(told)}")
    if any(result.verdict == "error" for run in runs.values() for result in run.results):
        return EXIT_HOST
    return EXIT_CHECK_FAILED if turns.bad(turns.findings(told)) else EXIT_OK

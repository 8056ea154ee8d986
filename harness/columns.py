# SPDX-License-Identifier: GPL-2.0-only
"""What is compared, kernel by kernel: from results that are there, of kernels that boot, of trees that are built."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from harness import __version__, declared, process, runner, session, steps
from harness.apply import Applied, Step
from harness.build import Order, arches_of
from harness.compare import Column
from harness.deadline import Deadline
from harness.errors import HostError
from harness.results import Run
from harness.series import Series
from harness.steps import Job
from harness.tree import Tree


def known(letter: str, words: str, run: Run) -> list[Column]:
    """Those of kernels that have results."""
    return [
        Column(
            letter, words, facts.arch, facts,
            tuple(one for one in run.results if one.kernel == facts.label),
            harness=run.harness,
            qemu=run.qemu,
        )
        for facts in run.kernels
    ]  # fmt: skip


def booted(letter: str, spec: str, args: argparse.Namespace, evidence: Path) -> list[Column]:
    """Those of a SPEC that is no tree, checked now. Raises RequestError, HostError."""
    run, status = runner.checked(replace(steps.request_of(args, evidence), kernels=[spec]), runner.on_terminal())
    runner.whole(status)
    return known(letter, spec, run)


def standing(tree: Tree) -> Applied:
    """A tree as it stands: a series of no patches."""
    return Applied(Series(tree.spec, "", 1, ()), tree, "as it stands", (Step(0, None, tree, ""),), ())


def built(letter: str, done: Applied, words: str, args: argparse.Namespace, evidence: Path) -> list[Column]:
    """Those of the last step of ``done``; what is known of the same kernel is not done again.

    ``words``: those of the user for the series; empty if it is the tree as it stands. One that does not build has its
    column. Raises RequestError, HostError.
    """
    every = declared.every(args.check, args.profile)
    ids = args.check or [*every]
    arches = arches_of(args.arch)
    screen = runner.on_terminal()
    # For all checks, so that another choice of them needs no other kernel.
    order = Order(args.profile, every, args.fragment, watch=runner.watching(screen))
    with screen.waiting("building") if screen else nullcontext():
        jobs = steps.built(steps.works(done)[-1:], arches, order, Deadline.after(session.FETCH), runner.say)
    runs, _ = steps.checked(jobs, steps.request_of(args, evidence), ids)
    item = f"{words} on {done.base.spec}" if words else done.base.spec
    name = f"{done.series.name} on {done.base.spec}" if words else done.base.spec
    # Others have no file of the user's.
    given = ["--kernel", done.base.spec, *(("--series", done.series.message_id or words) if words else ())]
    given += [word for profile in args.profile for word in ("--profile", profile)]
    again = process.pasteable(["python3", "-m", "harness", "run", *given])
    columns = [_of_job(letter, item, job, runs.get(job.place)) for job in jobs]
    return [
        replace(each, command=f"{again} --arch {each.arch}", facts=each.facts and replace(each.facts, spec=name))
        for each in columns
    ]


def _of_job(letter: str, item: str, job: Job, run: Run | None) -> Column:
    if run is None:
        error = job.error or HostError("it was not built")
        why = "\n".join(filter(None, (error.what, error.cause)))
        return Column(letter, item, job.arch.name, None, no_build=why, log=str(error.log or ""), harness=__version__)
    [column] = known(letter, item, run)
    assert column.facts is not None
    return replace(column, facts=replace(column.facts, name=f"{job.work.tree.release}-{job.work.tree.short}"))

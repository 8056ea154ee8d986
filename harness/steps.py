# SPDX-License-Identifier: GPL-2.0-only
"""Trees that have most in common, as the steps of a series: each built, then those not known from before checked."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness import (
    build,
    cache,
    kernel,
    resources,
    runner,
    session,
)
from harness.apply import Applied
from harness.arch import Arch
from harness.build import Built, Order
from harness.deadline import Deadline
from harness.errors import HarnessError, HostError, TreeError
from harness.make import BuildError
from harness.results import Run
from harness.session import Request
from harness.tree import Tree
from harness.turns import Stage

#: Results of steps that are kept; those used longest ago go first.
KEPT = 2000
#: Raised when results of before would be read wrongly.
FORMAT = 1
#: Verdicts that another try may not confirm: a busy host, a broken one.
FLEETING = ("timeout", "error")


#: A step's number and its architecture.
Place = tuple[int, str]


@dataclass(frozen=True)
class Work:
    """A tree to be built and checked. ``n``: its number, 0 is the base; ``label``: what its kernel is called."""

    n: int
    name: str
    label: str
    tree: Tree


def request_of(args: argparse.Namespace, evidence: Path | None) -> Request:
    """What ``args`` ask for besides kernels: the options of all verbs that check."""
    return Request(
        kernels=(),
        arch=args.arch,
        say=runner.say,
        timeout=args.guest_timeout,
        accel=args.accel,
        guests=args.guests,
        evidence=evidence,
        checks=args.check,
    )


def works(applied: Applied) -> list[Work]:
    """The steps of a series."""
    names = ((step, step.patch.subject if step.patch else "the base") for step in applied.steps)
    return [Work(step.n, name, f"step-{step.n}", step.tree) for step, name in names]


@dataclass(frozen=True)
class Job:
    """One of them on one architecture, once make is through with it."""

    work: Work
    arch: Arch
    built: Built | None
    error: HarnessError | None = None
    #: It was not in the cache.
    fresh: bool = False

    @property
    def place(self) -> Place:
        """Which one it is."""
        return self.work.n, self.arch.name


def built(
    todo: Sequence[Work], arches: Sequence[Arch], order: Order, deadline: Deadline, say: Callable[[str], None],
    *, last: int | None = None,
) -> list[Job]:  # fmt: skip
    """All of it for all architectures; one that does not build is a job, too. Raises RequestError, HostError.

    ``deadline`` is for what comes before one build; ``last``: the number of the last one, if that is not in ``todo``.
    """
    jobs = []
    for on in arches:
        for work in todo:
            # Each has as long: all of them together may take hours.
            job = _built(work, on, replace(order, say=lambda _: None), Deadline.after(deadline.seconds))
            jobs.append(job)
            name = f"[{work.n}/{todo[-1].n if last is None else last} {on.name}] {work.name}"
            if job.error:
                say(f"{name}: does not build: {(job.error.cause or job.error.what).splitlines()[0]}")
            elif job.built:
                objects = f"{job.built.objects} object{'s' * (job.built.objects != 1)}"
                say(f"{name}: {f'built in {job.built.seconds:.0f} s, {objects}' if job.fresh else 'in the cache'}")
    return jobs


def _built(work: Work, on: Arch, order: Order, deadline: Deadline) -> Job:
    started: list[str] = []
    try:
        [made] = build.ordered(work.tree, [on], replace(order, say=started.append), deadline)
    except (BuildError, TreeError) as error:
        if isinstance(error, TreeError) and work.n == 0:
            raise  # what is wrong with the base is wrong with the request
        return Job(work, on, None, error)
    return Job(work, on, made, fresh=bool(started))


def checked(jobs: Sequence[Job], request: Request, ids: Sequence[str]) -> tuple[dict[Place, Run], set[Place]]:
    """The results of all jobs that were built, and which of them were known before. Raises RequestError, HostError.

    Kernels that are the same to the bit are checked once.
    """
    made = [(job, job.built) for job in jobs if job.built]
    keys = {job.place: _key(built, job.arch, request, ids) for job, built in made}
    runs = {key: run for key in dict.fromkeys(keys.values()) if (run := _found(key))}
    known = {place for place, key in keys.items() if key in runs}
    todo: dict[str, kernel.Kernel] = {}
    deadline = Deadline.after(session.FETCH)
    for job, built in made:
        if (key := keys[job.place]) not in runs and key not in todo:
            boots = kernel.from_built(job.work.tree.spec, built, deadline)
            todo[key] = replace(boots, source=job.work.label)
    if todo:
        wanted = replace(request, kernels=[*todo.values()], expect=["isolated"], checks=ids)
        whole, status = runner.checked(wanted, runner.on_terminal(), each=False)
        for key, each in todo.items():
            runs[key] = _part(whole, each.label)
            verdicts = [result.verdict for result in runs[key].results]
            if len(verdicts) == len(ids) and not any(verdict in FLEETING for verdict in verdicts):
                cache.write(_place(key), runs[key].to_json().encode())
        cache.prune(cache.directory("steps").iterdir(), KEPT)
        if status == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
    return {place: runs[key] for place, key in keys.items()}, known


def _part(whole: Run, label: str) -> Run:
    """What a run says of one of its kernels."""
    return replace(
        whole,
        kernels=[facts for facts in whole.kernels if facts.label == label],
        results=[result for result in whole.results if result.kernel == label],
    )


def _place(key: str) -> Path:
    return cache.directory("steps") / f"{key}.json"


def _found(key: str) -> Run | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        return Run.from_json(_place(key).read_text())
    return None


def _key(made: Built, on: Arch, request: Request, ids: Sequence[str]) -> str:
    """Names what a kernel's checks see and are: the kernel, its modules, and all that we bring."""
    modular = made.place.name if (made.place / "lib/modules").is_dir() else ""
    ways = [request.accel, request.fork, sorted(ids)]
    data = [FORMAT, _ours(), on.name, made.digest, _digest([made.place / "config"]), modular, ways]
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:32]


def _ours() -> str:
    """The digest of the harness itself: another check may have another verdict."""
    tops = [Path(__file__).parent, *map(resources.directory, ("initramfs", "kconfigs", "tests/kernel"))]
    return _digest(path for top in tops for path in sorted(top.rglob("*")) if "__pycache__" not in path.parts)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def stage(job: Job, run: Run | None, *, known: bool) -> Stage:
    """What came out of a step on an architecture."""
    if job.built is None:
        error = job.error or HostError("it was not built")
        why, log = (error.cause or error.what).splitlines()[0], str(error.log or "")
        return Stage(job.work.n, job.arch.name, built=False, why=why, log=log, tree=job.work.tree.oid)
    made = Stage(
        *(job.work.n, job.arch.name),
        built=True,
        image=str(job.built.image),
        tree=job.work.tree.oid,
        seconds=job.built.seconds if job.fresh else 0.0,
        objects=job.built.objects if job.fresh else 0,
        size=job.built.size,
        warnings=job.built.warnings,
        known=known,
    )
    if run is None or not run.results:
        return made
    [facts] = run.kernels
    if facts.no_boot:
        return replace(made, booted=False, why=facts.no_boot, log=run.results[0].console)
    return replace(
        made,
        booted=True if facts.accel else None,
        troubles=tuple(dict.fromkeys([*facts.boot_troubles, *(line for one in run.results for line in one.troubles)])),
        verdicts={result.check: result.verdict for result in run.results},
        tests={path: outcome for result in run.results for path, outcome in result.tests.items()},
        reasons={result.check: result.reason for result in run.results if result.verdict != "pass"},
    )

# SPDX-License-Identifier: GPL-2.0-only
"""Where one check turns: among the steps of a series, or as the judge of a commit for ``git bisect run``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from harness import declared, runner, session, turns
from harness.apply import Applied
from harness.arch import Arch
from harness.build import Order
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_SKIP, GuestError, HarnessError, RequestError, TreeError
from harness.make import BuildError
from harness.results import Run
from harness.session import Request
from harness.steps import built, checked, works

#: From here on git-bisect(1) takes an exit status for "stop": another commit would end so as well.
EXIT_STOP = 128


def commit(request: Request, check: str) -> int:
    """Judge the tree of ``request`` by one check. Returns an exit status as git-bisect(1) wants it from ``run``.

    0 good, 1 bad, 125 where the tree cannot be judged, 128 where no tree could be.
    """
    try:
        declared.every([check])
        if len(request.kernels) != 1 or len(request.arch) > 1:
            raise RequestError("a bisection has one tree, and one architecture", hint="--kernel . --arch x86_64")
        kernels = request.kernels
        if request.series:  # which would look for the commit that it was made for
            kernels = [f"{kernel}@HEAD" for kernel in kernels]
        wanted = replace(request, kernels=kernels, checks=[check], trees=True)
        results, _ = runner.checked(wanted, runner.on_terminal())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_SKIP if isinstance(error, (BuildError, TreeError, GuestError)) else EXIT_STOP
    says, why = judged(results)
    words = {True: "passes", False: "fails", None: "cannot be judged"}[says]
    runner.say(f"{check} {words}{f': {why}' if why else ''}")
    return {True: EXIT_OK, False: EXIT_CHECK_FAILED, None: EXIT_SKIP}[says]


def judged(results: Run) -> tuple[bool | None, str]:
    """Whether the one check on the one kernel passes, None if that is not said by how it ended; and why not."""
    [result], [kernel] = results.results, results.kernels
    why = result.reason.partition("\n")[0]
    if kernel.no_boot or result.verdict not in turns.SAYS:
        return None, why or result.verdict
    return result.verdict == "pass", why


def series(done: Applied, on: Arch, order: Order, request: Request, check: str) -> int:
    """Where one check turns, with as few builds and boots as that takes."""
    deadline = Deadline.after(session.FETCH)
    said: dict[int, bool | None] = {}
    every, last = works(done), len(done.steps) - 1

    def passes(n: int) -> bool | None:
        """Whether it passes at a step; None if that cannot be judged."""
        if n not in said:
            jobs = built([every[n]], [on], order, deadline, runner.say, last=last)
            runs, _ = checked(jobs, request, [check])
            said[n] = next((judged(run)[0] for run in runs.values() if run.results), None)
            words = {True: "passes", False: "fails", None: "cannot be judged"}[said[n]]
            runner.say(f"  {check} {words} at {name(n)}")
        return said[n]

    def name(n: int) -> str:
        patch = done.steps[n].patch
        return f"{patch}" if patch else "the base"

    if passes(0) is None or passes(last) is None:
        runner.say(
            f"{check} cannot be judged at {name(0 if passes(0) is None else last)}, so there is nothing to bisect"
        )
        return EXIT_SKIP
    if passes(0) == passes(last):
        runner.say(f"{check} {'passes' if passes(0) else 'fails'} at both ends: if it turns, it turns back")
        return EXIT_CHECK_FAILED
    found = bisected(0, last, passes)
    where = " or ".join(name(n) for n in found)
    runner.say(f"{check} {'passes' if passes(last) else 'fails'} from {where} on")
    return EXIT_OK if len(found) == 1 else EXIT_SKIP


def bisected(low: int, high: int, passes: Callable[[int], bool | None]) -> list[int]:
    """The steps of which one turned a check that ends otherwise at ``high`` than at ``low``: one, if all can be judged.

    The next one asked is the judgeable one nearest to the middle.
    """
    first = passes(low)
    while True:
        middle = (low + high) // 2
        for n in sorted(range(low + 1, high), key=lambda n: abs(n - middle)):
            if (now := passes(n)) is not None:
                low, high = (n, high) if now == first else (low, n)
                break
        else:
            return [*range(low + 1, high + 1)]

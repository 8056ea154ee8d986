# SPDX-License-Identifier: GPL-2.0-only
"""``python3 -m tests.bench``, in the venv's python: measure, and say so line by line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from harness import cache
from harness.errors import EXIT_CHECK_FAILED, EXIT_OK, HarnessError

from . import host, series
from .benchmarks import ALL, EACH
from .builds import TREES as BUILDS
from .builds import Yard, yards
from .figures import CannotError, FailedError, Measured
from .subject import Target, targets

#: What is measured for a tree.
TREES = {**BUILDS, "series-apply": series.apply, "series-step": series.step}
#: What is measured when no kernel is given.
DEFAULT = "debian:isolated"


def parser() -> argparse.ArgumentParser:
    """The command line; the words are those of `harness run`."""
    top = argparse.ArgumentParser(prog="python3 -m tests.bench", description="What the harness costs, as ratios.")
    top.add_argument("--kernel", action="append", default=[], metavar="SPEC", help="which kernel (again for more)")
    top.add_argument("--arch", metavar="ARCH", help="x86_64 or arm64, where SPEC leaves it open")
    top.add_argument("--tree", metavar="TREE", help="what it costs to build it, in place of what kernels cost")
    top.add_argument("--only", action="append", choices=[*EACH, *ALL, *TREES], help="only this one (again for more)")
    top.add_argument("--repeats", type=count, default=5, metavar="N", help="samples, of which the median is taken (5)")
    top.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return top


def count(word: str) -> int:
    """A number of times. Raises ArgumentTypeError if ``word`` is none."""
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is no number of samples")
    return int(word)


def jobs(found: list[Target], trees: list[Yard], only: list[str]) -> Iterator[tuple[str, str, Callable[[], Measured]]]:
    """Each benchmark with the kernel it is about, in the order of the table."""
    for name, benchmark in EACH.items():
        for target in found:
            if name in only:
                yield name, target.kernel.label, partial(benchmark, target)
    for name, cost in TREES.items():
        for yard in trees:
            if name in only:
                yield name, f"{yard.spec} for {yard.arch.name}", partial(cost, yard)
    for name, whole in ALL.items():
        if found and name in only:
            yield name, f"{len(found)} kernels", partial(whole, found)


def measured(name: str, about: str, job: Callable[[], Measured]) -> dict[str, Any]:
    """Do one benchmark and print what came out, or the one line that says why nothing did."""
    row: dict[str, Any] = {"benchmark": name, "about": about}
    head = f"{name:<17}{about:<31}"
    try:
        result = job()
    except (CannotError, FailedError, HarnessError) as error:
        why = str(error).splitlines()[0]
        print(f"{head}not measured: {why}", flush=True)
        return row | {"why": why, "failed": not isinstance(error, CannotError)}
    for figure in result.figures:
        print(f"{head}{figure}", flush=True)
        head = " " * len(head)
    for note in result.notes:
        print(f"{head}{note}", flush=True)
    return row | asdict(result)


def main() -> int:
    """Measure what the command line asks for and return the exit status."""
    args = parser().parse_args()
    only = args.only or [*EACH, *ALL, *TREES]
    specs = args.kernel or ([] if args.tree else [DEFAULT])
    with cache.scratch("bench") as scratch:
        found = targets(specs, args.arch, scratch, args.repeats)
        trees = yards(args.tree, [args.arch] if args.arch else [], scratch, args.repeats) if args.tree else []
        arches = {one.kernel.arch.name: one.kernel.arch for one in found} | {one.arch.name: one.arch for one in trees}
        facts = {
            "machine": host.machine(),
            "versions": host.versions(arches.values()),
            "kernels": {target.kernel.label: f"{target.kernel.spec}, {target.accel}" for target in found},
            "repeats": args.repeats,
        }
        print(facts["machine"], facts["versions"], sep="\n")
        for label, what in facts["kernels"].items():
            print(f"{label}: {what}")
        print(f"Medians of {args.repeats}, the two sides of a ratio in turn; in brackets the lowest and the highest.\n")
        rows: list[dict[str, Any]] = []
        for job in jobs(found, trees, only):
            rows.append(measured(*job))
            if args.json is not None:  # each time: it takes long enough to be interrupted
                args.json.write_text(json.dumps(facts | {"results": rows}, indent=1) + "\n", encoding="utf-8")
    return EXIT_CHECK_FAILED if any(row.get("failed") for row in rows) else EXIT_OK


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except FailedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CHECK_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)

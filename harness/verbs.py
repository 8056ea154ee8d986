# SPDX-License-Identifier: GPL-2.0-only
"""The verbs ``series``, ``mutate`` and ``explain``: their words, and what each of them does.

As in ``cli``, only the standard library is imported before it is known that this host has the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness import entries
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, EXIT_OK, RequestError

SERIES = "an mbox, a directory of patches, a quilt series, PATH@BASE..TOPIC, a message id, or a name in patches/"
TREE = "a directory, DIRECTORY@REVISION, a .tar.xz, or debian:VERSION"
#: Seconds for all that has to be fetched, read and applied.
LIMIT = 1800.0


def add(verbs: Any, *parents: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    """Add the verbs to ``verbs``, argparse's object for subcommands; ``parents`` have the options of others.

    The first is what all verbs have; the others are for those that build and check.
    """
    common = parents[0]
    series = verbs.add_parser("series", help="patch series: show, verify, apply, step, hook")
    whats = series.add_subparsers(dest="what", metavar="WHAT", required=True)

    show = whats.add_parser("show", parents=[common], help="what a series is")
    verify = whats.add_parser("verify", parents=[common], help="whether it is whole, as far as patches/ knows it")
    for each in (show, verify):
        each.add_argument("series", metavar="SERIES", help=SERIES)
    verify.add_argument(
        "--against", metavar="NAME", help="the manifest in patches/ (default: found by ids, else by subjects)"
    )

    apply = whats.add_parser("apply", parents=[common], help="apply it to a copy of a tree")
    apply.add_argument("series", metavar="SERIES", help=SERIES)
    apply.add_argument("tree", metavar="TREE", help=TREE)
    applying(apply)
    ways = apply.add_mutually_exclusive_group()
    ways.add_argument("--continue", dest="go_on", action="store_true", help="go on after a patch was resolved by hand")
    ways.add_argument("--abort", action="store_true", help="forget what was resolved by hand")

    step = whats.add_parser("step", parents=[*parents], help="build, boot and check the base and after each patch")
    step.add_argument("series", metavar="SERIES", help=SERIES)
    step.add_argument("tree", metavar="TREE", help=TREE)
    step.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON (schema in README.md)")
    step.add_argument("--bisect", metavar="ID", help="only find the patch that turns this check")
    applying(step)

    hook = whats.add_parser("hook", parents=[*parents], help="for b4.review-series-check-cmd: a mail in, JSON out")
    hook.add_argument("tree", metavar="TREE", nargs="?", default=".", help=f"{TREE} (default: where it is called)")
    applying(hook)
    hook.set_defaults(failed=entries.tell_failure)

    mutate = verbs.add_parser(
        "mutate", parents=[*parents], help="break a tree on purpose, in each known way: which check notices?"
    )
    mutate.add_argument("tree", metavar="TREE", help=TREE)
    mutate.add_argument("--series", metavar="SERIES", help="a patch series that it is built with")
    mutate.add_argument(
        "--mutant", action="append", default=[], metavar="GLOB", help="only those so called (again for more)"
    )
    mutate.add_argument("--mutants", type=Path, metavar="DIR", help="yours, in .toml files (default: patches/mutants/)")
    mutate.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON (schema in README.md)")

    explain = verbs.add_parser("explain", parents=[common], help="what one check promises, and how it is provoked")
    explain.add_argument("id", metavar="CHECK", help="its id")


def applying(parser: argparse.ArgumentParser) -> None:
    """The options of whatever applies a series."""
    parser.add_argument("--base", metavar="REV", help="apply to this revision of TREE (default: where it fits)")
    parser.add_argument("--repair-whitespace", action="store_true", help="mend patches that lost their white space")
    parser.add_argument("--skip-applied", action="store_true", help="leave out patches that the tree already has")


def mutate(args: argparse.Namespace) -> int:
    """Do it, and return the exit status. Raises HarnessError."""
    from harness import mutation  # noqa: PLC0415

    return mutation.run(args)


def explain(args: argparse.Namespace) -> int:
    """Do it, and return the exit status. Raises HarnessError."""
    from harness import explain  # noqa: PLC0415

    print(explain.text(args.id))
    return EXIT_OK


def main(args: argparse.Namespace) -> int:
    """Do what the verb ``series`` is asked for, and return the exit status. Raises HarnessError."""
    doing: dict[str, Callable[[argparse.Namespace, Deadline], int]] = {
        "show": _show,
        "verify": _verify,
        "apply": _apply,
    }
    if args.what == "hook":
        from harness import hook  # noqa: PLC0415

        return hook.main(args, Deadline.after(LIMIT))
    if args.what == "step":
        from harness import walk  # noqa: PLC0415

        return walk.run(args)
    return doing[args.what](args, Deadline.after(LIMIT))


def _show(args: argparse.Namespace, deadline: Deadline) -> int:
    from harness import source, summary, verify  # noqa: PLC0415

    series = source.read(args.series, deadline)
    for line in summary.shown(series, verify.patch_ids(series.patches), verify.known(series)):
        print(line)
    return EXIT_OK


def _verify(args: argparse.Namespace, deadline: Deadline) -> int:
    from harness import manifest, source, summary, verify  # noqa: PLC0415

    asked = manifest.read(args.against) if args.against else None
    series = source.read(args.series, deadline)
    known = asked or verify.known(series)
    if known is None or not known.patches:
        there = ", ".join(name for name in manifest.names() if manifest.read(name).patches)
        what = f"the manifest {known.name} knows no patches" if known else f"no manifest is of {series.name!r}"
        raise RequestError(what, hint=f"compare it with another one: --against NAME, which is one of {there}")
    findings = verify.compared(series, known, verify.patch_ids(series.patches))
    for line in summary.verified(series, known, findings):
        print(line)
    return EXIT_CHECK_FAILED if findings else EXIT_OK


def _apply(args: argparse.Namespace, deadline: Deadline) -> int:
    from harness import apply, process, source  # noqa: PLC0415

    say = partial(print, flush=True)
    series = source.read(args.series, deadline)
    if args.abort:
        count = apply.forget(series, args.tree, deadline)
        say(f"{series.name}: {'forgotten what was begun by hand' if count else 'nothing was begun by hand'}")
        return EXIT_OK
    found = apply.applied(series, args.tree, apply.wish(args), deadline, say)
    what = "the one patch is" if len(series.patches) == 1 else f"all {len(series.patches)} patches are"
    say(f"{what} applied, in the cache: tree {found.steps[-1].tree.oid} of {found.base.repository.path}")
    flags = [flag for flag in ("repair_whitespace", "skip_applied") if getattr(args, flag)]
    options = [f"--{flag.replace('_', '-')}" for flag in flags]
    words = ["series", "step", args.series, found.base.spec, *options] if flags else [
        *("build", found.base.spec, "--series", args.series)
    ]  # fmt: skip
    say(f"next: {process.pasteable(['python3', '-m', 'harness', *words])}")
    return EXIT_OK

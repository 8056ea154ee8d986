# SPDX-License-Identifier: GPL-2.0-only
"""The command line: what each verb is called, and where exit statuses are decided.

Only the standard library is imported here, so that ``--help`` works in a fresh clone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness import __version__, cache, verbs
from harness.errors import EXIT_BAD_REQUEST, EXIT_HOST, EXIT_OK

#: Verbs that need the packages of pyproject.toml and Debian's QEMU and compilers.
NEEDS_HOST = frozenset({"run", "test", "shell", "build", "series", "compare", "mutate"})


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="nullfs-harness", description="Checks on real kernels what a series promises.")
    top.add_argument("--version", action="version", version=f"nullfs-harness {__version__}")
    subparsers = top.add_subparsers(dest="verb", metavar="VERB")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks and every command that is run")
    common.add_argument("--no-install", action="store_true", help="install nothing; say what is missing")

    making = argparse.ArgumentParser(add_help=False)
    making.add_argument(
        "--arch", action="append", default=[], metavar="ARCH", help="x86_64 or arm64, where it is open (again for both)"
    )
    making.add_argument(
        "--profile", action="append", default=[], metavar="P",
        help="what a tree is built with, and a shell has, besides: storage, network, debug, kunit, selftests, …",
    )  # fmt: skip
    making.add_argument(
        "--fragment", action="append", default=[], type=Path, metavar="FILE", help="a Kconfig fragment for a tree"
    )

    checking = argparse.ArgumentParser(add_help=False)
    checking.add_argument("--check", action="append", default=[], metavar="ID", help="only this check (again for more)")
    checking.add_argument(
        "--guest-timeout", type=float, default=120.0, metavar="S", help="seconds for a boot or a check"
    )
    checking.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto", help="what guests run under")
    checking.add_argument(
        "--guests", type=int, metavar="N", help="how many at once (default: as the host has room for)"
    )
    checking.add_argument("--evidence", type=Path, metavar="DIR", help="where the consoles go")

    run = subparsers.add_parser(
        "run", parents=[common, making, checking], help="the checks, on Debian's newest kernels or on your own"
    )
    run.add_argument(
        "--kernel", action="append", default=[], metavar="SPEC",
        help="an image, a build directory, .deb files joined by commas, debian:VERSION, or a tree (again for more)",
    )  # fmt: skip
    run.add_argument("--series", metavar="SERIES", help="a patch series that a tree is built with")
    run.add_argument("--expect", action="append", default=[], metavar="ERA", help="judge as none, rootfs, isolated")
    run.add_argument("--bisect", metavar="ID", help="this check, with the exit statuses that `git bisect run` wants")
    ways = run.add_mutually_exclusive_group()
    ways.add_argument("--no-fork", action="store_true", help="boot anew for each check")
    ways.add_argument("--both-ways", action="store_true", help="with and without --no-fork; a difference is a failure")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON (schema in README.md)")
    run.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML")

    versus = subparsers.add_parser(
        "compare", parents=[common, making, checking], help="two kernels or more side by side: what got better or worse"
    )
    versus.add_argument(
        "items",
        nargs="+",
        metavar="ITEM",
        help="a kernel, a tree, a patch series, or a file of `run --json` (FILE@KERNEL if of several)",
    )
    versus.add_argument("--tree", metavar="TREE", help="what each patch series is applied to")
    verbs.applying(versus)
    versus.add_argument("--all", action="store_true", help="show the checks that are the same, too")
    versus.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON (README.md)")
    versus.add_argument(
        "--mail", type=Path, metavar="FILE", help="write a mail about it, ready to be sent; it is not sent"
    )

    build = subparsers.add_parser("build", parents=[common, making], help="a kernel for the checks, from a source tree")
    build.add_argument("tree", metavar="TREE", help="a directory, DIRECTORY@REVISION, a .tar.xz, or debian:VERSION")
    build.add_argument("--series", metavar="SERIES", help="a patch series that it is built with")
    build.add_argument(
        "--check", action="append", default=[], metavar="ID", help="for only this check (again for more)"
    )

    subparsers.add_parser(
        "test", parents=[common], help="this project's own tests, real boots included; other words are pytest's"
    )

    shell = subparsers.add_parser(
        "shell", parents=[common, making], help="a shell on a kernel, or one command, or a script on stdin"
    )
    shell.add_argument("--kernel", action="append", required=True, metavar="SPEC", help="as for run, but one")
    shell.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto", help="what the guest runs under")
    shell.add_argument("--append", action="append", default=[], metavar="WORDS", help="more kernel parameters")
    shell.add_argument("--memory", type=int, metavar="MB", help="of the guest (default: as for checks of its profile)")
    others = shell.add_mutually_exclusive_group()
    others.add_argument("--gdb", action="store_true", help="wait for a debugger; its command line is printed")
    others.add_argument("--vng", action="store_true", help="under virtme-ng, with the host's own files")
    shell.add_argument("words", nargs="*", metavar="-- COMMAND", help="run this in the guest; its exit status is ours")

    verbs.add(subparsers, common, making, checking)
    subparsers.add_parser("doctor", parents=[common], help="what this host can do, and what mends each lack")
    return top


def parse(argv: list[str]) -> argparse.Namespace:
    """What ``argv`` asks for; ends the program, as argparse does, if that cannot be understood."""
    top = parser()
    args, more = top.parse_known_args(argv)
    if args.verb == "test":
        args.pytest = more
    elif more:
        top.error(f"unrecognized arguments: {' '.join(more)}")
    elif args.verb is None:
        top.print_help(sys.stderr)
        raise SystemExit(EXIT_BAD_REQUEST)
    return args


def builds(args: argparse.Namespace) -> bool:
    """Whether a kernel will be built from its source: then this host needs more than to run one."""
    if args.verb in ("build", "test", "mutate") or getattr(args, "what", "") in ("step", "hook"):
        return True
    asked = getattr(args, "kernel", None) or getattr(args, "items", [])
    if args.verb == "compare" and args.tree:
        return True
    return any(is_source(spec) for spec in ([asked] if isinstance(asked, str) else asked))


def boots(args: argparse.Namespace) -> bool:
    """Whether a guest may be booted: to look at a series, and to apply it, takes no more than git."""
    return getattr(args, "what", "") not in ("show", "verify", "apply")


def is_source(spec: str) -> bool:
    """Whether ``spec`` looks like a kernel's source: a tree, a tarball of one, or Debian's."""
    from harness import tree  # noqa: PLC0415

    path, revision = tree.split(spec)
    return bool(revision) or tree.is_tree(path) or (spec.startswith("debian:") and spec.endswith(":source"))


def main(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status. Raises HarnessError."""
    if args.debug:
        import logging  # noqa: PLC0415

        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)7.0f %(name)s: %(message)s")
    doing = {"run": _run, "build": _build, "test": _test, "shell": _shell, "doctor": _doctor, "series": verbs.main}
    doing |= {"compare": _compare, "mutate": _mutate, "explain": verbs.explain}
    return doing[args.verb](args)


def _run(args: argparse.Namespace) -> int:
    import pytest  # noqa: F401, PLC0415 - has its bytecode beside it

    cache.keep_bytecode()
    from harness import runner  # noqa: PLC0415

    if args.bisect:
        from harness import bisection  # noqa: PLC0415

        return bisection.commit(runner.asked(args, None), args.bisect)
    return runner.run(args)


def _compare(args: argparse.Namespace) -> int:
    import pytest  # noqa: F401, PLC0415 - has its bytecode beside it

    cache.keep_bytecode()
    from harness import comparing  # noqa: PLC0415

    return comparing.main(args)


def _mutate(args: argparse.Namespace) -> int:
    import pytest  # noqa: F401, PLC0415 - has its bytecode beside it

    cache.keep_bytecode()
    return verbs.mutate(args)


def _build(args: argparse.Namespace) -> int:
    from harness import runner  # noqa: PLC0415

    return runner.build(args)


def _test(args: argparse.Namespace) -> int:
    from harness import runner  # noqa: PLC0415

    return runner.test(args.pytest)


def _shell(args: argparse.Namespace) -> int:
    from harness import shell  # noqa: PLC0415

    return shell.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from harness import doctor  # noqa: PLC0415

    del args
    text, well = doctor.report()
    print(text)
    return EXIT_OK if well else EXIT_HOST

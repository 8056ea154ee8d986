# SPDX-License-Identifier: GPL-2.0-only
"""The verbs ``run`` and ``test``: pytest with another reporter."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import arch, declared, kernel, plugin, resources, session
from harness import report as rendering
from harness.build import Order
from harness.cache import writing
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, EXIT_HOST, EXIT_OK, HostError, RequestError
from harness.make import Watch
from harness.results import Run
from harness.session import Request, Session, opened
from harness.spec import parse_tree

if TYPE_CHECKING:
    from harness.terminal import Screen

#: The default run: what Debian has on either side of the series, the older kernel as the contrast.
DEFAULT = (("debian:isolated", "auto"), ("debian:shared", "auto"))
#: Parts of pytest that are of no use here: half of what it costs to start.
UNUSED = (
    *("cacheprovider", "doctest", "faulthandler", "junitxml", "legacypath", "logging", "pastebin", "setuponly"),
    *("setupplan", "stepwise", "subtests", "terminal", "threadexception", "unittest"),
    "unraisableexception",  # collects garbage twice before it ends
)


def say(text: str) -> None:
    """A line or more of plain words."""
    print(text, flush=True)


class Reporter:
    """Says what goes on: a progress line on a terminal, plain lines elsewhere."""

    def __init__(self, session: Session, screen: Screen | None, *, each: bool) -> None:
        self.session = session
        self.each = each
        self.screen = screen
        self.broken: list[str] = []
        self.said = ""
        self.unread = False
        self.planned = 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A check that cannot even be read is our own fault."""
        if report.failed:
            self.broken.append(str(report.longrepr))

    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
        """Nor should anything else go wrong between a check and its result. True: pytest need not print it."""
        self.unread = isinstance(excinfo.value, BrokenPipeError)
        self.broken.append(str(excrepr))
        return True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Also what pytest.exit() comes as."""
        self.said = str(getattr(excinfo.value, "msg", ""))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Now it is known how much there is to do."""
        self.planned = len(session.items)
        if self.screen:
            self.screen.start(self.planned)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """What is tried now."""
        if self.screen:
            self.screen.doing(item.name)
        rendering.get_ready()  # there is nothing else to do while the first guest starts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One more done."""
        if report.when != "teardown":
            return
        if self.screen:
            self.screen.done()
        elif (results := self.session.run.results) and not self.each:
            label = results[-1].kernel
            mine = Counter(result.verdict for result in results if result.kernel == label)
            if mine.total() * len(self.session.columns) == self.planned:
                say(f"{label}: {', '.join(f'{count} {verdict}' for verdict, count in mine.most_common())}")
        elif results:
            say(f"[{len(results)}] {results[-1].kernel} {results[-1].check}: {rendering.word(results[-1])}")

    def pytest_sessionfinish(self) -> None:
        """Make room for the table."""
        if self.screen:
            self.screen.stop()


def asked(args: argparse.Namespace, screen: Screen | None) -> Request:
    """What ``args`` ask for: the checks on ``args.kernel``, or on Debian's newest kernels."""
    return Request(
        kernels=args.kernel or [spec for spec, _ in DEFAULT],
        expect=args.expect or ([] if args.kernel else [era for _, era in DEFAULT]),
        arch=args.arch,
        profiles=args.profile,
        fragments=args.fragment,
        say=say,
        watch=watching(screen),
        timeout=args.guest_timeout,
        accel=args.accel,
        fork=not args.no_fork,
        guests=args.guests,
        evidence=args.evidence,
        checks=args.check,
        series=args.series or "",
    )


def run(args: argparse.Namespace) -> int:
    """The verb ``run``. Returns the exit status. Raises RequestError, BuildError, HostError."""
    screen = on_terminal()
    writable(args.json, args.junit)
    request = asked(args, screen)
    say("getting kernels: " + ", ".join(map(str, request.kernels)))
    results, status = checked(request, screen)
    if args.both_ways and status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        say("and once more, each check in a guest that boots")
        # Beside the consoles of the forks, which are then not overwritten.
        booted = replace(request, fork=False, evidence=Path(results.evidence) / "booted")
        again, status = checked(booted, screen)
        results.compare(again)
    for path, text in ((args.json, results.to_json), (args.junit, lambda: rendering.junit(results))):
        if path is not None:
            write(path, text())
    _print(results)
    return _status(results, status)


def writable(*targets: Path | None) -> None:
    """Raise RequestError before the work is done for what could not be written after it."""
    for target in targets:
        if target is not None and not target.absolute().parent.is_dir():
            raise RequestError(f"{target.parent} is not a directory, so {target.name} cannot be written there")


def write(path: Path, text: str) -> None:
    """Put what the user wants into a file of theirs. Raises HostError if that cannot be done."""
    with writing(path):
        path.write_text(text, encoding="utf-8")


def checked(request: Request, screen: Screen | None, *, each: bool = True) -> tuple[Run, int]:
    """What came out of all checks, and pytest's exit status. Raises RequestError, BuildError, HostError.

    What is said meanwhile is a line for each check, or else for each kernel.
    """
    with ExitStack() as stack:
        with screen.waiting("getting kernels") if screen else nullcontext():
            session = stack.enter_context(opened(request))
        session.begin()
        for column in session.columns if each else ():
            say(f"  {column.kernel.release} for {column.kernel.arch.name}")
        status = _pytest(session, Reporter(session, screen, each=each))
        return session.finish(), status


def _pytest(session: Session, reporter: Reporter) -> int:
    # The user's own plugins, options and configuration files are for their tests, not for the checks.
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    checks = resources.directory("tests/kernel")
    words = [str(checks), "-c", os.devnull, "--rootdir", str(checks), "--capture=no"]
    words += [word for name in UNUSED for word in ("-p", f"no:{name}")]
    words += ["-p", "no:nullfs-harness", "-p", "harness.plugin"]
    words += [word for name in session.request.checks for word in ("--check", name)]
    plugins = [(plugin.SessionHolder(session), plugin.SESSION_PLUGIN), (reporter, "reporter")]
    status = pytest.main(words, plugins=[_Named(plugins)])
    if reporter.unread:
        raise BrokenPipeError
    if reporter.broken:
        raise HostError("the checks could not be run", cause=reporter.broken[0])
    if status == pytest.ExitCode.USAGE_ERROR:
        raise RequestError(reporter.said or "pytest refused the request", hint="leave --check away to run them all")
    return int(status)


class _Named:
    """Registers plugins under the names by which others look for them."""

    def __init__(self, plugins: list[tuple[object, str]]) -> None:
        self.plugins = plugins

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        # As --tb=no, which is an option of its terminal: nobody sees pytest's tracebacks, and each costs 10 ms.
        config.option.tbstyle = "no"
        for instance, name in self.plugins:
            config.pluginmanager.register(instance, name)


def watching(screen: Screen | None) -> Watch:
    """What is told how far a build is."""
    return screen.building if screen else rendering.tenths(say)


def on_terminal() -> Screen | None:
    """What shows how far it is, if there is a terminal to show it on."""
    if not sys.stdout.isatty():
        return None
    from harness import terminal  # noqa: PLC0415

    return terminal.Screen()


def _print(results: Run) -> None:
    say("")
    for text in rendering.failures(results):
        say(text)
    say(rendering.trimmed(rendering.table(results)) + "\n")
    say(rendering.closing(results))


def whole(status: int) -> None:
    """Raise KeyboardInterrupt or HostError if pytest, which ended with ``status``, did not come to its end."""
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise HostError(f"pytest ended with status {status}", hint="run it again with --debug")


def _status(results: Run, status: int) -> int:
    whole(status)
    if results.differences or any(result.verdict != "error" for result in results.failed):
        return EXIT_CHECK_FAILED
    return EXIT_HOST if results.failed else EXIT_OK


def build(args: argparse.Namespace) -> int:
    """The kernels of ``args.tree`` for the checks. Returns the exit status. Raises RequestError, BuildError, HostError.

    A tree is always built here, also one with an image in it.
    """
    wanted = parse_tree(args.tree)
    arches = [arch.by_name(name) for name in dict.fromkeys(args.arch)]
    every = declared.every(args.check, args.profile)
    needs = {name: every[name] for name in args.check or every}
    screen = on_terminal()
    watch = watching(screen)
    order = Order(args.profile, needs, args.fragment, say, watch, args.series or "")
    say(f"looking at {wanted.spec}")
    with screen.waiting("looking at the tree") if screen else nullcontext():
        deadline = Deadline.after(session.FETCH)
        for each in kernel.from_tree(kernel.source(wanted, deadline, order), arches, deadline, order):
            say(rendering.built(each))
    return EXIT_OK


def test(words: list[str]) -> int:
    """The project's own tests, the checks on the default kernels among them. Returns the exit status."""
    top = Path(__file__).resolve().parent.parent
    if not (top / "tests").is_dir():
        raise RequestError("the tests are not here: they come with a clone, not with an installed package")
    os.chdir(top)
    kernels = [word for spec, era in DEFAULT for word in (f"--kernel={spec}", f"--expect={era}")]
    print("getting kernels: " + ", ".join(spec for spec, _ in DEFAULT), flush=True)
    status = pytest.main([*kernels, "tests", *words])
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return {pytest.ExitCode.OK: EXIT_OK, pytest.ExitCode.TESTS_FAILED: EXIT_CHECK_FAILED}.get(
        pytest.ExitCode(status), EXIT_HOST
    )

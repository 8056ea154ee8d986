# SPDX-License-Identifier: GPL-2.0-only
"""The verbs ``run`` and ``test``: pytest with another reporter."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness import plugin, resources
from harness import report as rendering
from harness.cache import writing
from harness.errors import EXIT_CHECK_FAILED, EXIT_HOST, EXIT_OK, HostError, RequestError
from harness.results import Run
from harness.session import Request, Session, opened

#: The default run: what Debian has on either side of the series, the older kernel as the contrast.
DEFAULT = (("debian:isolated", "auto"), ("debian:shared", "auto"))


class Output(Console):
    """Where the report goes."""

    def say(self, text: str) -> None:
        """A line or more of plain words, as they are."""
        self.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Nobody reads on, as with `| head`: not the end of the process at once, for guests have to be taken away."""
        raise BrokenPipeError


class Reporter:
    """Says what goes on: a progress line on a terminal, plain lines elsewhere."""

    def __init__(self, session: Session, console: Output) -> None:
        self.session = session
        self.console = console
        self.broken: list[str] = []
        self.said = ""
        self.unread = False
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("collecting", total=None)

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
        self.progress.update(self.task, total=len(session.items))
        self.progress.start()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """What is tried now."""
        self.progress.update(self.task, description=item.name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One more done."""
        if report.when != "teardown":
            return
        self.progress.advance(self.task)
        if not self.console.is_terminal and self.session.run.results:
            result = self.session.run.results[-1]
            done = len(self.session.run.results)
            self.console.say(f"[{done}] {result.kernel} {result.check}: {rendering.word(result)}")

    def pytest_sessionfinish(self) -> None:
        """Make room for the table."""
        self.progress.stop()


def run(args: argparse.Namespace) -> int:
    """The checks on ``args.kernel``, or on Debian's newest kernels. Returns the exit status."""
    kernels = args.kernel or [spec for spec, _ in DEFAULT]
    expect = args.expect or ([] if args.kernel else [era for _, era in DEFAULT])
    for target in (args.json, args.junit):
        if target is not None and not target.absolute().parent.is_dir():
            raise RequestError(f"{target.parent} is not a directory, so {target.name} cannot be written there")
    request = Request(
        kernels=kernels,
        expect=expect,
        arch=args.arch,
        timeout=args.guest_timeout,
        accel=args.accel,
        fork=not args.no_fork,
        guests=args.guests,
        evidence=args.evidence,
    )
    console = Output()
    console.say("getting kernels: " + ", ".join(kernels))
    with ExitStack() as stack:
        with console.status("getting kernels"):
            session = stack.enter_context(opened(request))
        for column in session.columns:
            console.say(f"  {column.kernel.release} for {column.kernel.arch.name}")
        status = _pytest(session, console, args.check)
        results = session.finish()
    for path, text in ((args.json, results.to_json), (args.junit, lambda: rendering.junit(results))):
        if path is not None:
            with writing(path):
                path.write_text(text(), encoding="utf-8")
    _print(results, console)
    return _status(results, status)


def _pytest(session: Session, console: Output, only: list[str]) -> int:
    # The user's own plugins, options and configuration files are for their tests, not for the checks.
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    checks = resources.directory("tests/kernel")
    words = [str(checks), "-c", os.devnull, "--rootdir", str(checks), "--capture=no"]
    words += ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:nullfs-harness", "-p", "harness.plugin"]
    words += [word for name in only for word in ("--check", name)]
    reporter = Reporter(session, console)
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
        for instance, name in self.plugins:
            config.pluginmanager.register(instance, name)


def _print(results: Run, console: Output) -> None:
    console.print()
    for text in rendering.failures(results):
        console.say(text)
    console.print(rendering.table(results))
    console.print()
    console.say(rendering.closing(results))


def _status(results: Run, status: int) -> int:
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise HostError(f"pytest ended with status {status}", hint="run it again with --debug")
    if any(result.verdict != "error" for result in results.failed):
        return EXIT_CHECK_FAILED
    return EXIT_HOST if results.failed else EXIT_OK


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

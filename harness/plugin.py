# SPDX-License-Identifier: GPL-2.0-only
"""The pytest plugin: ``pytest --kernel=SPEC`` runs the checks of tests/kernel/ on that kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from harness import console, profiles, report, resources, trial
from harness.checks import BROKEN, Check, Verdict
from harness.errors import HarnessError, RequestError
from harness.guest import Guest
from harness.kernel import Kernel
from harness.results import Result
from harness.session import Column, Request, Session, opened
from harness.trial import Outcome

_SESSION = pytest.StashKey[Session]()
#: The guest of a check that runs where pytest calls it, or what is being made of one that runs elsewhere.
_GUEST = pytest.StashKey[Guest]()
_AHEAD = pytest.StashKey[Future[Outcome]]()
#: Under this name `nullfs-harness run` brings a session that it has opened itself.
SESSION_PLUGIN = "nullfs-harness-session"
_TAIL = 15


class SessionHolder:
    """A pytest plugin that only carries a session."""

    def __init__(self, session: Session) -> None:
        self.session = session


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; `nullfs-harness run` has the same ones."""
    group = parser.getgroup("nullfs-harness", "checks on real kernels")
    group.addoption("--kernel", action="append", default=[], metavar="SPEC", help="a kernel to check (see README.md)")
    group.addoption("--expect", action="append", default=[], metavar="ERA", help="judge it as none, rootfs or isolated")
    group.addoption("--arch", action="append", default=[], metavar="ARCH", help="the architecture, where it is open")
    group.addoption("--profile", action="append", default=[], metavar="P", help="what a tree is built with besides")
    group.addoption("--fragment", action="append", default=[], metavar="FILE", help="a Kconfig fragment for a tree")
    group.addoption("--series", metavar="SERIES", default="", help="a patch series that a tree is built with")
    group.addoption("--check", action="append", default=[], metavar="ID", help="only this check")
    group.addoption("--guest-timeout", type=float, default=120.0, metavar="S", help="seconds for a boot or a check")
    group.addoption("--accel", choices=("auto", "kvm", "tcg"), default="auto", help="what guests run under")
    group.addoption("--no-fork", action="store_true", help="boot anew for each check")
    group.addoption("--guests", type=int, metavar="N", help="how many at once (default: as the host has room for)")
    group.addoption("--evidence", metavar="DIR", help="where the consoles go")


def pytest_configure(config: pytest.Config) -> None:
    """Open the session, and find the checks when no path is given."""
    config.addinivalue_line("markers", "check(check): a promise of a series, tried in a guest of its own")
    if config.option.help or config.option.version:
        return
    holder = config.pluginmanager.get_plugin(SESSION_PLUGIN)
    if isinstance(holder, SessionHolder):
        config.stash[_SESSION] = holder.session
        return
    if not config.option.kernel:
        return
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(resources.directory("tests/kernel"))]
    option = config.option
    request = Request(
        kernels=option.kernel,
        expect=option.expect,
        arch=option.arch,
        timeout=option.guest_timeout,
        accel=option.accel,
        fork=not option.no_fork,
        guests=option.guests,
        evidence=_evidence(config),
        checks=option.check,
        series=option.series,
        profiles=option.profile,
        fragments=[config.invocation_params.dir / name for name in option.fragment],
        say=_say(config),
        watch=report.tenths(_say(config)),
        paths=[config.invocation_params.dir / word.partition("::")[0] for word in config.args],
    )
    stack = ExitStack()
    config.add_cleanup(stack.close)
    try:
        config.stash[_SESSION] = stack.enter_context(opened(request))
    except RequestError as error:
        raise pytest.UsageError(str(error)) from error
    except HarnessError as error:
        pytest.exit(f"error: {error}", returncode=error.exit_status)
    if not _in_turn(config):
        config.stash[_SESSION].begin()


def _say(config: pytest.Config) -> Callable[[str], None]:
    """What is worth a line before pytest itself says something: a kernel is being built."""

    def say(line: str) -> None:
        capture = config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            print(line, file=sys.stderr, flush=True)

    return say


def _in_turn(config: pytest.Config) -> bool:
    """Whether checks run when pytest calls them: pytest-xdist has workers of its own, a debugger wants a live guest."""
    option = config.option
    xdist = hasattr(config, "workerinput") or getattr(option, "dist", "no") != "no"
    return xdist or bool(getattr(option, "usepdb", False) or option.collectonly)


def _evidence(config: pytest.Config) -> Path | None:
    """Where the consoles go, if that is said: by the user, or by pytest-xdist's controller to its worker."""
    where = getattr(config, "workerinput", {}).get("nullfs_harness_evidence") or config.option.evidence
    return Path(where) if where else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's WorkerController
    """All workers of pytest-xdist keep their evidence in one place."""
    if session := session_of(node.config):
        node.workerinput["nullfs_harness_evidence"] = str(session.lab.evidence)


def session_of(config: pytest.Config) -> Session | None:
    """The session of this pytest run, if kernels were given."""
    return config.stash.get(_SESSION, None)


def check_of(item: pytest.Item) -> Check | None:
    """The check that a test function is, if it is one."""
    mark = item.get_closest_marker("check")
    return mark.args[0] if mark else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each check once for each kernel."""
    if "column" in metafunc.fixturenames:
        session = session_of(metafunc.config)
        columns = session.columns if session else []
        metafunc.parametrize("column", columns, ids=[column.kernel.label for column in columns], scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the checks out that were not asked for, and turn the due failures of older eras round."""
    session, only = session_of(config), config.option.check
    checks = {item: check for item in items if (check := check_of(item))}
    if unknown := set(only) - {check.id for check in checks.values()}:
        known = ", ".join(sorted({check.id for check in checks.values()}))
        refusal = f"no check {', '.join(sorted(unknown))}; there are: {known}"
        if isinstance(config.pluginmanager.get_plugin(SESSION_PLUGIN), SessionHolder):
            pytest.exit(refusal, pytest.ExitCode.USAGE_ERROR)  # `run` says it in its own words
        raise pytest.UsageError(refusal)
    wanted = {item for item, check in checks.items() if session and session.request.wants(check.id, check.profile)}
    kept = [item for item in items if item not in checks or item in wanted]
    if only:
        kept = [item for item in kept if item in checks and checks[item].id in only]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    asking = iter(sorted((item for item in kept if item in checks), key=lambda item: _rank(checks[item])))
    kept = items[:] = [next(asking) if item in checks else item for item in kept]
    for item in kept:
        check = checks.get(item)
        if check and session and (lacks := session.lacks(check, _column(item))):
            item.add_marker(pytest.mark.skip(reason=f"this kernel lacks {', '.join(lacks)}"))
        elif check and check.expected(_column(item).expect) is Verdict.FAIL:
            reason = f"due before {check.since}; a pass would not discriminate: it proves nothing about {check.id}"
            item.add_marker(pytest.mark.xfail(reason=reason, raises=BROKEN, strict=True))


def _rank(check: Check) -> int:
    """Where a check comes, but for its file: what a plain guest can show is told first, a real userspace last."""
    return [*profiles.every()].index(check.profile)


def _column(item: pytest.Item) -> Column:
    column = getattr(item, "callspec").params["column"]  # noqa: B009 - not in pytest's types
    assert isinstance(column, Column)
    return column


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Let the checks run side by side, while pytest goes through them one by one and takes what came out."""
    ours = session_of(session.config)
    if ours is None or _in_turn(session.config):
        return (yield)
    for item in session.items:
        check = check_of(item)
        if check and isinstance(item, pytest.Function) and _plain(item):
            item.stash[_AHEAD] = ours.ahead(check, _column(item), item.obj)
    try:
        return (yield)
    finally:
        ours.stop()


def _plain(item: pytest.Function) -> bool:
    """Whether a check asks pytest for nothing but a guest, and so can be done ahead of its turn, in another thread."""
    asked, given = list(signature(item.obj).parameters), set(item.fixturenames)
    return asked == ["guest"] and not item.get_closest_marker("skip") and given <= {"guest", "column", "request"}


@pytest.fixture
def guest(request: pytest.FixtureRequest, column: Column) -> Iterator[Guest | None]:
    """A pristine guest of the kernel under test, which no other check has seen or will see."""
    session, check = session_of(request.config), check_of(request.node)
    if session is None or check is None or check.static:
        pytest.fail("the guest fixture needs --kernel and a @check that is not static", pytrace=False)
    if _AHEAD in request.node.stash:
        yield None  # it has its guest elsewhere
        return
    with session.lab.guest(column.kernel, check.id, profiles.by_name(check.profile)) as running:
        request.node.stash[_GUEST] = running
        yield running


@pytest.fixture
def kernel(request: pytest.FixtureRequest, column: Column) -> Kernel:
    """The kernel under test, for a check that boots nothing."""
    check = check_of(request.node)
    if check is None or not check.static:
        pytest.fail("the kernel fixture needs a @check(…, static=True)", pytrace=False)
    return column.kernel


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """What the kernel says while a check runs is part of the check."""
    running = pyfuncitem.stash.get(_GUEST, None)
    if running is None:
        return (yield)
    with trial.judged(running):
        return (yield)


@pytest.hookimpl(tryfirst=True, specname="pytest_pyfunc_call")
def pytest_take(pyfuncitem: pytest.Function) -> bool | None:
    """In place of the call: what came out of the check that has been done ahead."""
    future = pyfuncitem.stash.get(_AHEAD, None)
    if future is None:
        return None
    if error := future.result().error:
        raise error
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a result of it, and add the evidence to pytest's own report."""
    report = yield
    session, check = session_of(item.config), check_of(item)
    error = call.excinfo.value if call.excinfo else None
    decided = call.when == "call" or (call.when == "setup" and error is not None)
    if session is None or check is None or not decided or isinstance(error, KeyboardInterrupt):
        return report
    result = session.record(check, _column(item), error, _draft(item, call, error))
    item.user_properties.append(("verdict", result.verdict))  # pytest's own JUnit takes the last report's
    if not result.ok:
        report.sections.append(("promise", f"{result.promise}\n{result.patch}"))
        report.sections.append((f"console, whole in {result.console}", result.tail))
        report.sections.append(("just this one again", result.repeat))
    return report


def _draft(item: pytest.Item, call: pytest.CallInfo[None], error: BaseException | None) -> Result:
    if (ahead := item.stash.get(_AHEAD, None)) and ahead.done() and not ahead.cancelled():
        ended = ahead.result()
    else:
        ended = trial.outcome(item.stash.get(_GUEST, None), error, call.duration)
    return Result(
        *("", "", "", "", "", "", ""),  # the session knows what it is about
        ok=False,
        seconds=round(ended.seconds, 3),
        reason=_reason(error),
        troubles=ended.troubles,
        tail=console.tail_of(ended.console, _TAIL) if ended.console else "",
        console=str(ended.console or ""),
        cpu=ended.cpu,
        tests=ended.tests,
    )


def _reason(error: BaseException | None) -> str:
    if error is None:
        return ""
    if isinstance(error, pytest.skip.Exception):
        return str(error.msg)
    if isinstance(error, HarnessError):
        return f"{error.brief}\n{error.hint}" if error.hint else error.brief
    return str(error) or type(error).__name__

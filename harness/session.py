# SPDX-License-Identifier: GPL-2.0-only
"""One run of checks: which kernels, what each is judged by, and where its evidence goes."""

from __future__ import annotations

import math
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from harness import __version__, arch, cache, declared, durations, kernel, modules, profiles, qemu, resources, trial
from harness.build import Order
from harness.checks import BROKEN, Check, Era, Verdict, claimed
from harness.deadline import Deadline
from harness.declared import Declared
from harness.errors import RequestError
from harness.guest import Guest
from harness.kernel import Kernel
from harness.lab import Lab
from harness.make import Watch
from harness.pool import Pool, room
from harness.results import KernelFacts, Result, Run
from harness.trial import Outcome

#: Seconds for the download of everything that a run needs.
FETCH = 1800.0
#: Seconds that a check takes of which nothing is known.
UNKNOWN = 60.0
#: Evidence directories that are kept in the cache.
KEPT = 10


@dataclass(frozen=True)
class Request:
    """What was asked for, in the words of the command line. ``expect``: none, one for all, or one for each."""

    kernels: Sequence[str | Kernel]
    expect: Sequence[str] = ()
    arch: Sequence[str] = ()
    timeout: float = 120.0
    accel: str = "auto"
    fork: bool = True
    #: At once; None: as many as the host has room for.
    guests: int | None = None
    evidence: Path | None = None
    #: By id; none: all.
    checks: Sequence[str] = ()
    #: Where they are: test files and directories of them; none: the project's own.
    paths: Sequence[Path] = ()
    #: For kernels that have to be built: what is wanted of them beside what the checks need.
    profiles: Sequence[str] = ()
    fragments: Sequence[Path] = ()
    #: A patch series that trees are built with.
    series: str = ""
    #: Kernels are trees, and built, though they may have an image in them.
    trees: bool = False
    #: Told what goes on before there are kernels, and how far a build is.
    say: Callable[[str], None] = lambda _: None
    watch: Watch | None = None

    def wants(self, check: str, profile: str) -> bool:
        """Whether that check runs, if it is among those that are chosen."""
        return check in self.checks or profile in self.profiles or not profiles.by_name(profile).asked


@dataclass(frozen=True)
class Column:
    """A kernel and the era by which it is judged."""

    kernel: Kernel
    expect: Era


class Session:
    """Makes guests for checks and keeps their results."""

    def __init__(self, request: Request, columns: list[Column], lab: Lab, pool: Pool) -> None:
        self.request = request
        self.columns = columns
        self.lab = lab
        self._pool = pool
        self._durations = durations.known()
        self._boots: dict[tuple[str, str], Future[object]] = {}
        self.run = Run(
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            harness=__version__,
            host=f"{platform.machine()} Linux {platform.release()}, {os.cpu_count()} CPUs",
            evidence=str(lab.evidence),
        )
        self._begun = time.monotonic()
        #: Modules that checks want and a kernel does not have, by its label, once somebody has asked.
        self._missing: dict[str, set[str]] = {}

    def begin(self) -> None:
        """Boot every kernel, while others look for the checks; what goes wrong is told to who wants a guest of it."""
        if profiles.DEFAULT in self.lab.modules:  # what checks of others want is known once they are found
            for column in self.columns:
                self._boot(column, profiles.DEFAULT)

    def _boot(self, column: Column, profile: str) -> Future[object]:
        key = column.kernel.label, profile
        if key not in self._boots:
            work = partial(self.lab.boot, column.kernel, profiles.by_name(profile))
            self._boots[key] = self._pool.add(-math.inf, work)
        return self._boots[key]

    def lacks(self, check: Check, column: Column) -> list[str]:
        """What a kernel would need for a check and does not have: symbols of its configuration, else modules."""
        label = column.kernel.label
        if label not in self._missing:
            self._missing[label] = modules.missing(column.kernel, {*chain(*self.lab.modules.values())})
        missing = self._missing[label]
        return check.lacks(column.kernel.config) or [f"the module {name}" for name in check.modules if name in missing]

    def ahead(self, check: Check, column: Column, body: Callable[[Guest], object]) -> Future[Outcome]:
        """Do a check as soon as its kernel has booted and there is room, the longest ones first."""
        ended: Future[Outcome] = Future()
        work = partial(trial.perform, self.lab, column.kernel, check, body)
        rank = -self._durations.get(check.id, UNKNOWN)

        def ready(_: Future[object]) -> None:
            self._pool.add(rank, work).add_done_callback(partial(_hand_over, ended))

        self._boot(column, check.profile).add_done_callback(ready)
        return ended

    def stop(self) -> None:
        """Take all guests away, and do no more checks."""
        if self._pool.closed:
            return
        self.lab.stop()
        self._pool.close()
        durations.remember(self.run.results)

    def finish(self) -> Run:
        """All that is known now."""
        self.run.seconds = round(time.monotonic() - self._begun, 2)
        self.run.stages = {name: round(seconds, 3) for name, seconds in self.lab.stages.items()}
        self.run.kernels = [self._facts(column) for column in self.columns]
        self.run.qemu = qemu.version(self.columns[0].kernel.arch)
        return self.run

    def _facts(self, column: Column) -> KernelFacts:
        accel = self.lab.accels.get(column.kernel.arch.name)
        booted = self.lab.booted(column.kernel)
        return KernelFacts(
            label=column.kernel.label,
            name=column.kernel.name,
            spec=column.kernel.spec,
            image=str(column.kernel.image),
            arch=column.kernel.arch.name,
            release=column.kernel.release,
            expect=str(column.expect),
            accel=accel.name if accel else "",
            accel_why=accel.why if accel else "",
            no_snapshot=booted.why if booted else "",
            boot_troubles=tuple(f"{seen.name}: {seen.line}" for seen in self.lab.boot_troubles(column.kernel)),
            no_boot=self.lab.no_boot(column.kernel),
            image_bytes=column.kernel.image.stat().st_size,
            warnings=column.kernel.warnings,
            **_claim(column),
        )

    def record(self, check: Check, column: Column, error: BaseException | None, result: Result) -> Result:
        """Keep the result of a check that ended with ``error``; what it is about is filled in here."""
        verdict, expected = Verdict.of(error), check.expected(column.expect)
        due = isinstance(error, BROKEN) if expected is Verdict.FAIL else verdict is Verdict.PASS
        full = replace(
            result,
            check=check.id,
            promise=check.promise,
            patch=check.patch,
            since=str(check.since),
            kernel=column.kernel.label,
            verdict=str(verdict),
            expected=str(expected),
            how="static" if check.static else "boot",
            ok=(due or verdict is Verdict.SKIP) and not result.troubles,
            repeat=self.repeat(check, column),
        )
        self.run.results.append(full)
        return full

    def repeat(self, check: Check, column: Column) -> str:
        """The command that runs just this check on just this kernel."""
        # Not the tree that it was built from: for just this check another kernel would be built.
        spec = str(column.kernel.image) if column.kernel.source else column.kernel.spec
        words = ["python3", "-m", "harness", "run", "--kernel", spec]
        words += ["--arch", column.kernel.arch.name, "--expect", str(column.expect), "--check", check.id]
        return shlex.join(words)


def columns(request: Request, asking: Sequence[Declared], deadline: Deadline) -> list[Column]:
    """The kernels that ``request`` names, a tree built for the checks ``asking``. Raises RequestError, HostError."""
    wanted = list(dict.fromkeys(arch.by_name(name) for name in request.arch))
    if request.guests is not None and request.guests < 1:
        raise RequestError(f"{request.guests} is no number of guests", hint="leave --guests away for what fits")
    if len(request.expect) not in (0, 1, len(request.kernels)):
        raise RequestError(
            f"{len(request.kernels)} kernels and {len(request.expect)} --expect",
            hint="give --expect once for all kernels, or once for each",
        )
    expect = list(request.expect) or ["isolated"]
    if len(expect) == 1:
        expect *= len(request.kernels)
    for word in expect:
        _era(word, (0, 0))  # a wrong word is found before anything is fetched
    profiles.check(request.profiles)
    needs = declared.needs(asking, request.profiles, request.checks)
    order = Order(request.profiles, needs, request.fragments, request.say, request.watch, request.series)
    found = [
        Column(found, _era(word, found.version))
        for spec, word in zip(request.kernels, expect, strict=True)
        for found in (
            [spec] if isinstance(spec, Kernel) else kernel.resolve(spec, wanted, deadline, order, trees=request.trees)
        )
    ]
    labels = [column.kernel.label for column in found]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise RequestError(f"two kernels are both {twice}", hint="give each kernel once")
    return found


def asked(request: Request) -> list[Declared]:
    """What the checks of ``request`` need, as far as that is known before pytest collects them. Raises RequestError."""
    found = declared.declared(request.paths or [resources.directory("tests/kernel")], request.checks)
    return [check for check in found if request.wants(check.id, check.profile)]


def _era(word: str, version: tuple[int, int]) -> Era:
    if word == "auto":
        return Era.of(version)
    try:
        return Era[word.upper()]
    except KeyError:
        known = ", ".join(str(era) for era in Era)
        raise RequestError(
            f"{word!r} is not an era", hint=f"--expect takes one of: {known}; or auto, for what the release number says"
        ) from None


@contextmanager
def opened(request: Request) -> Iterator[Session]:
    """A session, whose scratch is gone when the block is left; the evidence stays. Raises RequestError, HostError."""
    stages = {"start": _age()}
    deadline = Deadline.after(FETCH)
    asking = asked(request)
    loadable = {name: declared.loadable(asking, name) for name in dict.fromkeys(check.profile for check in asking)}
    memory = max((profiles.by_name(name).memory for name in loadable), default=profiles.MEMORY)
    found = columns(request, asking, deadline)
    for column in found:
        for names in loadable.values():  # if they do not fit, that is told before anything boots
            modules.closure(column.kernel, names, deadline)
    stages["kernels"] = _age() - stages["start"]
    for name in {column.kernel.arch.name for column in found}:
        qemu.program(arch.by_name(name))
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(request.evidence or new_evidence(), request.timeout, request.accel, request.fork))
        lab.modules = loadable
        lab.stages.update(stages)
        session = Session(request, found, lab, Pool(request.guests or room(memory)))
        stack.callback(session.stop)
        yield session


def _claim(column: Column) -> dict[str, Any]:
    """The fields of KernelFacts that come from the kernel's vmlinux."""
    try:
        claims = column.kernel.claims
    except RequestError as error:  # nobody asked for it, and no verdict depends on it
        return {"claim": "unknown", "claim_why": error.what}
    if claims is None:
        return {}
    return {
        "build_id": claims.build_id,
        "claim": claimed(claims.has),
        "claim_why": claims.words,
        "claim_against": column.expect.against(claims.has),
    }


def _age() -> float:
    """Seconds since this process was started (proc(5): starttime, in ticks since the host was)."""
    begun = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK")


def _hand_over(to: Future[Outcome], done: Future[Outcome]) -> None:
    if done.cancelled():
        to.cancel()
    elif error := done.exception():
        to.set_exception(error)
    else:
        to.set_result(done.result())


def new_evidence() -> Path:
    """A directory in the cache for the consoles of one run; the oldest one goes. Raises HostError."""
    runs = cache.directory("runs")
    for old in sorted(path for path in runs.iterdir() if path.is_dir())[: -KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)
    with cache.writing(runs):
        path = runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S.%f}-{os.getpid()}"
        path.mkdir()
    return path

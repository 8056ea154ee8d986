# SPDX-License-Identifier: GPL-2.0-only
"""The harness as its users start it: whole processes, timed from outside."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import arch, cache, kernel, process, qemu
from harness.deadline import Deadline
from harness.kernel import Kernel
from harness.spec import DEBIAN

from . import bare
from .figures import FailedError

#: The checkout that is measured.
TOP = Path(__file__).resolve().parents[2]
#: Seconds that one run may take: a suite without snapshots under TCG takes minutes.
LIMIT = 3600.0
#: Seconds for the kernels that have to be downloaded first.
FETCH = 1800.0

_CHECK = """
@check("trivial-{n}", "PID 1 is PID 1", patch="bench/1")
def test_trivial_{n}(guest: Guest) -> None:
    assert guest.getpid() == 1
"""


def environment() -> dict[str, str]:
    """The user's, without what steers another pytest, and with the venv's programs found first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def telling(output: str) -> str:
    """The line of a program's output that says most about why it failed."""
    rows = [line.strip() for line in output.splitlines() if line.strip()] or ["it printed nothing"]
    return next((row for row in rows if row.lower().startswith(("error", "e  "))), rows[-1])


def failure(argv: Sequence[str | Path], status: int, output: str) -> FailedError:
    """What there is to say of a program that ended with that status."""
    return FailedError(f"status {status}: {telling(output)} ({process.pasteable(argv)})")


def timed(argv: Sequence[str | Path], cwd: Path = TOP, env: dict[str, str] | None = None) -> float:
    """Seconds from the start of a program to its end. Raises FailedError if that is not a good one."""
    begun = time.perf_counter()
    done = process.run(argv, Deadline.after(LIMIT), cwd=cwd, env=env or environment(), merge=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise failure(argv, done.returncode, done.stdout)
    return seconds


def suite(words: Sequence[str | Path]) -> list[str | Path]:
    """The command that runs all checks."""
    return [sys.executable, "-m", "harness", "run", "--no-install", *words]


@dataclass
class Target:
    """One kernel, and all that is measured of it. ``scratch`` is its own directory."""

    kernel: Kernel
    scratch: Path
    repeats: int
    #: The JSON document of the last suite.
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The options that choose this kernel, judged by what its release number says, in any directory."""
        spec = self.kernel.spec if self.kernel.spec.startswith(DEBIAN) else self.kernel.image
        return [f"--kernel={spec}", f"--arch={self.kernel.arch.name}", "--expect=auto"]

    def suite(self, *more: str) -> float:
        """Seconds of a run of all checks."""
        report = self.scratch / "run.json"
        seconds = timed(suite([*self.words, "--json", report, *more]))
        self.document = json.loads(report.read_text())
        return seconds

    def cold_suite(self) -> float:
        """The same when there are no snapshots."""
        shutil.rmtree(cache.root() / "snapshots", ignore_errors=True)
        return self.suite()

    def pytest(self, *more: str | Path) -> float:
        """Seconds of a run of pytest."""
        return timed([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *self.words, *more], self.scratch)

    def trivial(self, number: int) -> float:
        """Seconds of a run of that many checks that do next to nothing."""
        path = self.scratch / f"test_{number}.py"
        head = "from harness.checks import check\nfrom harness.guest import Guest\n"
        path.write_text(head + "".join(_CHECK.format(n=n) for n in range(number)))
        return self.pytest(path)

    @cached_property
    def accel(self) -> str:
        """What guests of this kernel run under: the harness has to find that out first."""
        self.suite("--check=boot")
        return str(self.document["kernels"][0]["accel"])

    @cached_property
    def setup(self) -> qemu.Setup:
        """The machine of a bare boot. Raises HostError, FailedError."""
        return qemu.Setup(self.kernel.arch, self.kernel.boot, bare.image(self.kernel, self.scratch), self.accel)

    def bare(self) -> float:
        """Seconds of one bare boot."""
        return bare.boot(self.setup).seconds

    def bare_cpu(self) -> float:
        """CPU seconds of one bare boot."""
        return bare.boot(self.setup).cpu

    def costliest(self) -> float:
        """CPU seconds of the guest of the check that takes most, of a run of all."""
        self.suite()
        return max(costs(self.document).values())


def costs(document: dict[str, Any]) -> dict[str, float]:
    """CPU seconds of each check's guest in a run of one kernel, the highest first; without those that had none."""
    known = {result["check"]: result["cpu"] for result in document["results"] if result["cpu"] is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def targets(specs: Sequence[str], only: str | None, scratch: Path, repeats: int) -> list[Target]:
    """The kernels that are to be measured, fetched where they have to be. Raises RequestError, HostError."""
    wanted = [arch.by_name(only)] if only else []
    found: list[Target] = []
    for spec in specs:
        for each in kernel.resolve(spec, wanted, Deadline.after(FETCH)):
            place = scratch / str(len(found))
            place.mkdir()
            found.append(Target(each, place, repeats))
    return found

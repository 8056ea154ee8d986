# SPDX-License-Identifier: GPL-2.0-only
"""What is measured: each benchmark is one small function, and README.md says what its numbers mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from . import memory
from .figures import CannotError, Figure, Measured, Way, compared, interleaved, medians, ratios, slopes
from .others import Tuxrun, Virtme
from .subject import Target, costs, suite, timed

#: Checks in the smaller run of `per-check`, and how many more the other one has.
FEW, MORE = 10, 20
#: Checks and kernels in the runs of which the growth is seen.
CHECKS = (10, 40, 160)
KERNELS = (1, 2, 4)
#: Guests at once whose memory is compared.
GUESTS = (1, 4)


def suite_warm(target: Target) -> Measured:
    """All checks by one bare boot, and where their time went. Raises FailedError, HostError."""
    measured = compared(Way("suite", target.suite), Way("bare boot", target.bare), target.repeats)
    stages = target.document.get("stages", {})
    if stages:
        measured.notes.append("stages: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages.items()))
    return measured


def suite_cold(target: Target) -> Measured:
    """The same without snapshots. Raises FailedError, HostError."""
    cold = Way("suite, no snapshots", target.cold_suite, warmed=False)
    return compared(cold, Way("bare boot", target.bare), target.repeats)


def no_fork(target: Target) -> Measured:
    """All checks, each in a guest that boots, by all checks. Raises FailedError, HostError."""
    cold = Way("suite --no-fork", partial(target.suite, "--no-fork"), warmed=False)
    return compared(cold, Way("suite", target.suite), target.repeats)


def per_check(target: Target) -> Measured:
    """Seconds of one more trivial check. Raises FailedError, HostError."""
    many, few = (Way(f"{n} checks", partial(target.trivial, n)) for n in (FEW + MORE, FEW))
    samples = interleaved((many, few), target.repeats)
    cost = slopes(samples[many.name], samples[few.name], MORE)
    return Measured(samples, [Figure.of("one more trivial check", "s", cost)], [medians(samples, "s")])


def growth_checks(target: Target) -> Measured:
    """Whether many checks cost as much a check as few. Raises FailedError, HostError."""
    samples = interleaved([Way(f"{n} checks", partial(target.trivial, n)) for n in CHECKS], target.repeats)
    times = dict(zip(CHECKS, samples.values(), strict=True))
    each = {n: [seconds / n for seconds in times[n]] for n in CHECKS}
    first = CHECKS[0]
    figures = [Figure.of(f"a check among {n} ÷ among {first}", "x", ratios(each[n], each[first])) for n in CHECKS[1:]]
    # Free of what a run costs whatever its length, so this is 1 where growth is linear.
    steps = [slopes(times[more], times[less], more - less) for less, more in pairwise(CHECKS)]
    figures.append(Figure.of("one more check at the end ÷ one more in the middle", "x", ratios(steps[1], steps[0])))
    return Measured(samples, figures, [medians(samples, "s")])


def growth_kernels(targets: Sequence[Target]) -> Measured:
    """Whether many kernels cost as much a kernel as one. Raises CannotError, FailedError, HostError."""
    numbers = [n for n in KERNELS if n <= len(targets)]
    if len(numbers) < 2:
        raise CannotError("it takes two kernels or more: give --kernel again")
    # By their files, for one --arch would not fit all.
    files = [f"--kernel={target.kernel.image}" for target in targets[: numbers[-1]]]
    groups = {f"kernel {n} alone": [file] for n, file in enumerate(files, start=1)}
    groups |= {f"{n} kernels": files[:n] for n in numbers[1:]}
    ways = [Way(name, partial(timed, suite([*group, "--expect=auto"]))) for name, group in groups.items()]
    samples = interleaved(ways, targets[0].repeats)
    alone = [samples[f"kernel {n} alone"] for n in range(1, len(files) + 1)]
    figures = []
    for n in numbers[1:]:
        together = samples[f"{n} kernels"]
        each = ratios([seconds / n for seconds in together], alone[0])
        figures.append(Figure.of(f"a kernel among {n} ÷ the first alone", "x", each))
        sums = [sum(times) for times in zip(*alone[:n], strict=True)]
        figures.append(Figure.of(f"{n} kernels in one run ÷ the sum of {n} runs", "x", ratios(together, sums)))
    return Measured(samples, figures, [medians(samples, "s")])


def slowest_check(target: Target) -> Measured:
    """CPU seconds of the check that takes most by those of one bare boot. Raises FailedError, HostError."""
    ways = Way("slowest check", target.costliest), Way("bare boot", target.bare_cpu)
    samples = interleaved(ways, target.repeats)
    taken = samples["slowest check"]
    figures = [Figure.of("CPU of the slowest check ÷ of one bare boot", "x", ratios(taken, samples["bare boot"]))]
    figures.append(Figure.of("CPU of the slowest check's guest", "s", taken))
    most = [f"{check} {seconds:.2f} s" for check, seconds in costs(target.document).items()]
    return Measured(samples, figures, [medians(samples, "s"), "CPU of guests: " + ", ".join(most)])


def memory_peak(target: Target) -> Measured:
    """MiB with many guests at once by MiB with one. Raises FailedError, HostError."""
    ways = [Way(f"{n} at once", partial(memory.peak, suite([*target.words, f"--guests={n}"]))) for n in GUESTS]
    samples = interleaved(ways, target.repeats)
    one, four = samples.values()
    what = f"{GUESTS[1]} guests at once ÷ {GUESTS[0]}"
    return Measured(samples, [Figure.of(what, "x", ratios(four, one))], [medians(samples, "MiB")])


def one_check(target: Target, tool: type[Virtme | Tuxrun], name: str) -> Measured:
    """One check by the same with another tool. Raises CannotError, FailedError, HostError."""
    other = tool(target)
    ours = Way("pytest, one check", partial(target.pytest, "--check=root"))
    return compared(ours, Way(name, other.sample, warmed=False), target.repeats)


#: Those that are done for each kernel by itself.
EACH: dict[str, Callable[[Target], Measured]] = {
    "suite-warm": suite_warm,
    "suite-cold": suite_cold,
    "no-fork": no_fork,
    "per-check": per_check,
    "growth-checks": growth_checks,
    "slowest-check": slowest_check,
    "memory": memory_peak,
    "virtme-ng": partial(one_check, tool=Virtme, name="virtme-ng"),
    "tuxrun": partial(one_check, tool=Tuxrun, name="tuxrun"),
}
#: Those that are done once, for all kernels together.
ALL: dict[str, Callable[[Sequence[Target]], Measured]] = {"growth-kernels": growth_kernels}

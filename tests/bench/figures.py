# SPDX-License-Identifier: GPL-2.0-only
"""Samples taken in turn, and the numbers made of them. Nothing here starts anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


class CannotError(Exception):
    """This host cannot measure that; the message is one line that says why."""


class FailedError(Exception):
    """The harness did not do what was to be measured; the message is one line."""


@dataclass(frozen=True)
class Way:
    """One thing to measure: ``sample`` does it once and returns what it cost, in seconds or MiB."""

    name: str
    sample: Callable[[], float]
    #: Done once before, unmeasured, so that what is paid only once is in no number.
    warmed: bool = True


def interleaved(ways: Sequence[Way], repeats: int) -> dict[str, list[float]]:
    """``repeats`` samples of each way by its name, taken in turn (A B A B …): a slow minute slows all of them."""
    for way in ways:
        if way.warmed:
            way.sample()
    samples: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            samples[way.name].append(way.sample())
    return samples


def ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Each sample of ``one`` by the sample of ``other`` that was taken right after it."""
    return [a / b for a, b in zip(one, other, strict=True)]


def slopes(more: Sequence[float], less: Sequence[float], steps: int) -> list[float]:
    """What each of ``steps`` more things cost, in the samples' unit."""
    return [(a - b) / steps for a, b in zip(more, less, strict=True)]


@dataclass(frozen=True)
class Figure:
    """One number: the median of its repeats, and how far apart they were. ``unit`` is "x", "s" or "MiB"."""

    what: str
    unit: str
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, what: str, unit: str, values: Sequence[float]) -> Figure:
        """The figure that repeated ``values`` make."""
        return cls(what, unit, median(values), min(values), max(values))

    def __str__(self) -> str:
        digits = {"x": 2, "s": 3, "MiB": 0}[self.unit]
        spread = f" ({self.low:.{digits}f} to {self.high:.{digits}f})" if self.low < self.high else ""
        return f"{self.value:.{digits}f} {self.unit}{spread}  {self.what}"


@dataclass
class Measured:
    """What a benchmark has found out: all its samples, by what was measured, and the figures that count."""

    samples: Mapping[str, Sequence[float]]
    figures: list[Figure]
    notes: list[str] = field(default_factory=list)


def compared(one: Way, other: Way, repeats: int) -> Measured:
    """How many times the cost of ``other`` is that of ``one``, two times in seconds."""
    samples = interleaved((one, other), repeats)
    figure = Figure.of(f"{one.name} ÷ {other.name}", "x", ratios(samples[one.name], samples[other.name]))
    return Measured(samples, [figure], [medians(samples, "s")])


def medians(samples: Mapping[str, Sequence[float]], unit: str) -> str:
    """One line with the median of every way, which no figure says."""
    return ", ".join(f"{name} {median(values):.2f} {unit}" for name, values in samples.items())

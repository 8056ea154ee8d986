# SPDX-License-Identifier: GPL-2.0-only
"""The bench's own arithmetic and words. What it measures takes an hour, and is no test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.arch import ARM64
from harness.kernel import Kernel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is a program, not one of pytest's modules

from bench import memory
from bench.__main__ import measured, parser
from bench.benchmarks import growth_checks, growth_kernels, per_check, slowest_check, suite_warm
from bench.figures import CannotError, FailedError, Figure, Measured, Way, compared, interleaved
from bench.others import ANSWER, TROUBLE
from bench.subject import Target, telling


def test_samples_are_taken_in_turn_after_one_round_that_does_not_count() -> None:
    done: list[str] = []

    def way(name: str, *, warmed: bool = True) -> Way:
        def sample() -> float:
            done.append(name)
            return float(len(done))

        return Way(name, sample, warmed=warmed)

    samples = interleaved((way("a"), way("cold", warmed=False), way("b")), 2)
    assert "".join(name[0] for name in done) == "ab" + "acb" * 2
    assert samples == {"a": [3, 6], "cold": [4, 7], "b": [5, 8]}


def test_figure_is_the_median_of_the_ratios_of_pairs() -> None:
    costs = iter([1.0, 1.0, 2.0, 1.0, 30.0, 10.0, 10.0, 1.0])  # the first two only warm up
    both = [Way(name, lambda: next(costs)) for name in ("suite", "boot")]
    [figure] = compared(both[0], both[1], 3).figures
    assert figure == Figure("suite ÷ boot", "x", 3.0, 2.0, 10.0)
    assert str(figure) == "3.00 x (2.00 to 10.00)  suite ÷ boot"
    assert str(Figure.of("one", "s", [0.1])) == "0.100 s  one"


class Linear(Target):
    """A target that costs one second, and a tenth for each check."""

    def trivial(self, number: int) -> float:
        return 1 + number / 10

    def suite(self, *_: str) -> float:
        checks = {"root": 0.25, "systemd": 12.5, "sev": None}
        results = [{"check": name, "cpu": seconds} for name, seconds in checks.items()]
        self.document = {"stages": {"boot": 0.5, "checks": 3.25}, "results": results}
        return 4.3

    def bare(self) -> float:
        return 1.0

    def bare_cpu(self) -> float:
        return 0.5


@pytest.fixture
def target(tmp_path: Path) -> Linear:
    image = tmp_path / "Image"
    return Linear(Kernel("Image", image, image, ARM64, "7.3.0", None, None), tmp_path, 1)


def test_linear_growth_is_seen_as_such(target: Linear) -> None:
    [cost] = per_check(target).figures
    assert cost.value == pytest.approx(0.1)
    longer, longest, steps = (figure.value for figure in growth_checks(target).figures)
    assert longer == pytest.approx(5 / 40 / 0.2)
    assert longest == pytest.approx(17 / 160 / 0.2)
    assert steps == pytest.approx(1)


def test_stages_are_said_where_the_document_has_them(target: Linear) -> None:
    result = suite_warm(target)
    assert result.figures[0].value == pytest.approx(4.3)
    assert result.notes[-1] == "stages: boot 0.50 s, checks 3.25 s"


def test_the_check_that_takes_most_is_found(target: Target) -> None:
    result = slowest_check(target)
    assert [figure.value for figure in result.figures] == [25, 12.5]
    assert result.notes[-1] == "CPU of guests: systemd 12.50 s, root 0.25 s"


def test_one_kernel_shows_no_growth(target: Linear) -> None:
    with pytest.raises(CannotError, match="two kernels"):
        growth_kernels([target])


@pytest.mark.parametrize("error", [CannotError("no podman"), FailedError("status 2: error: no")])
def test_what_cannot_be_measured_is_a_reason_and_no_number(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> Measured:
        raise error

    row = measured("tuxrun", "7.3-arm64", job)
    assert row["failed"] is isinstance(error, FailedError)
    assert "figures" not in row
    assert capsys.readouterr().out.split() == ["tuxrun", "7.3-arm64", "not", "measured:", *str(error).split()]


def test_line_that_tells_most() -> None:
    assert telling("getting kernels\nerror: no QEMU\n  next: install it\n") == "error: no QEMU"
    assert telling("one\n\ntwo \n") == "two"
    assert telling("") == "it printed nothing"
    panic = "Kernel panic - not syncing: VFS: Unable to mount root fs"
    assert (found := TROUBLE.search(f"[    1.2] {panic}\n"))
    assert found[0] == panic
    assert ANSWER.search("[ 1.0] starting script\r\nef53\r\n4e554c4c\r\n")
    assert not ANSWER.search("[ 1.0] Power down\r\n")


def test_memory_is_that_of_the_whole_family() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            while len(found := set(memory.family(os.getpid()))) < 3:
                assert child.poll() is None
            assert {os.getpid(), child.pid} < found
            assert memory.share(os.getpid()) > 1000
            assert memory.share(-1) == 0
        finally:
            os.killpg(child.pid, 9)


def test_words_of_the_command_line() -> None:
    args = parser().parse_args(["--kernel", "Image", "--only", "memory", "--repeats", "1"])
    assert (args.kernel, args.only, args.repeats, args.json) == (["Image"], ["memory"], 1, None)
    with pytest.raises(SystemExit):
        parser().parse_args(["--repeats", "0"])

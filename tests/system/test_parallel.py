# SPDX-License-Identifier: GPL-2.0-only
"""Many guests at once: the same results in the same order, and nothing made twice."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from program import Program, SpiedQemu

pytestmark = pytest.mark.boots

CHECKS = ("mountinfo", "boot", "kcmp", "root", "mount-ids")


def order(path: Path) -> list[tuple[str, str, str]]:
    """The results of a --json file, as they stand there."""
    return [(one["kernel"], one["check"], one["verdict"]) for one in json.loads(path.read_text())["results"]]


def test_the_order_does_not_depend_on_how_many(program: Program, image: Path, x86_image: Path) -> None:
    found, lines = [], []
    only = [word for name in CHECKS for word in ("--check", name)]
    for guests in ("1", "4"):
        report = program.directory / f"{guests}.json"
        done = program.run("--kernel", image, "--kernel", x86_image, *only, "--guests", guests, "--json", report)
        assert done.status == 0, done
        found.append(order(report))
        lines.append([line for line in done.out.splitlines() if line.startswith("[")])
    assert len(found[0]) == 2 * len(CHECKS)
    assert found[0] == found[1]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("guests", "words"), [("0", "0 is no number"), ("-1", "-1 is no number"), ("many", "invalid int value: 'many'")]
)
def test_no_number_of_guests(program: Program, image: Path, guests: str, words: str) -> None:
    done = program.run("--kernel", image, "--guests", guests)
    assert done.status == 2
    assert words in done.text


def test_xdist(cold: Program, image: Path) -> None:
    """Its workers are processes: they share one snapshot, and one place for the evidence."""
    qemu = SpiedQemu(cold.directory / "bin", "qemu-system-aarch64")
    report, evidence = cold.directory / "junit.xml", cold.directory / "evidence"
    only = [f"--check={name}" for name in CHECKS]
    done = cold.pytest(
        "-n", "2", "--kernel", image, *only, f"--junitxml={report}", f"--evidence={evidence}", PATH=qemu.path
    )
    assert done.status == 0, done
    names = {case.get("name", "").partition("[")[0] for case in ET.parse(report).iter("testcase")}  # noqa: S314
    assert len(names) == len(CHECKS)
    assert sorted(qemu.starts()) == ["boot"] + ["fork"] * len(CHECKS)
    consoles = {path.stem for path in evidence.rglob("*.console")}
    assert consoles == {"0-boot", *CHECKS}
    assert cold.left() == []


def test_a_fixture_of_ones_own(program: Program, image: Path) -> None:
    """A check that wants more of pytest than a guest runs in its turn, with its guest; the others do not mind."""
    directory = program.directory / "checks"
    directory.mkdir()
    (directory / "test_own.py").write_text("""
import pytest
from harness.checks import check
from harness.guest import Guest

@pytest.fixture
def prepared(guest: Guest, tmp_path):
    guest.mkdir("/prepared")
    yield guest
    assert guest.exists("/prepared")

@check("own", "a promise", patch="kthread-nullfs-v2/1")
def test_own(prepared: Guest, guest: Guest) -> None:
    assert prepared is guest
    assert guest.exists("/prepared")

@check("plain", "a promise", patch="kthread-nullfs-v2/1")
def test_plain(guest: Guest) -> None:
    assert not guest.exists("/prepared")

@check("no-guest", "a promise", patch="kthread-nullfs-v2/1")
def test_no_guest(column) -> None:
    assert column.kernel.arch.name == "arm64"
""")
    done = program.pytest("--kernel", image, "-v", directory)
    assert done.status == 0, done
    assert "3 passed" in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""A /dev/kvm that opens and yet boots nothing costs one probe for each boot of the host, and never a verdict."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from program import Done, Program

from harness.arch import X86_64

pytestmark = pytest.mark.boots

DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def facts(program: Program, image: Path, *words: str) -> tuple[Done, dict[str, Any]]:
    """Run one check and return what is known of its kernel, and how often QEMU was started under KVM."""
    report = program.directory / "results.json"
    done = program.run("--kernel", image, "--check", "kcmp", "--json", report, "--debug", *words)
    assert done.status == 0, done
    return done, json.loads(report.read_text())["kernels"][0]


def probes(done: Done) -> int:
    return sum("run: " in line and "-accel kvm" in line for line in done.err.splitlines())


def test_probe(program: Program, warm: Path, x86_image: Path) -> None:
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        pytest.skip(f"there is no {DEVICE} here that could be a trap")
    if platform.machine() != X86_64.qemu:
        pytest.skip(f"a {platform.machine()} never tries KVM for an x86_64 guest")
    (warm / "accel.json").unlink(missing_ok=True)
    done, kernel = facts(program, x86_image)
    assert probes(done) >= 1, done
    kept = json.loads((warm / "accel.json").read_text())
    assert kept["boot_id"] == BOOT_ID.read_text().strip()
    assert kept["x86_64"] == {"name": kernel["accel"], "why": kernel["accel_why"]}
    if kernel["accel"] == "kvm":
        pytest.skip("KVM works here: no trap to fall into")
    assert probes(done) == 1, done
    assert kernel["accel"] == "tcg"
    assert "KVM" in kernel["accel_why"]
    done, again = facts(program, x86_image)
    assert probes(done) == 0, done
    assert again == kernel


def test_not_even_tried(program: Program, warm: Path, x86_image: Path) -> None:
    (warm / "accel.json").unlink(missing_ok=True)
    done, kernel = facts(program, x86_image, "--accel", "tcg")
    assert (kernel["accel"], kernel["accel_why"]) == ("tcg", "asked for")
    assert probes(done) == 0, done
    assert not (warm / "accel.json").exists()

# SPDX-License-Identifier: GPL-2.0-only
"""Guests that boot from a disk: there is no snapshot of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import Program, SpiedQemu, results

pytestmark = pytest.mark.boots

#: The kernel gets another word.
OTHERWISE = """
for word; do [ "$last" = -append ] && line=$word; last=$word; done
set -- "$@" -append "$line rootfstype=nothing"
"""


@pytest.fixture
def qemu(cold: Program) -> SpiedQemu:
    return SpiedQemu(cold.directory / "bin", "qemu-system-aarch64")


def test_each_check_boots_once_and_nothing_is_saved(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    report = cold.directory / "results.json"
    only = ("--check", "init-ext4", "--check", "root-ext4")
    done = cold.run("--kernel", image, *only, "--json", report, PATH=qemu.path)
    assert done.status == 0, done
    assert {result["verdict"] for result in results(report).values()} == {"pass"}
    assert qemu.starts() == ["boot", "boot"]
    assert not (cold.cache / "snapshots").exists()
    [kernel] = json.loads(report.read_text())["kernels"]
    assert (kernel["no_snapshot"], kernel["boot_troubles"], kernel["no_boot"]) == ("", [], "")
    assert cold.left() == []


def test_a_disk_that_cannot_be_mounted_is_a_crash(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    qemu.always("", before=OTHERWISE)
    report = cold.directory / "results.json"
    done = cold.run("--kernel", image, "--check", "init-ext4", "--check", "boot", "--json", report, PATH=qemu.path)
    assert done.status == 1, done
    found = results(report)
    assert found["boot"]["verdict"] == "pass"
    assert found["init-ext4"]["verdict"] == "crash"
    assert "Unable to mount root fs" in found["init-ext4"]["reason"]
    assert "its root file system (root=/dev/nvme0n1) cannot be mounted" in found["init-ext4"]["reason"]

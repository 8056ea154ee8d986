# SPDX-License-Identifier: GPL-2.0-only
"""What is known of KVM without a guest, and for how long."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from harness import accel
from harness.accel import Accel
from harness.arch import ARCHES

NATIVE = next((arch for arch in ARCHES if arch.qemu == platform.machine()), None)
FOREIGN = next(arch for arch in ARCHES if arch is not NATIVE)
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NULLFS_HARNESS_CACHE", str(tmp_path))


def test_another_architecture_is_emulated() -> None:
    found = accel.known(FOREIGN)
    assert found is not None
    assert found.name == "tcg"
    assert platform.machine() in found.why


@pytest.mark.parametrize("name", ["kvm", "tcg"])
def test_a_wish_is_granted_unseen(name: str) -> None:
    assert accel.known(FOREIGN, name) == Accel(name, "asked for")


@pytest.mark.skipif(NATIVE is None or not KVM, reason="this host has no /dev/kvm that could be tried")
def test_an_answer_holds_until_the_host_boots_again(tmp_path: Path) -> None:
    assert NATIVE is not None
    assert accel.known(NATIVE) is None, "a device that opens tells nothing"
    accel.remember(NATIVE, Accel("tcg", "it hung"))
    assert accel.known(NATIVE) == Accel("tcg", "it hung")
    file = tmp_path / "accel.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot_id": "another"}))
    assert accel.known(NATIVE) is None
    file.write_text("{")
    assert accel.known(NATIVE) is None

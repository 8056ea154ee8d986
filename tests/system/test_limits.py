# SPDX-License-Identifier: GPL-2.0-only
"""What a profile may cost: its guests' memory, and what its programs and modules add to an image."""

from __future__ import annotations

import pytest

from harness import agent, declared, kernel, profiles, resources
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline
from harness.profiles import Profile

#: MiB of a guest, and of one with a real userspace.
MEMORY, USERSPACE = 512, 1024
#: Bytes that a profile may add to an image.
ADDED = 40_000_000


@pytest.mark.parametrize("profile", profiles.every().values(), ids=lambda profile: profile.name)
def test_memory(profile: Profile) -> None:
    assert profile.memory <= (USERSPACE if profile.name == "systemd" else MEMORY)


@pytest.mark.boots
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
@pytest.mark.parametrize("flavour", ["cloud", "full"])
def test_what_a_profile_adds_to_an_image(arch: Arch, flavour: str) -> None:
    deadline = Deadline.after(1800)
    spec = "debian:isolated" if flavour == "cloud" else "debian:isolated:full"
    [subject] = kernel.resolve(spec, [arch], deadline)
    asking = declared.declared([resources.directory("tests/kernel")])
    plain = agent.image(arch, deadline).stat().st_size
    added = {}
    for name, profile in profiles.every().items():
        image = agent.image_with(subject, declared.loadable(asking, name), profile, deadline)
        added[name] = image.stat().st_size - plain
    assert added["storage"] > 1_000_000  # it has programs
    assert {name: size for name, size in added.items() if size >= ADDED} == {}, added

# SPDX-License-Identifier: GPL-2.0-only
"""Debian's real programs in real guests: they find their loader and libraries, and do what they are for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import agent, kernel, machine, qemu
from harness.arch import ARM64, X86_64, Arch
from harness.deadline import Deadline
from harness.guest import Guest
from harness.modules import GUEST
from harness.profiles import Profile

pytestmark = pytest.mark.boots

PACKAGES = ("btrfs-progs", "mount", "dash")
FILES = ("bin/btrfs", "sbin/mkfs.btrfs", "usr/bin/mount", "usr/bin/sh")


@pytest.fixture(scope="module", params=[ARM64, X86_64], ids=lambda arch: arch.name)
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """One guest for all tests here, which can load modules and start programs."""
    arch: Arch = request.param
    deadline = Deadline.after(600)
    where = tmp_path_factory.mktemp(arch.name)
    subject = kernel.resolve("debian:isolated", [arch], deadline)[0]
    profile = Profile("of-our-own", packages=PACKAGES, files=FILES)
    image = agent.image_with(subject, ["btrfs"], profile, deadline)
    with machine.running(qemu.Setup(arch, subject.boot, image), where / "console") as running:
        made = Guest(running, subject, Deadline.after(120))
        made.channel.wait_ready()
        made.prepare()
        made.loadable = ["btrfs"]
        yield made


def test_a_dynamic_program_runs(guest: Guest) -> None:
    status, output = guest.run("/usr/bin/btrfs", "--version")
    assert (status, output.split()[0]) == (0, "btrfs-progs")
    assert guest.run("/bin/btrfs", "--version").output == output  # by way of the link
    assert guest.run("/sbin/mkfs.btrfs", "--version").status == 0


def test_it_does_what_it_is_for(guest: Guest) -> None:
    guest.write_file("/disk", b"")
    guest.call("truncate", "/disk", 128 << 20)
    made = guest.run("/usr/sbin/mkfs.btrfs", "--label", "of-our-own", "/disk")
    assert made.status == 0, made.output
    assert guest.run("/usr/bin/btrfs", "filesystem", "label", "/disk").output == "of-our-own\n"


def test_modes_are_kept(guest: Guest) -> None:
    assert guest.statx("/usr/bin/mount").mode & 0o7777 == 0o4755
    assert guest.statx("/usr/bin/mount").uid == 0
    assert guest.readlink("/usr/bin/sh") == "dash"
    assert guest.run("/bin/sh", "-c", "echo $HOME").output == "/\n"


def test_modules_are_found_beside_programs(guest: Guest) -> None:
    guest.load_module("btrfs")
    assert guest.exists("/sys/module/btrfs")
    assert guest.exists(f"/{GUEST}/{guest.kernel.release}")
    assert guest.exists(f"/lib/modules/{guest.kernel.release}")  # where modprobe looks

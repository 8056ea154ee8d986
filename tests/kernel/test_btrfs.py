# SPDX-License-Identifier: GPL-2.0-only
"""D. The door of btrfs: the times of a device's node are those of PID 1's, unless a user asked for the change."""

from __future__ import annotations

import struct

from btrfs import MORE, NEW, OLD, TOP, add, said, start_replacing, throttle, volume

from harness import abi
from harness.checks import check
from harness.guest import Guest
from harness.task import Task


def touched(guest: Guest, inmate: Task, device: str) -> tuple[bool, bool]:
    """Whether the time of a device's node was changed from what ``age`` set: as PID 1 has it, as the jail has it."""
    return guest.statx(device).mtime > 1, inmate.statx(device).mtime > 1


def age(guest: Guest, inmate: Task, device: str) -> None:
    """Give a device's node an old time, as PID 1 and as the jail has it."""
    for task in (guest, inmate):
        task.call("utimensat", abi.AT_FDCWD, device, struct.pack("<qqqq", 1, 0, 1, 0), 0)


@check(
    "btrfs-devtime",
    "when btrfs drops a device, it is PID 1's node for it whose time changes",
    patch="kthread-nullfs-v2/7",
    needs="BLOCK BLK_DEV BLK_DEV_LOOP BTRFS_FS",
    modules="btrfs loop",
    profile="storage",
)
def test_btrfs_devtime(guest: Guest) -> None:
    """A jailed process adds a device, which changes the time of its own node for it. Then it replaces another, which is
    suspended by a read-only remount, and finished by a kernel thread after the next."""
    inmate = volume(guest)
    age(guest, inmate, MORE)
    add(inmate, MORE)
    assert touched(guest, inmate, MORE) == (False, True)
    throttle(guest)
    replacing = start_replacing(inmate.spawn(), OLD, NEW)
    said(guest, "started")
    inmate.mount("", TOP, "", abi.MS_REMOUNT | abi.MS_RDONLY)
    replacing.result()
    throttle(guest, 0)
    age(guest, inmate, OLD)
    inmate.mount("", TOP, "", abi.MS_REMOUNT)
    said(guest, "finished")
    inmate.mount("", TOP, "", abi.MS_REMOUNT | abi.MS_RDONLY)  # waits until it has finished indeed
    assert touched(guest, inmate, OLD) == (True, False)

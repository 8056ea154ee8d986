# SPDX-License-Identifier: GPL-2.0-only
"""btrfs on loop devices, in a jail that has nodes of its own for them. No checks here."""

from __future__ import annotations

import struct

from doors import give_node

from harness import abi
from harness.calls import Pending
from harness.guest import Guest
from harness.protocol import Ref
from harness.task import Task

#: The devices: one to make the file system on, one to replace it by, one to add.
OLD, NEW, MORE = "/dev/loop0", "/dev/loop1", "/dev/loop2"
#: Where the file system is mounted.
TOP = "/mounts"
#: Bytes of a device, few of which are ever written: more than 109 MiB, the least that mkfs.btrfs takes.
_SIZE = 128 << 20
#: Bytes of data to copy, and how many of them a second: it takes long enough to be suspended.
_DATA = 2 << 20
_SLOW = 256 << 10


def volume(guest: Guest) -> Task:
    """Make a file system on OLD, with some data; a task in a jail that has mounted it.

    Raises GuestError, HostError, SyscallError.
    """
    for name in ("btrfs", "loop"):
        guest.load_module(name)
    guest.makedirs("/jail", TOP)
    guest.mount("/", "/jail", "", abi.MS_BIND)  # for the programs
    inmate = guest.spawn()
    inmate.chroot("/jail")
    inmate.mount("proc", "/proc", "proc")  # where mkfs.btrfs looks whether a device is mounted
    for device in (OLD, NEW, MORE):
        _attach(guest, device)
        give_node(guest, inmate, device)
    made = inmate.run("/usr/sbin/mkfs.btrfs", "--quiet", OLD)
    assert made.status == 0, made.output
    inmate.mount(OLD, TOP, "btrfs")
    inmate.all(
        ("memfd_create", "data", 0),
        ("ftruncate", Ref(0), _DATA),
        ("openat", abi.AT_FDCWD, f"{TOP}/data", abi.O_WRONLY | abi.O_CREAT, 0o600),
        ("sendfile", Ref(2), Ref(0), 0, _DATA),
        ("close", Ref(2)),  # or it could not become read-only
        ("sync",),
    )
    return inmate


def _attach(guest: Guest, device: str) -> None:
    guest.all(
        ("memfd_create", "device", 0),
        ("ftruncate", Ref(0), _SIZE),
        ("openat", abi.AT_FDCWD, device, abi.O_RDWR, 0),
        ("ioctl", Ref(2), abi.LOOP_SET_FD, Ref(0)),
    )


def add(task: Task, device: str) -> None:
    """ioctl(BTRFS_IOC_ADD_DEV) of that task."""
    wanted = struct.pack("<q4088s", 0, device.encode())
    task.call("ioctl", task.open(TOP), abi.BTRFS_IOC_ADD_DEV, wanted)


def start_replacing(task: Task, old: str, new: str) -> Pending:
    """ioctl(BTRFS_IOC_DEV_REPLACE) of that task, without waiting."""
    wanted = struct.pack("<16xqq1025s1025s6x512x", 0, 0, old.encode(), new.encode())
    return task.start("ioctl", task.open(TOP), abi.BTRFS_IOC_DEV_REPLACE, wanted)


def throttle(guest: Guest, limit: int = _SLOW) -> None:
    """Let the device that is replaced be read at so many bytes a second, or without a limit (0)."""
    systems = "/sys/fs/btrfs"
    uuid = next(name for name in guest.listdir(systems) if name.count("-") == 4)
    guest.write_file(f"{systems}/{uuid}/devinfo/1/scrub_speed_max", str(limit), 0)


def said(guest: Guest, word: str) -> None:
    """Wait until the kernel says that of a replacement. Raises AssertionError if it does not."""
    what = f"the kernel does not say that the replacement has {word}"
    guest.until(lambda: any("dev_replace" in line and line.endswith(word) for line in guest.log()), what)

# SPDX-License-Identifier: GPL-2.0-only
"""A. The isolation of a kernel thread that is at work: held while PID 1's state is lent to it, and kdevtmpfs."""

from __future__ import annotations

import posixpath
import stat

from doors import jailed, namespace_bottom, start_suid_dump
from firmware import ASYNC, DRIVER
from fuse import LOOKUP, Holder
from lio import APTPL, disk

from harness import abi
from harness.calls import Pending
from harness.checks import Era, check
from harness.guest import Guest
from harness.task import Task

ISOLATED = Era.ISOLATED
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81


def stays_itself(guest: Guest, holder: Holder, asking: Pending) -> None:
    """Who looks up a file for ``asking`` is a kernel thread, and shows what kthreadd does, but PID 1 does not."""
    guest.umask(0o077)
    guest.chdir("/tmp")
    request = holder.next(unless=asking)
    assert request is not None, "nobody looked it up"
    assert (request.opcode, request.pid) in {(LOOKUP, kthread.pid) for kthread in guest.kthreads()}
    assert guest.statfs(f"/proc/{request.pid}/root").fstype == "nullfs"
    assert [guest.read_text(f"/proc/{request.pid}/{name}") for name in ("mounts", "mountinfo")] == ["", ""]
    assert guest.file_system_state(request.pid) == guest.file_system_state(2)
    assert guest.call("kcmp", 2, request.pid, abi.KCMP_FS, 0, 0) == 0
    holder.refuse(request, until=asking)


@check(
    "real-fs",
    "a kernel thread to which PID 1's state is lent still shows its own",
    patch="kthread-nullfs-v2/15",
    needs="BLOCK SCSI BLK_DEV_SD TARGET_CORE TCM_FILEIO LOOPBACK_TARGET FUSE_FS KCMP",
    since=ISOLATED,
    modules="fuse target_core_file tcm_loop sd_mod",
    profile="storage",
)
def test_real_fs(guest: Guest) -> None:
    """A worker of the SCSI target keeps a registration in a FUSE file system that does not answer, and is held there;
    it must show the root, the mounts, the directory, the umask and the fs_struct that kthreadd has."""
    lun = disk(guest)
    assert lun.register(1) == "good"
    holder = Holder(guest, posixpath.dirname(APTPL))
    stays_itself(guest, holder, lun.start_registering(2, old=1))


@check(
    "real-fs-firmware",
    "a kernel thread that reads firmware still shows its own state, not PID 1's",
    patch="kthread-nullfs-v2/15",
    needs="FUSE_FS FW_LOADER KCMP RUNTIME_TESTING_MENU TEST_FIRMWARE",
    since=ISOLATED,
    modules="fuse test_firmware",
    profile="storage",
)
def test_real_fs_firmware(guest: Guest) -> None:
    """As for real-fs, with a worker that the driver test_firmware lets look for a file."""
    guest.load_module("test_firmware")
    guest.makedirs("/lib", "/lib/firmware", "/lib/firmware/held")
    holder = Holder(guest, "/lib/firmware/held")
    child, name = guest.spawn(), "held/one.bin"
    trigger = child.open(f"{DRIVER}/{ASYNC}", abi.O_WRONLY)
    stays_itself(guest, holder, child.start("write", trigger, name, len(name)))


def seen(guest: Guest, task: Task) -> tuple[object, ...]:
    """What /proc shows of the file system state of a task."""
    return *guest.file_system_state(task.pid), guest.read_text(f"/proc/{task.pid}/mountinfo")


@check(
    "real-fs-core",
    "a process to which PID 1's state is lent while its core is written still shows its own",
    patch="kthread-nullfs-v2/15",
    needs="COREDUMP ELF_CORE FUSE_FS SYSCTL",
    modules="fuse",
    profile="storage",
)
def test_real_fs_core(guest: Guest) -> None:
    """A jailed process that changed its user dies with an absolute core_pattern in a FUSE file system that does not
    answer, and is held there; it must show the root, the mounts, the directory and the umask that it had."""
    child = jailed(guest, "/cores")
    child.umask(0o123)
    child.chdir("/cores")
    holder = Holder(guest, "/cores")
    before = seen(guest, child)
    start_suid_dump(guest, child)
    request = holder.next(unless=child)
    assert request is not None, "nobody looked it up"
    assert (request.opcode, request.pid) == (LOOKUP, child.pid)
    assert seen(guest, child) == before
    holder.refuse(request, until=child)


@check(
    "devtmpfs",
    "the kernel thread that makes the nodes of /dev is in a mount namespace of its own, and they come and go",
    patch="kthread-nullfs-v2/20",
    needs="BLK_DEV BLK_DEV_LOOP BLOCK",
    since=ISOLATED,
    modules="loop",
    profile="storage",
)
def test_devtmpfs(guest: Guest) -> None:
    """A loop device is made and removed. A child enters the mount namespace of kdevtmpfs, copies it and takes away what
    is on top, and looks what is below: it must be an empty file system, not the rootfs."""
    guest.load_module("loop")
    control = guest.open("/dev/loop-control", abi.O_RDWR)
    assert not guest.exists("/dev/loop77")
    guest.call("ioctl", control, LOOP_CTL_ADD, 77)
    assert stat.S_ISBLK(guest.statx("/dev/loop77").mode)
    guest.call("ioctl", control, LOOP_CTL_REMOVE, 77)
    assert not guest.exists("/dev/loop77")

    keeper = next(kthread for kthread in guest.kthreads() if kthread.name == "kdevtmpfs")
    child = guest.spawn()
    proc = child.open("/proc")
    child.call("setns", child.open(f"/proc/{keeper.pid}/ns/mnt"), abi.CLONE_NEWNS)
    assert child.listdir("/") == guest.listdir("/dev")
    assert namespace_bottom(child, proc).fstype == "nullfs"

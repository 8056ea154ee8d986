# SPDX-License-Identifier: GPL-2.0-only
"""B and E. What PID 1's first root may be, and how the kernel comes to it: PID 1 looks all up by itself."""

from __future__ import annotations

from roots import devtmpfs_keeper, leave_root, outside_nullfs

from harness.checks import Era, check
from harness.guest import Guest


def isolated_on(guest: Guest, fstype: str) -> None:
    """PID 1's root is a ``fstype``, and no kernel thread is on it, neither before nor after PID 1 has left it."""
    assert guest.statfs("/").fstype == fstype
    assert [name for name in outside_nullfs(guest) if not devtmpfs_keeper(name)] == []
    before = guest.statx("/proc/2/root", 0)
    leave_root(guest)
    assert guest.statfs("/").fstype == "tmpfs"
    assert [name for name in outside_nullfs(guest) if not devtmpfs_keeper(name)] == []
    assert guest.statx("/proc/2/root", 0).mnt_id == before.mnt_id


@check(
    "root-ramfs",
    "kernel threads stay in the nullfs where the initramfs is in a ramfs, too",
    patch="kthread-nullfs-v2/22",
    since=Era.ISOLATED,
    profile="ramfs",
)
def test_root_ramfs(guest: Guest) -> None:
    """The guest boots with rootfstype=ramfs. Every kernel thread's root is looked at before and after PID 1 pivots."""
    isolated_on(guest, "ramfs")


@check(
    "pivot-ramfs",
    "PID 1 can pivot out of an initramfs in a ramfs and unmount it",
    patch="immutable-rootfs-v2/3",
    since=Era.ROOTFS,
    profile="ramfs",
)
def test_pivot_ramfs(guest: Guest) -> None:
    """The guest boots with rootfstype=ramfs, and PID 1 pivots to a tmpfs, as from an initramfs in a tmpfs."""
    assert guest.statfs("/").fstype == "ramfs"
    leave_root(guest)
    assert "rootfs" not in guest.read_text("/proc/self/mounts")
    assert guest.readlink("/proc/self/exe") == "/init"


@check(
    "init-args",
    "the kernel starts what rdinit= names, with the words and variables of its command line",
    patch="kthread-nullfs-v2/16",
    profile="ramfs",
)
def test_init_args(guest: Guest) -> None:
    """The guest boots with rdinit=/helper, a variable, and words behind "--"; PID 1 reads how it was called."""
    assert guest.read_text("/proc/self/cmdline").split("\0") == ["/helper", "one", "two", ""]
    environment = guest.read_text("/proc/self/environ").split("\0")
    assert {"HOME=/", "TERM=linux", "nullfs=kept"} <= {*environment}
    assert guest.file_system_state(1)[1:] == ("/", "Umask:\t0022")

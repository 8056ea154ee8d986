# SPDX-License-Identifier: GPL-2.0-only
"""B. pivot_root() and the rootfs: the initramfs can be left like any other root."""

from __future__ import annotations

from doors import namespace_bottom
from roots import leave_root, new_root

from harness import abi
from harness.checks import Era, check
from harness.guest import Guest
from harness.task import Task

ROOTFS = Era.ROOTFS
BALLAST = 8 << 20


def cached(task: Task) -> int:
    """Bytes that files in memory take up (Documentation/filesystems/proc.rst, meminfo). MemFree lags behind."""
    line = next(line for line in task.read_text("/proc/meminfo").splitlines() if line.startswith("Cached:"))
    return int(line.split()[1]) << 10


@check(
    "pivot-initramfs",
    "PID 1 can pivot out of the initramfs and unmount it",
    patch="immutable-rootfs-v2/3",
    since=ROOTFS,
)
def test_pivot_initramfs(guest: Guest) -> None:
    """PID 1 pivots to a tmpfs, unmounts the old root and becomes a program of the new one."""
    assert guest.statfs("/").fstype == "tmpfs"
    leave_root(guest)
    assert not guest.exists("/unpack")
    assert "rootfs" not in guest.read_text("/proc/self/mounts")
    assert guest.readlink("/proc/self/exe") == "/init"
    assert set(guest.listdir("/")) == {"dev", "init", "initramfs", "proc", "tmp"}


@check(
    "pivot-memory",
    "once PID 1 has left the initramfs, its memory comes back",
    patch="kthread-nullfs-v2/20",
    since=Era.ISOLATED,
)
def test_pivot_memory(guest: Guest) -> None:
    """The initramfs gets a big file; after PID 1 has left as above, the page cache must have shrunk."""
    # Before, kdevtmpfs had a copy of PID 1's mounts in its namespace, the rootfs among them, and kept it.
    zero, ballast = guest.open("/dev/zero"), guest.open("/ballast", abi.O_WRONLY | abi.O_CREAT, 0o600)
    written = 0
    while written < BALLAST:
        written += guest.call("sendfile", ballast, zero, 0, BALLAST - written)
    guest.close(ballast)
    full = cached(guest)
    assert full >= BALLAST
    leave_root(guest)
    assert full - cached(guest) > BALLAST * 3 // 4


@check(
    "pivot-keep",
    "pivot_root() into a directory keeps the initramfs reachable there",
    patch="immutable-rootfs-v2/3",
    since=ROOTFS,
)
def test_pivot_keep(guest: Guest) -> None:
    """PID 1 pivots with the old root put into a directory, looks for its files there, and unmounts it.

    Then others do so in a namespace of their own, and all but one end: the new root must still be busy.
    """
    new_root(guest)
    guest.pivot_root(".", "initramfs")
    assert guest.exists("/initramfs/unpack/link")
    assert not guest.exists("/unpack")
    guest.umount("/initramfs", abi.MNT_DETACH)
    assert not guest.exists("/initramfs/unpack/link")
    assert crowd_leaves(guest) == "EBUSY", "a root that was moved to is not held"


def crowd_leaves(guest: Guest) -> str:
    """How it ends to unmount a root that one task still has, after others that were moved there with it have ended."""
    last = guest.spawn()
    last.unshare(abi.CLONE_NEWNS)
    last.mkdir("/tmp/place")
    last.mount("none", "/tmp/place", "tmpfs")
    janitor, *crowd = (guest.spawn() for _ in range(4))
    elsewhere = janitor.open("/proc/2/root", abi.O_PATH)
    for one in (janitor, *crowd):
        one.call("setns", one.open(f"/proc/{last.pid}/ns/mnt"), abi.CLONE_NEWNS)
    last.chdir("/tmp/place")
    last.pivot_root(".", ".")
    last.umount(".", abi.MNT_DETACH)
    for one in crowd:
        one.exit()
        guest.wait(one)
    place = janitor.open("/", abi.O_PATH)
    janitor.call("fchdir", elsewhere)  # to unmount one's own root means something else
    janitor.chroot(".")
    janitor.call("fchdir", place)
    return janitor.outcome("umount2", ".", 0)


@check(
    "pivot-kthreads",
    "PID 1's pivot_root() moves user processes, and no kernel thread",
    patch="kthread-nullfs-v2/23",
    since=Era.ISOLATED,
)
def test_pivot_kthreads(guest: Guest) -> None:
    """PID 1 pivots while a child stands where it stood; before, somebody pivots in the namespace of kdevtmpfs."""
    bystander = guest.spawn()
    kdevtmpfs = next(kthread.pid for kthread in guest.kthreads() if kthread.name == "kdevtmpfs")
    kthreads = (2, kdevtmpfs)
    before = [guest.statx(f"/proc/{pid}/root", 0) for pid in kthreads]
    assert before[0].dev != guest.statx("/").dev
    # kdevtmpfs has a root that somebody else can pivot away from: whoever enters its namespace.
    intruder = guest.spawn()
    intruder.call("setns", intruder.open(f"/proc/{kdevtmpfs}/ns/mnt"), abi.CLONE_NEWNS)
    intruder.mkdir("/elsewhere")
    intruder.mount("none", "/elsewhere", "tmpfs")
    intruder.chdir("/elsewhere")
    intruder.pivot_root(".", ".")
    new_root(guest)
    guest.pivot_root(".", ".")
    guest.umount(".", abi.MNT_DETACH)
    assert bystander.statx("/") == bystander.statx(".") == guest.statx("/")
    assert [guest.statx(f"/proc/{pid}/root", 0).mnt_id for pid in kthreads] == [one.mnt_id for one in before]


@check(
    "mount-ids",
    "nullfs is mount 1, the rootfs mount 2, and nobody on the rootfs sees nullfs",
    patch="immutable-rootfs-v2/1",
    since=ROOTFS,
)
def test_mount_ids(guest: Guest) -> None:
    """The mount id of PID 1's root, and its line in mountinfo."""
    assert guest.statx("/").mnt_id == 2
    rows = [line.split() for line in guest.read_text("/proc/self/mountinfo").splitlines()]
    rootfs = next(row for row in rows if row[4] == "/")
    assert rootfs[:2] == ["2", "1"], "mount id and parent"
    assert not any("nullfs" in row for row in rows)


@check(
    "userns-locked",
    "under the rootfs is an empty directory; a new user namespace cannot uncover it, root can",
    patch="immutable-rootfs-v2/3",
    needs="NAMESPACES USER_NS",
    since=ROOTFS,
)
def test_userns_locked(guest: Guest) -> None:
    """A child in a new user namespace tries to unmount the rootfs. Root does so, and tries to change what is below."""
    # The cover letter says that the rootfs need not be locked any more. The merged lock_mnt_tree()
    # (fs/namespace.c) locks every mount but the namespace's root, which is nullfs now, so it still is.
    unprivileged = guest.spawn(abi.CLONE_NEWUSER | abi.CLONE_NEWNS)
    assert unprivileged.outcome("umount2", "/", abi.MNT_DETACH) == "EINVAL"
    assert unprivileged.exists("/init")
    root = guest.spawn()
    assert namespace_bottom(root).fstype == "nullfs"
    assert root.listdir("/") == []
    tries = {
        "mkdir": root.outcome("mkdirat", abi.AT_FDCWD, "/new", 0o755),
        "chmod": root.outcome("fchmodat", abi.AT_FDCWD, "/", 0o777),
        "chown": root.outcome("fchownat", abi.AT_FDCWD, "/", 1, 1, 0),
        "utimes": root.outcome("utimensat", abi.AT_FDCWD, "/", 0, 0),
    }
    assert "ok" not in tries.values(), tries
    assert guest.exists("/init")


@check("not-mountable", "nullfs is there, and nobody can mount another", patch="immutable-rootfs-v2/3", since=ROOTFS)
def test_not_mountable(guest: Guest) -> None:
    """mount() and fsopen() of nullfs by its name, and a look at what is under the rootfs."""
    assert guest.outcome("mount", "none", "/tmp", "nullfs", 0, "") == "ENODEV"
    assert guest.outcome("fsopen", "nullfs", 0) == "ENODEV"
    assert "nullfs" not in guest.read_text("/proc/filesystems")
    child = guest.spawn()
    assert namespace_bottom(child).fstype == "nullfs"

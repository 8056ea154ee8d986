# SPDX-License-Identifier: GPL-2.0-only
"""A. The isolation itself: kernel threads are in a private, sealed nullfs."""

from __future__ import annotations

import errno

import pytest
from doors import namespace_bottom
from roots import devtmpfs_keeper, kthread_roots, outside_nullfs

from harness import abi
from harness.calls import SyscallError
from harness.checks import Era, check
from harness.guest import Guest
from harness.protocol import Out, Ref

KTHREADD = "/proc/2/root"
ISOLATED = Era.ISOLATED


@check("boot", "the kernel reaches PID 1 without a warning", patch="kthread-nullfs-v2/22")
def test_boot(guest: Guest) -> None:
    """The log of the boot is looked through for warnings, and the first process asks who it is."""
    assert guest.boot_troubles() == []
    assert guest.getpid() == 1


@check("root", "every kernel thread's root is a nullfs, PID 1's is not", patch="kthread-nullfs-v2/22", since=ISOLATED)
def test_root(guest: Guest) -> None:
    """The file system of /proc/PID/root, of every kernel thread there is. Only kdevtmpfs may be elsewhere."""
    assert guest.statfs("/proc/1/root").fstype != "nullfs"
    assert guest.statfs(KTHREADD).fstype == "nullfs"
    outside = outside_nullfs(guest)
    assert [name for name in outside if not devtmpfs_keeper(name)] == []
    assert len(outside) == 1


@check(
    "fsid",
    "that nullfs is another instance than the one under the rootfs",
    patch="kthread-nullfs-v2/21",
    since=ISOLATED,
)
def test_fsid(guest: Guest) -> None:
    """A child takes the rootfs away in a mount namespace of its own, and its file system id is held against that of
    every kernel thread's root."""
    kthreadd = guest.statfs(KTHREADD)
    child = guest.spawn()
    under_rootfs = namespace_bottom(child)
    assert (kthreadd.fstype, under_rootfs.fstype) == ("nullfs", "nullfs")
    assert kthreadd.fsid != under_rootfs.fsid
    others = {root.fsid for name, root in kthread_roots(guest).items() if not devtmpfs_keeper(name)}
    assert others == {kthreadd.fsid}


@check("mountinfo", "a kernel thread sees no mounts, PID 1 does", patch="kthread-nullfs-v2/22", since=ISOLATED)
def test_mountinfo(guest: Guest) -> None:
    """/proc/PID/mountinfo and mounts of PID 1 and of kthreadd."""
    assert guest.read_text("/proc/1/mountinfo") != ""
    assert guest.read_text("/proc/1/mounts") != ""
    assert guest.read_text("/proc/2/mountinfo") == ""
    assert guest.read_text("/proc/2/mounts") == ""


@check("fs-umask", "PID 1's umask is not a kernel thread's", patch="kthread-nullfs-v2/17", since=ISOLATED)
def test_umask(guest: Guest) -> None:
    """PID 1 changes its umask, and kthreadd's state in /proc must be what it was."""
    before = guest.file_system_state(2)
    guest.umask(0o077)
    assert guest.file_system_state(1)[2].endswith("0077")
    assert guest.file_system_state(2) == before


@check("fs-cwd", "a chdir() of PID 1 does not move a kernel thread", patch="kthread-nullfs-v2/17", since=ISOLATED)
def test_cwd(guest: Guest) -> None:
    """PID 1 changes its directory, and kthreadd's state in /proc must be what it was."""
    before = guest.file_system_state(2)
    guest.chdir("/tmp")
    assert guest.file_system_state(1)[1] == "/tmp"
    assert guest.file_system_state(2) == before


@check("fs-root", "a chroot() of PID 1 does not move a kernel thread", patch="kthread-nullfs-v2/17", since=ISOLATED)
def test_chroot(guest: Guest) -> None:
    """PID 1 changes its root, and a child that did not looks at kthreadd's."""
    observer = guest.spawn()
    before = observer.statx(KTHREADD, 0)
    guest.chroot("/tmp")
    assert observer.statx("/proc/1/root", 0).ino == observer.statx("/tmp").ino
    assert observer.statx(KTHREADD, 0) == before


@check(
    "kcmp",
    "PID 1 and the kernel threads have different fs_structs, these share one",
    patch="kthread-nullfs-v2/17",
    needs="KCMP",
    since=ISOLATED,
)
def test_kcmp(guest: Guest) -> None:
    """kcmp(KCMP_FS) between PID 1 and kthreadd, and between kthreadd and every other kernel thread."""
    if guest.outcome("kcmp", 1, 1, abi.KCMP_FS, 0, 0) == "ENOSYS":
        pytest.skip("this kernel has no kcmp() (CONFIG_KCMP)")
    assert guest.call("kcmp", 1, 2, abi.KCMP_FS, 0, 0) != 0
    others = [kthread for kthread in guest.kthreads() if kthread.pid != 2]
    alone = {kthread.name for kthread in others if of_another(guest, kthread.pid)}
    assert alone == {"kdevtmpfs"}


def of_another(guest: Guest, pid: int) -> bool:
    """Whether a kernel thread that is still there has another fs_struct than kthreadd."""
    try:
        return guest.call("kcmp", 2, pid, abi.KCMP_FS, 0, 0) != 0
    except SyscallError as error:
        if error.errno != errno.ESRCH:
            raise
        return False  # it has ended since it was listed


@check(
    "sealed-create", "nothing can be created in a kernel thread's root", patch="kthread-nullfs-v2/22", since=ISOLATED
)
def test_sealed_create(guest: Guest) -> None:
    """Through /proc/2/root: make a file of every kind, link, rename, and change what the directory itself has."""
    new = f"{KTHREADD}/new"
    guest.write_file("/tmp/file", "x")
    tries = {
        "mkdir": guest.outcome("mkdirat", abi.AT_FDCWD, new, 0o755),
        "mknod": guest.outcome("mknodat", abi.AT_FDCWD, new, abi.S_IFCHR | 0o666, 0x103),
        "fifo": guest.outcome("mknodat", abi.AT_FDCWD, new, abi.S_IFIFO | 0o666, 0),
        "symlink": guest.outcome("symlinkat", "/", abi.AT_FDCWD, new),
        "link": guest.outcome("linkat", abi.AT_FDCWD, "/tmp/file", abi.AT_FDCWD, new, 0),
        "rename": guest.outcome("renameat2", abi.AT_FDCWD, "/tmp/file", abi.AT_FDCWD, new, 0),
        "open": guest.outcome("openat", abi.AT_FDCWD, new, abi.O_CREAT | abi.O_WRONLY, 0o644),
    }
    assert "ok" not in tries.values(), tries
    # Also what needs no name, and what only touches the directory: the mount itself is read-only.
    assert guest.outcome("utimensat", abi.AT_FDCWD, KTHREADD, 0, 0) == "EROFS"
    assert guest.outcome("fchmodat", abi.AT_FDCWD, KTHREADD, 0o777) == "EROFS"
    assert guest.listdir(KTHREADD) == []


@check(
    "sealed-mount",
    "nothing can be mounted on a kernel thread's root, nor taken from it",
    patch="kthread-nullfs-v2/22",
    since=ISOLATED,
)
def test_sealed_mount(guest: Guest) -> None:
    """Through /proc/2/root: every system call that mounts, moves, copies, changes or removes a mount."""
    before = guest.read_text("/proc/1/mountinfo")
    tmpfs = guest.call("fsopen", "tmpfs", 0)
    guest.call("fsconfig", tmpfs, abi.FSCONFIG_CMD_CREATE, 0, 0, 0)
    loose = guest.call("fsmount", tmpfs, 0, 0)
    tree = guest.call("open_tree", abi.AT_FDCWD, KTHREADD, 0)
    flags = abi.MOVE_MOUNT_F_EMPTY_PATH
    tries = {
        "mount": guest.outcome("mount", "none", KTHREADD, "tmpfs", 0, ""),
        "bind onto": guest.outcome("mount", "/tmp", KTHREADD, "", abi.MS_BIND, ""),
        "bind from": guest.outcome("mount", KTHREADD, "/tmp", "", abi.MS_BIND, ""),
        "move": guest.outcome("mount", KTHREADD, "/tmp", "", abi.MS_MOVE, ""),
        "remount": guest.outcome("mount", "", KTHREADD, "", abi.MS_REMOUNT, ""),
        "remount bind": guest.outcome("mount", "", KTHREADD, "", abi.MS_REMOUNT | abi.MS_BIND, ""),
        "make private": guest.outcome("mount", "", KTHREADD, "", abi.MS_PRIVATE, ""),
        "umount": guest.outcome("umount2", KTHREADD, abi.MNT_DETACH),
        "clone": guest.outcome("open_tree", abi.AT_FDCWD, KTHREADD, abi.OPEN_TREE_CLONE),
        "attach": guest.outcome("move_mount", loose, "", abi.AT_FDCWD, KTHREADD, flags),
        "attach by fd": guest.outcome("move_mount", loose, "", tree, "", flags | abi.MOVE_MOUNT_T_EMPTY_PATH),
        "take": guest.outcome("move_mount", tree, "", abi.AT_FDCWD, "/tmp", flags),
        "pivot": guest.outcome("pivot_root", KTHREADD, KTHREADD),
    }
    assert "ok" not in tries.values(), tries
    assert guest.read_text("/proc/1/mountinfo") == before


@check("sealed-lookup", "no lookup leads out of a kernel thread's root", patch="kthread-nullfs-v2/22", since=ISOLATED)
def test_sealed_lookup(guest: Guest) -> None:
    """Paths that lead upward or to PID 1, looked up from /proc/2/root with each flag of openat2(), and by a child that
    has it as its root."""
    root = guest.open(KTHREADD)
    resolves = (
        *(0, abi.RESOLVE_NO_XDEV, abi.RESOLVE_NO_MAGICLINKS, abi.RESOLVE_NO_SYMLINKS),
        *(abi.RESOLVE_BENEATH, abi.RESOLVE_IN_ROOT, abi.RESOLVE_CACHED),
    )
    for resolve in resolves:
        how = abi.open_how(abi.O_PATH, 0, resolve)
        for path in (".", "..", "../..", "init", "../init", "proc/1/root"):
            found = Out(abi.Statfs.SIZE)
            opened, *_ = guest.calls(("openat2", root, path, how, 24), ("fstatfs", Ref(0), found), ("close", Ref(0)))
            if opened >= 0:
                assert abi.Statfs.unpack(found.value).fstype == "nullfs", (path, resolve)
    jailed = guest.spawn()
    jailed.chroot(KTHREADD)
    assert jailed.listdir("/") == []
    assert not jailed.exists("/init")
    assert not jailed.exists("/../init")


@check(
    "sealed-setns",
    "a kernel thread's mount namespace leads to PID 1's mounts, never to its own root",
    patch="kthread-nullfs-v2/22",
    since=ISOLATED,
)
def test_sealed_setns(guest: Guest) -> None:
    """A child enters kthreadd's mount namespace, looks where it is, and mounts something."""
    kthreadd = guest.statx(KTHREADD, 0)
    child = guest.spawn()
    child.unshare(abi.CLONE_NEWNS)
    child.call("setns", child.open("/proc/2/ns/mnt"), abi.CLONE_NEWNS)
    assert child.statx("/").mnt_id == guest.statx("/").mnt_id
    assert child.statx("/").dev != kthreadd.dev
    child.mount("none", "/tmp", "tmpfs")
    assert guest.statx("/tmp").mnt_id != guest.statx("/").mnt_id, "the namespace is PID 1's"
    assert guest.statx(KTHREADD, 0) == kthreadd
    assert guest.listdir(KTHREADD) == []

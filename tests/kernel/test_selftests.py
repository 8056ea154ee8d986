# SPDX-License-Identifier: GPL-2.0-only
"""F. Nothing else broke: the tests that the kernel's tree brings itself."""

from __future__ import annotations

from selftests import judge, load, run

from harness import ktap
from harness.checks import check
from harness.guest import Guest


@check(
    "kunit",
    "the tree's own KUnit tests of the initramfs and of misc devices pass",
    patch="kthread-nullfs-v2/13",
    needs="RUNTIME_TESTING_MENU KUNIT INITRAMFS_TEST TEST_MISC_MINOR",
    profile="kunit",
)
def test_kunit(guest: Guest) -> None:
    """They run while the kernel boots, and print KTAP to the console."""
    guest.tests |= ktap.parse(guest.boot_log.decode(errors="replace"), "kunit")
    judge(guest, {})


@check(
    "kselftest-filesystems",
    "the tree's own tests of file systems pass",
    patch="kthread-nullfs-v2/22",
    needs="NAMESPACES USER_NS PID_NS FILE_LOCKING EVENTFD INOTIFY_USER",
    modules="overlay fuse loop vfat nls_cp437 nls_iso8859-1 nls_ascii",
    profile="selftests",
)
def test_filesystems(guest: Guest) -> None:
    """tools/testing/selftests/filesystems, built from the tree, runs in the guest."""
    load(guest, "overlay", "fuse", "loop", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii")
    run(guest, "filesystems", "filesystems/*")


@check(
    "kselftest-mount",
    "the tree's own tests of mounts pass",
    patch="kthread-nullfs-v2/22",
    needs="NAMESPACES USER_NS PID_NS FILE_LOCKING",
    modules="loop ext4",
    profile="selftests",
)
def test_mount(guest: Guest) -> None:
    """tools/testing/selftests/mount and mount_setattr, built from the tree, run in the guest."""
    load(guest, "loop", "ext4")
    run(guest, "mount", "mount_setattr")


@check(
    "kselftest-pidfd",
    "the tree's own tests of pidfds pass",
    patch="kthread-nullfs-v2/17",
    needs="NAMESPACES USER_NS PID_NS FHANDLE",
    profile="selftests",
)
def test_pidfd(guest: Guest) -> None:
    """tools/testing/selftests/pidfd, built from the tree, runs in the guest."""
    run(guest, "pidfd")


@check(
    "kselftest-coredump",
    "the tree's own tests of core dumps pass",
    patch="kthread-nullfs-v2/8",
    needs="COREDUMP ELF_CORE EPOLL",
    profile="selftests",
)
def test_coredump(guest: Guest) -> None:
    """tools/testing/selftests/coredump, built from the tree, runs in the guest. A core of theirs has the stacks of 128
    threads in it, and some go through a socket, a page at a time: with small stacks it is 32 MB, and not 1 GB."""
    run(guest, "coredump", stack=256 << 10)

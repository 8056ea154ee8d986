# SPDX-License-Identifier: GPL-2.0-only
"""What checks share: where kernel threads are, and how PID 1 moves to another root. No checks here."""

from __future__ import annotations

from collections.abc import Iterator

from harness import abi
from harness.guest import Guest

#: What ``each_root`` calls them.
ROOTS = ("first", "switched", "pivoted")


def kthread_roots(guest: Guest) -> dict[str, abi.Statfs]:
    """The root of every kernel thread that has not ended meanwhile, by its name and pid."""
    paths = {f"/proc/{kthread.pid}/root": f"{kthread.name}/{kthread.pid}" for kthread in guest.kthreads()}
    found = {paths[path]: root for path, root in guest.statfs_each(list(paths)).items()}
    assert len(found) > 10
    return found


def devtmpfs_keeper(name: str) -> bool:
    """The one kernel thread with a root of its own: it makes the nodes of /dev (drivers/base/devtmpfs.c)."""
    return name.startswith("kdevtmpfs/")


def outside_nullfs(guest: Guest) -> list[str]:
    """The kernel threads whose root is no nullfs."""
    return [name for name, root in kthread_roots(guest).items() if root.fstype != "nullfs"]


def new_root(guest: Guest) -> None:
    """A tmpfs on /run, for the root may be read-only, that PID 1 could live in, and PID 1's cwd in it."""
    guest.mount("none", "/run", "tmpfs")
    guest.makedirs("/run/dev", "/run/proc", "/run/tmp", "/run/initramfs")
    guest.copy("/init", "/run/init", 0o755)
    guest.mount("devtmpfs", "/run/dev", "devtmpfs")
    guest.mount("proc", "/run/proc", "proc")
    guest.chdir("/run")


def leave_root(guest: Guest) -> None:
    """PID 1 pivots into a new root, drops the old one and becomes a program of the new one."""
    new_root(guest)
    guest.pivot_root(".", ".")
    guest.umount(".", abi.MNT_DETACH)
    assert not guest.exists("/run"), "pivot_root() did not move PID 1"
    guest.restart()


def each_root(guest: Guest, *directories: str) -> Iterator[str]:
    """PID 1 in its first root, after it has switched to a second, and after it has pivoted to a third, by name.

    The second and the third have nothing in them but ``directories``, made parents first.
    """
    yield ROOTS[0]
    for name, leave in zip(ROOTS[1:], (_switch, _pivot), strict=True):
        guest.makedirs("/new")
        guest.mount("none", "/new", "tmpfs")
        guest.chdir("/new")
        leave(guest)
        guest.makedirs(*directories)
        yield name


def _switch(guest: Guest) -> None:
    """As switch_root does it: before 7.0 there was no other way out of the rootfs."""
    guest.mount(".", "/", "", abi.MS_MOVE)
    guest.chroot(".")


def _pivot(guest: Guest) -> None:
    guest.pivot_root(".", ".")
    guest.umount(".", abi.MNT_DETACH)

# SPDX-License-Identifier: GPL-2.0-only
"""D. The doors of the SMB server: a share is what PID 1's root has at its path, wherever that root is."""

from __future__ import annotations

from smb import SHARED, backed_roots, client, mounted

from harness import abi
from harness.checks import check
from harness.guest import Guest


@check(
    "ksmbd-share",
    "an SMB share is looked up in PID 1's root",
    patch="kthread-nullfs-v2/10",
    needs="INET FILE_LOCKING NETWORK_FILESYSTEMS CIFS SMB_SERVER EPOLL EVENTFD FUTEX",
    modules="ksmbd cifs",
    profile="network",
)
def test_ksmbd_share(guest: Guest) -> None:
    """A jailed client, with the daemon in its jail, mounts a share and makes a file there; another share after PID 1
    has switched its root, and another after it has pivoted."""
    inmate = client(guest)
    for name in backed_roots(guest):
        inmate.write_file(f"{mounted(inmate, name)}/{name}", "text")
        assert (name, guest.listdir(SHARED), inmate.listdir(SHARED)) == (name, [name], [])
        assert guest.read_text(f"{SHARED}/{name}") == "text"


@check(
    "ksmbd-statfs",
    "an SMB share has the size of the file system that PID 1's root has there",
    patch="kthread-nullfs-v2/11",
    needs="INET FILE_LOCKING NETWORK_FILESYSTEMS CIFS SMB_SERVER EPOLL EVENTFD FUTEX",
    modules="ksmbd cifs",
    profile="network",
)
def test_ksmbd_statfs(guest: Guest) -> None:
    """A jailed client asks for the size of a share; again after PID 1 has switched its root, and again after it has
    pivoted: another file system is there each time, and in the jail."""
    inmate = client(guest)
    top = ""
    for name in backed_roots(guest):
        top = top or mounted(inmate, name)
        said, there = inmate.statfs(top), guest.statfs(SHARED)
        assert (name, said.bsize, said.blocks, said.bfree) == (name, there.bsize, there.blocks, there.bfree)


@check(
    "ksmbd-vfs",
    "files of an SMB share are created, linked, renamed and removed in PID 1's root",
    patch="kthread-nullfs-v2/12",
    needs="INET FILE_LOCKING NETWORK_FILESYSTEMS CIFS SMB_SERVER EPOLL EVENTFD FUTEX",
    modules="ksmbd cifs",
    profile="network",
)
def test_ksmbd_vfs(guest: Guest) -> None:
    """A jailed client lists a share, makes a file, links it, renames one of the two, and removes the other; in another
    share after PID 1 has switched its root, and in another after it has pivoted."""
    inmate = client(guest)
    for name in backed_roots(guest):
        guest.write_file(f"{SHARED}/there", "")
        top = mounted(inmate, name)
        assert (name, inmate.listdir(top)) == (name, ["there"])
        one, two, three = (f"{top}/{leaf}" for leaf in ("one", "two", "three"))
        inmate.write_file(one, "text")
        linked = inmate.outcome("linkat", abi.AT_FDCWD, one, abi.AT_FDCWD, two, 0)
        assert (name, linked, guest.statx(f"{SHARED}/one").nlink) == (name, "ok", 2)
        inmate.call("renameat2", abi.AT_FDCWD, two, abi.AT_FDCWD, three, 0)
        inmate.call("unlinkat", abi.AT_FDCWD, one, 0)
        assert (name, guest.listdir(SHARED), inmate.listdir(SHARED)) == (name, ["there", "three"], [])
        assert (guest.read_text(f"{SHARED}/three"), guest.statx(f"{SHARED}/three").nlink) == ("text", 1)

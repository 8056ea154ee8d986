# SPDX-License-Identifier: GPL-2.0-only
"""E. Threads that the kernel adds to a user's process: no kernel threads, they look up what that process would."""

from __future__ import annotations

from doors import give_node, jailed
from uring import Ring

from harness import abi
from harness.checks import check
from harness.guest import Guest
from harness.protocol import Out
from harness.task import Task


def worker(guest: Guest, owner: Task, name: str) -> str:
    """Where /proc has that thread of ``owner``."""
    threads = [f"/proc/{owner.pid}/task/{thread}" for thread in guest.listdir(f"/proc/{owner.pid}/task")]
    names = guest.read_small([f"{thread}/comm" for thread in threads])
    return next(path.removesuffix("/comm") for path, said in names.items() if said.decode().startswith(name))


def jail_in_jail(guest: Guest) -> Task:
    """A child in a jail with another one in it, and a file that says where it is in each root."""
    child = jailed(guest)
    guest.makedirs("/jail/inner")
    for root in ("", "/jail", "/jail/inner"):
        guest.write_file(f"{root}/where", root)
    return child


@check(
    "io-uring",
    "a worker of io_uring opens files in the root of the process that it works for",
    patch="kthread-nullfs-v2/22",
    needs="IO_URING",
)
def test_io_uring(guest: Guest) -> None:
    """A jailed process has a worker open a file. Then it moves into a jail in the jail, and has it opened once more."""
    child = jail_in_jail(guest)
    ring = Ring(child)
    for root in ("/jail", "/jail/inner"):
        fd = ring.open("/where")
        assert fd >= 0, f"errno {-fd}"
        child.call("read", fd, said := Out(100, limit=True), 100)
        thread = worker(guest, child, f"iou-wrk-{child.pid}")
        assert (said.value.decode(), guest.statx(f"{thread}/root", 0)) == (root, child.statx("/"))
        if root == "/jail":
            child.chroot("/inner")


@check(
    "vhost",
    "a worker of vhost is in the root of the process that it works for",
    patch="kthread-nullfs-v2/22",
    needs="EVENTFD VSOCKETS VHOST_MENU VHOST_VSOCK",
    modules="vhost_vsock",
    profile="storage",
)
def test_vhost(guest: Guest) -> None:
    """A jailed process becomes the owner of a vhost device, and then moves into a jail in the jail."""
    guest.load_module("vhost_vsock")
    child = jail_in_jail(guest)
    give_node(guest, child, "/dev/vhost-vsock", "/vhost")
    child.call("ioctl", child.open("/vhost", abi.O_RDWR), abi.VHOST_SET_OWNER)
    thread = worker(guest, child, f"vhost-{child.pid}")
    for root in ("/jail", "/jail/inner"):
        assert guest.statx(f"{thread}/root", 0) == child.statx("/")
        assert guest.read_text(f"{thread}/root/where") == root
        if root == "/jail":
            child.chroot("/inner")

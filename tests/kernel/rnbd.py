# SPDX-License-Identifier: GPL-2.0-only
"""What checks of RNBD share: both of its ends in one guest, over a software RDMA device. No checks here."""

from __future__ import annotations

import struct

from net import interface_up, loopback

from harness import abi
from harness.calls import SyscallError
from harness.guest import Guest
from harness.protocol import Out, Ref
from harness.task import Task

ADDRESS = "10.0.0.1"
DEVICE = "rxe0"
MAP = "/sys/devices/virtual/rnbd-client/ctl/map_device"
MODULES = ("dummy", "brd", "rdma_rxe", "rnbd_server", "rnbd_client")
#: Bytes of what a disk begins with: a block of any device.
BLOCK = 512
#: drivers/block/brd.c: the major number of /dev/ram0.
RAMDISK = 1

# linux/netlink.h, rdma/rdma_netlink.h
_HEADER = struct.Struct("<IHHII")
_NETLINK_RDMA, _REQUEST, _ACK = 20, 1, 4
_NEWLINK = 5 << 10 | 3  # RDMA_NLDEV_CMD_NEWLINK of the client RDMA_NL_NLDEV
_DEV_NAME, _NDEV_NAME, _LINK_TYPE = 2, 51, 65


def _attribute(kind: int, text: str) -> bytes:
    """A struct nlattr with a string, padded."""
    value = text.encode() + b"\0"
    return struct.pack("<HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def rdma_link(task: Task, name: str, on: str) -> None:
    """Make a soft RoCE device on a network interface, as rdma(8) does. Raises SyscallError."""
    wanted = _attribute(_DEV_NAME, name) + _attribute(_LINK_TYPE, "rxe") + _attribute(_NDEV_NAME, on)
    message = _HEADER.pack(_HEADER.size + len(wanted), _NEWLINK, _REQUEST | _ACK, 1, 0) + wanted
    answer = Out(_HEADER.size + 4, limit=True)
    task.all(
        ("socket", abi.AF_NETLINK, abi.SOCK_RAW, _NETLINK_RDMA),
        ("sendto", Ref(0), message, len(message), 0, 0, 0),
        ("recvfrom", Ref(0), answer, answer.size, 0, 0, 0),
        ("close", Ref(0)),
    )
    (error,) = struct.unpack_from("<i", answer.value, _HEADER.size)  # struct nlmsgerr
    if error:
        raise SyscallError(-error, f"RDMA_NLDEV_CMD_NEWLINK({name!r}, 'rxe', {on!r})")


def bring_up(guest: Guest) -> None:
    """Bring up what RNBD's two ends need to find each other."""
    for name in MODULES:
        guest.load_module(name)
    loopback(guest)
    interface_up(guest, "dummy0", ADDRESS)
    rdma_link(guest, DEVICE, "dummy0")


def mark(guest: Guest, minor: int, path: str) -> bytes:
    """Make a node for a RAM disk, and let the disk begin with a block that no other one has; returned."""
    node = abi.S_IFBLK | 0o600, RAMDISK << 8 | minor
    guest.call("mknodat", abi.AT_FDCWD, path, *node)
    block = f"RAM disk {minor}".encode().ljust(BLOCK, b"\0")
    guest.write_file(path, block, 0)
    return block


class Client:
    """A jailed process that maps disks of the server in the same guest."""

    def __init__(self, guest: Guest) -> None:
        bring_up(guest)
        guest.makedirs("/disks", "/jail", "/jail/disks")
        self.task = guest.spawn()
        self._control = self.task.open(MAP, abi.O_WRONLY)  # as the jail has no /sys
        self.task.chroot("/jail")

    def map(self, path: str) -> None:
        """Ask for a disk by the path that the server knows it by. Raises SyscallError."""
        words = f"sessname=s1 path=ip:{ADDRESS} device_path={path}".encode()
        self.task.call("write", self._control, words, len(words))

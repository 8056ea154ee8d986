# SPDX-License-Identifier: GPL-2.0-only
"""What checks with a network share: interfaces of the guest that come up. No checks here."""

from __future__ import annotations

import socket
import struct

from harness import abi
from harness.protocol import Out, Ref
from harness.task import Task

_NAME = struct.Struct("16s")
_FLAGS = struct.Struct("16sh22x")
#: With the struct sockaddr_in that it has for an address: family, port, address.
_ADDRESS = struct.Struct("16sH2x4s16x")


def interface_up(task: Task, name: str, address: str) -> None:
    """Give an interface that is there an IPv4 address, with the mask of its class, and bring it up.

    By struct ifreq, netdevice(7). Raises SyscallError.
    """
    before = Out(_FLAGS.size, _NAME.pack(name.encode()))
    to = _ADDRESS.pack(name.encode(), abi.AF_INET, socket.inet_aton(address))
    fd, *_ = task.all(
        ("socket", abi.AF_INET, abi.SOCK_DGRAM, 0),
        ("ioctl", Ref(0), abi.SIOCSIFADDR, to),
        ("ioctl", Ref(0), abi.SIOCGIFFLAGS, before),
    )
    _, flags = _FLAGS.unpack(before.value)  # without them it would lose what it is: dummy0 would begin to do ARP
    up = _FLAGS.pack(name.encode(), flags | abi.IFF_UP)
    task.all(("ioctl", fd, abi.SIOCSIFFLAGS, up), ("close", fd))


def loopback(task: Task) -> None:
    """Bring ``lo`` up, with 127.0.0.1. Raises SyscallError."""
    interface_up(task, "lo", "127.0.0.1")

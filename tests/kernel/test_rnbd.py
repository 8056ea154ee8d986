# SPDX-License-Identifier: GPL-2.0-only
"""D. The doors that must stay open: the block device that RNBD's server opens for a client."""

from __future__ import annotations

import errno

import pytest
from rnbd import BLOCK, Client, mark

from harness import abi
from harness.calls import SyscallError
from harness.checks import Era, check
from harness.guest import Guest
from harness.protocol import Out, Ref


@check(
    "rnbd",
    "RNBD's server finds a disk where PID 1 has it",
    patch="kthread-nullfs-v2/3",
    needs="BLK_DEV_RNBD_SERVER BLK_DEV_RNBD_CLIENT INFINIBAND_RTRS_SERVER INFINIBAND_RTRS_CLIENT INFINIBAND_ADDR_TRANS "
    "INFINIBAND RDMA_RXE PCI DUMMY NET_CORE NETDEVICES INET BLK_DEV_RAM BLK_DEV BLOCK",
    profile="network",
    modules="dummy brd rdma_rxe rnbd_server rnbd_client",
)
def test_rnbd(guest: Guest) -> None:
    """A jailed process maps a disk of a server in the same guest, over soft RoCE. At the path that the server opens, in
    a kworker, PID 1 has one RAM disk and the jail another; what the client reads tells them apart."""
    client = Client(guest)
    outside, inside = mark(guest, 0, "/disks/disk"), mark(guest, 1, "/jail/disks/disk")
    client.map("/disks/disk")
    first = Out(BLOCK)
    guest.all(("openat", abi.AT_FDCWD, "/dev/rnbd0", 0, 0), ("read", Ref(0), first, BLOCK))
    assert first.value != inside, "it is the jail's disk"
    assert first.value == outside


@check(
    "cut-rnbd",
    "after PID 1 left, RNBD's server finds no disk",
    patch="kthread-nullfs-v2/3",
    needs="BLK_DEV_RNBD_SERVER BLK_DEV_RNBD_CLIENT INFINIBAND_RTRS_SERVER INFINIBAND_RTRS_CLIENT INFINIBAND_ADDR_TRANS "
    "INFINIBAND RDMA_RXE PCI DUMMY NET_CORE NETDEVICES INET BLK_DEV_RAM BLK_DEV BLOCK",
    since=Era.ISOLATED,
    profile="network",
    modules="dummy brd rdma_rxe rnbd_server rnbd_client",
)
def test_cut_rnbd(guest: Guest) -> None:
    """A jailed process maps one disk before PID 1 unshares, and asks for another one after it."""
    client = Client(guest)
    mark(guest, 0, "/disks/before")
    mark(guest, 1, "/disks/after")
    client.map("/disks/before")
    guest.unshare(abi.CLONE_FS)
    with pytest.raises(SyscallError) as refused:
        client.map("/disks/after")
    assert refused.value.errno == errno.ENOENT

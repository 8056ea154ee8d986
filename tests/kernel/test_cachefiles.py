# SPDX-License-Identifier: GPL-2.0-only
"""E. The cache of network file systems: where it is says a daemon, and only a daemon looks it up."""

from __future__ import annotations

from btrfs import TOP, volume
from doors import give_node

from harness import abi
from harness.checks import check
from harness.guest import Guest

#: In the directory of the cache; what is in it can be culled.
OBJECTS = f"{TOP}/cache"


@check(
    "cachefiles",
    "the cache of network file systems is where its daemon has it",
    patch="kthread-nullfs-v2/22",
    needs="BLOCK BLK_DEV BLK_DEV_LOOP BTRFS_FS INET NETWORK_FILESYSTEMS CIFS FSCACHE CACHEFILES",
    modules="btrfs loop cachefiles",
    profile="storage",
)
def test_cachefiles(guest: Guest) -> None:
    """A jailed daemon, on a file system that only the jail has, makes a directory the cache, and culls something in its
    working directory. PID 1's root has the same names."""
    guest.load_module("cachefiles")
    daemon = volume(guest)
    give_node(guest, daemon, "/dev/cachefiles")
    cache = daemon.open("/dev/cachefiles", abi.O_RDWR)
    for command in (f"dir {TOP}", "bind"):
        daemon.call("write", cache, command, len(command))
    assert (daemon.exists(OBJECTS), guest.exists(OBJECTS)) == (True, False)
    guest.makedirs(OBJECTS)
    for task in (guest, daemon):
        task.write_file(f"{OBJECTS}/object", "")
        task.chdir(OBJECTS)
    daemon.call("write", cache, "cull object", len("cull object"))
    assert (daemon.listdir(OBJECTS), guest.listdir(OBJECTS)) == ([], ["object"])

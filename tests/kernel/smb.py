# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's SMB server, ksmbd, and its client, cifs, on the loopback of one guest. No checks here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from net import loopback
from roots import ROOTS, each_root

from harness import abi
from harness.guest import Guest
from harness.task import Task

#: What every share shares. In each of PID 1's roots, and in the jail, it is another file system.
SHARED = "/share"
#: A share for each root: one that is known is not looked up again. Ciphers may be modules that nobody has loaded.
CONFIGURATION = "[global]\ninterfaces = lo\nbind interfaces only = yes\nsmb3 encryption = disabled\n" + "".join(
    f"[{name}]\npath = {SHARED}\nread only = no\nstore dos attributes = no\n" for name in ROOTS
)
#: ksmbdpwd.db(5): the MD4 of the password, which is "secret".
USERS = "root:h42AFGBs2ilnekTvoTU/xw==\n"
OPTIONS = "ip=127.0.0.1,username=root,password=secret,vers=3.1.1,cache=none,actimeo=0"
#: In /proc/net/tcp, or tcp6 where there is IPv6: something listens at port 445.
LISTENING = re.compile(rb":01BD \S+:0000 0A")


def client(guest: Guest) -> Task:
    """Start ksmbd; a task that can mount its shares, in a jail with ksmbd's daemon.

    Raises GuestError, HostError, SyscallError; AssertionError if it does not start.
    """
    for name in ("ksmbd", "cifs"):
        guest.load_module(name)
    loopback(guest)
    guest.makedirs("/etc", "/etc/ksmbd", "/jail", "/mounts", SHARED)
    guest.write_file("/etc/passwd", "root:x:0:0::/:\n")
    guest.write_file("/etc/ksmbd/ksmbd.conf", CONFIGURATION)
    guest.write_file("/etc/ksmbd/ksmbdpwd.db", USERS)
    guest.mount("/", "/jail", "", abi.MS_BIND)  # for what the daemon needs
    back(guest, 7, "/jail")
    inmate = guest.spawn()
    inmate.chroot("/jail")
    daemon = inmate.launch("/usr/sbin/ksmbd.mountd", "--nodetach")

    def listens() -> bool:
        assert not daemon.ended, daemon.output
        tables = guest.read_small(("/proc/net/tcp", "/proc/net/tcp6"))
        return any(LISTENING.search(table) for table in tables.values())

    guest.until(listens, "ksmbd does not listen")
    return inmate


def mounted(task: Task, share: str) -> str:
    """Where a share is after it was mounted. Raises SyscallError."""
    where = f"/mounts/{share}"
    task.mkdir(where)
    task.mount(f"//127.0.0.1/{share}", where, "cifs", 0, OPTIONS)
    return where


def back(guest: Guest, mebibytes: int, root: str = "") -> None:
    """Mount a file system of that size on SHARED."""
    guest.mount("none", f"{root}{SHARED}", "tmpfs", 0, f"size={mebibytes}m")


def backed_roots(guest: Guest) -> Iterator[str]:
    """PID 1 in one root after the other (see roots.each_root()), where SHARED is of another size each time."""
    for number, name in enumerate(each_root(guest, SHARED)):
        back(guest, 10 + number)
        yield name

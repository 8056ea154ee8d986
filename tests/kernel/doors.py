# SPDX-License-Identifier: GPL-2.0-only
"""What checks share: jails, cores, helpers, a look under the rootfs. No checks here."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass

import pytest

from harness import abi, corefile
from harness.guest import Guest
from harness.protocol import Out
from harness.task import Task

UNSHARED = "Pid 1 stopped sharing filesystem state"
#: WCOREDUMP() of a wait status.
CORED = 0x80
#: The release that brought core sockets (fs/coredump.c).
CORE_SOCKETS = (6, 16)


def unshared_lines(guest: Guest) -> int:
    """How often the kernel has said it since the last look at its log."""
    return sum(UNSHARED in line for line in guest.log())


def namespace_bottom(task: Task, proc: int = abi.AT_FDCWD) -> abi.Statfs:
    """Take the root away in a copy of the mount namespace of ``task`` and look what was under it.

    ``proc``: its descriptor of /proc, where that is not in the namespace.
    """
    task.unshare(abi.CLONE_NEWNS)
    self = "/proc/self/ns/mnt" if proc == abi.AT_FDCWD else "self/ns/mnt"
    namespace = task.call("openat", proc, self, abi.O_CLOEXEC)
    task.umount("/", abi.MNT_DETACH)
    task.call("setns", namespace, abi.CLONE_NEWNS)  # to what is now on top (fs/namespace.c: mntns_install())
    return task.statfs("/")


def jailed(guest: Guest, *directories: str) -> Task:
    """A child whose root is /jail, where every one of ``directories`` (in PID 1's root too) has a decoy."""
    for directory in directories:
        guest.makedirs(directory)
    guest.makedirs("/jail", *(f"/jail{directory}" for directory in directories))
    child = guest.spawn()
    child.chroot("/jail")
    return child


def give_node(guest: Guest, task: Task, device: str, path: str = "") -> None:
    """Make ``task``, where /dev is no devtmpfs, a node of its own for a device: nodes of a devtmpfs are in all."""
    node = guest.statx(device)
    kind = stat.S_IFMT(node.mode) | 0o600
    task.call("mknodat", abi.AT_FDCWD, path or device, kind, os.makedev(*node.rdev))


def allow_core(task: Task) -> None:
    """No limit on its core files."""
    task.call("prlimit64", 0, abi.RLIMIT_CORE, abi.RLIM_INFINITY.to_bytes(8, "little") * 2, 0)


def lose_privilege(task: Task, uid: int = 1000) -> None:
    """Become another user, which leaves the task as dumpable as fs.suid_dumpable says (kernel/cred.c)."""
    task.all(("setresgid", uid, uid, uid), ("setresuid", uid, uid, uid))


@dataclass(frozen=True)
class Dump:
    """A process that has died, and what came of it."""

    task: Task
    cored: bool
    #: Its core file as PID 1's root has it, and as the jail has it.
    outside: bool
    inside: bool


def start_suid_dump(guest: Guest, child: Task) -> None:
    """Let a process change its user and die, with an absolute core_pattern in /cores."""
    guest.write_file("/proc/sys/fs/suid_dumpable", "2")
    guest.write_file("/proc/sys/kernel/core_pattern", "/cores/core")
    guest.write_file("/proc/sys/kernel/core_uses_pid", "0")
    allow_core(child)
    lose_privilege(child)
    child.start_dying(abi.SIGSEGV)


def dump_suid(guest: Guest) -> Dump:
    """Let a jailed process that changed its user die, with an absolute core_pattern."""
    child = jailed(guest, "/cores")
    start_suid_dump(guest, child)
    guest.channel.wait_gone(child.route)
    cored = bool(guest.wait(child) & CORED)
    return Dump(child, cored, guest.exists("/cores/core"), guest.exists("/jail/cores/core"))


def read_core(task: Task, path: str) -> corefile.Core:
    """The core file at ``path``, read over the wire only where a debugger would look."""
    return corefile.read(io.BufferedReader(corefile.GuestFile(task, path), 8192))


def die_into_helper(guest: Guest) -> tuple[Task, Task | None]:
    """A jailed process that dies with a core helper set, and the helper, if it was started."""
    child = jailed(guest, "/cores")
    guest.write_file("/proc/sys/kernel/core_pattern", "|/helper %P %s")
    guest.write_file("/proc/sys/kernel/core_pipe_limit", "1")  # so the kernel waits for the helper
    allow_core(child)
    child.start_dying(abi.SIGSEGV)
    return child, guest.caller(unless=child)


def load_into_helper(guest: Guest, path: str = "/helper") -> Task | None:
    """A jailed process that asks for a missing protocol, and the module loader, if it was started."""
    guest.write_file("/proc/sys/kernel/modprobe", path)
    child = jailed(guest, "/cores")
    asking = child.start("socket", abi.AF_AX25, abi.SOCK_STREAM, 0)  # net/socket.c: request_module("net-pf-3")
    return guest.caller(unless=asking)


def as_pid1(guest: Guest, helper: Task) -> None:
    """A helper is in PID 1's root and mounts, but what it does to its own state stays its own."""
    assert helper.statx("/") == guest.statx("/")
    assert helper.readlink("/proc/self/cwd") == "/"
    assert helper.readlink("/proc/self/ns/mnt") == guest.readlink("/proc/self/ns/mnt")
    assert helper.file_system_state("self")[2].endswith("0022"), "not PID 1's umask, whatever that is"
    observer = guest.spawn()  # sees PID 1 even where the helper's chroot() is PID 1's
    before = observer.file_system_state(1)
    helper.umask(0o123)
    helper.chroot("/tmp")
    assert observer.file_system_state(1) == before


class Listener:
    """A process that listens where core sockets are sent to; it waits, nobody else does."""

    def __init__(self, task: Task, path: str) -> None:
        self.task = task
        self.fd = task.call("socket", abi.AF_UNIX, abi.SOCK_STREAM, 0)
        address = abi.sockaddr_un(path)
        task.call("bind", self.fd, address, len(address))
        task.call("listen", self.fd, 4)
        self.accepting = task.start("accept4", self.fd, 0, 0, 0)

    def peer(self, connection: int) -> int:
        """The pid at the other end (SO_PEERCRED, unix(7))."""
        out, size = Out(12), Out(4, (12).to_bytes(4, "little"))
        self.task.call("getsockopt", connection, abi.SOL_SOCKET, abi.SO_PEERCRED, out, size)
        return int.from_bytes(out.value[:4], "little")

    def receive(self, connection: int, size: int) -> bytes:
        """The first bytes that came."""
        out = Out(size, limit=True)
        self.task.call("recvfrom", connection, out, size, 0x100, 0, 0)  # MSG_WAITALL
        return out.value


def need_core_sockets(guest: Guest) -> None:
    """Skip where the kernel is older than core sockets."""
    if guest.kernel.version < CORE_SOCKETS:
        pytest.skip("core sockets came with 6.16")


@dataclass(frozen=True)
class Call:
    """A process that died with a core socket set, and who was called."""

    child: Task
    #: In PID 1's root, and in the jail; only one that was called may be asked for more.
    outside: Listener
    inside: Listener

    @property
    def called(self) -> tuple[bool, bool]:
        """Whether a connection came to the one in PID 1's root, and to the one in the jail."""
        return self.outside.accepting.ended, self.inside.accepting.ended


def die_into_socket(guest: Guest) -> Call:
    """Let a jailed process die with a core socket set; listeners at its path are in PID 1's root and in the jail."""
    child = jailed(guest, "/run")
    inmate = guest.spawn()
    inmate.chroot("/jail")
    call = Call(child, Listener(guest.spawn(), "/run/core.sock"), Listener(inmate, "/run/core.sock"))
    guest.write_file("/proc/sys/kernel/core_pattern", "@/run/core.sock")
    guest.write_file("/proc/sys/kernel/core_pipe_limit", "1")  # so the kernel waits for the listener to hang up
    allow_core(child)
    child.start_dying(abi.SIGSEGV)
    guest.channel.wait_for(lambda: child.ended or any(call.called))
    return call

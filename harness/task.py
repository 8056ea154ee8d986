# SPDX-License-Identifier: GPL-2.0-only
"""A task in the guest, with verbs: each is one or a few system calls that this very task performs."""

from __future__ import annotations

import struct

from harness import abi
from harness.calls import Pending, SyscallError
from harness.files import Files
from harness.protocol import Op, Out, Pointers

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True


class Task(Files):
    """One task. A path is looked up, a file opened, a mount made as this task sees the world."""

    # -- tasks --------------------------------------------------------------------------------------------

    def spawn(self, flags: int = 0) -> Task:
        """A child process made with these clone(2) flags."""
        body = self.channel.answer(self.channel.post(Op.SPAWN, self.route, struct.pack("<Q", flags)), self.route)
        pid, index = struct.unpack("<qB", body)
        if pid < 0:
            raise SyscallError(-pid, f"clone({flags:#x})")
        return Task(self.channel, self.arch, (*self.route, index), pid)

    def thread(self) -> Task:
        """Another thread of this process."""
        return self.spawn(abi.CLONE_THREAD_ALL)

    def start_dying(self, signal: int) -> None:
        """End by ``signal``, without waiting: a core dump may take its time."""
        self.start("kill", self.getpid(), signal)

    def kill_self(self, signal: int) -> None:
        """End by ``signal``; returns when the task is gone."""
        self.start_dying(signal)
        self.channel.wait_gone(self.route)

    def exit(self, status: int = 0) -> None:
        """End the process; returns when it is gone."""
        self.start("exit_group", status)
        self.channel.wait_gone(self.route)

    def execve(self, path: str, *argv: str) -> Pending:
        """execve(2) with an empty environment; there is an answer only if it fails."""
        words = tuple((8 * place, word.encode() + b"\0") for place, word in enumerate(argv))
        return self.start("execve", path, Pointers(bytes(8 * len(argv) + 8), words), bytes(8))

    def wait(self, child: Task) -> int:
        """The wait status of ``child``, which must have ended or be about to."""
        status = Out(4)
        self.call("wait4", child.pid, status, 0x40000000, 0)  # __WALL
        return int(struct.unpack("<I", status.value)[0])

    def getpid(self) -> int:
        """In its own PID namespace."""
        return self.call("getpid")

    # -- its file system state ----------------------------------------------------------------------------

    def chdir(self, path: str) -> None:
        """chdir(2)."""
        self.call("chdir", path)

    def chroot(self, path: str) -> None:
        """chroot(2), and to the new root's top."""
        self.all(("chroot", path), ("chdir", "/"))

    def umask(self, mask: int) -> int:
        """umask(2): the old one."""
        return self.call("umask", mask)

    def unshare(self, flags: int) -> None:
        """unshare(2)."""
        self.call("unshare", flags)

    def mount(self, source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
        """mount(2)."""
        self.call("mount", source, target, kind, flags, data)

    def umount(self, target: str, flags: int = 0) -> None:
        """umount2(2)."""
        self.call("umount2", target, flags)

    def pivot_root(self, new: str, old: str) -> None:
        """pivot_root(2)."""
        self.call("pivot_root", new, old)

# SPDX-License-Identifier: GPL-2.0-only
"""A task in the guest, with verbs: each is one or a few system calls that this very task performs."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from harness import abi, userland
from harness.calls import Pending, SyscallError
from harness.channel import TaskGone
from harness.errors import HostError
from harness.files import CHUNK, Files
from harness.protocol import Op, Out, Pointers, Ref

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

#: All that a program finds in its environment.
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C")
#: Bytes that are read back of what a program printed: the last ones.
PRINTED = 64 << 10
#: Where it is said which programs a guest has.
PROFILES = "initramfs/profiles.toml"


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
        return self.start("execve", path, _strings(argv), bytes(8))

    def launch(self, path: str, *arguments: str, stdin: bytes = b"") -> Program:
        """Start the program at ``path`` in a child, whose root and cwd are this task's, and go on beside it.

        It prints into a memfd, so that it needs no place to write to in a jail, and nobody has to read meanwhile.
        Raises HostError if the guest does not have it (that is no promise broken), SyscallError.
        """
        keeper = self.spawn()
        memfd = "memfd_create", "nullfs-harness", 0
        # What the keeper has as 0, 1 and 2 its child will have (initramfs/agent.c: start()).
        keeper.all(memfd, memfd, ("dup3", Ref(0), 0, 0), ("dup3", Ref(1), 1, 0), ("dup3", Ref(1), 2, 0))
        for at in range(0, len(stdin), CHUNK):
            keeper.call("write", 0, stdin[at : at + CHUNK], len(stdin[at : at + CHUNK]))
        keeper.call("lseek", 0, 0, 0)
        child = keeper.spawn()
        trying = child.start("execve", path, _strings((path, *arguments)), _strings(ENVIRONMENT))
        try:
            trying.result()
        except TaskGone:  # the agent is gone: it is the program now
            return Program(self, keeper, child, path)
        except SyscallError as error:
            there = keeper.exists(path)
            keeper.exit()
            self.wait(keeper)
            if error.errno != errno.ENOENT:
                raise
            raise HostError(
                f"the guest cannot start {path}" if there else f"the guest has no {path}",
                cause=f"{error.strerror}, for the interpreter or the loader that it names" if there else "",
                hint=self.remedy(path),
            ) from error
        raise AssertionError("execve() has returned, and did not fail")

    def remedy(self, path: str) -> str:
        """What to do about a program that the guest does not have at ``path``."""
        package = " or ".join(userland.owners(self.arch, path)) or f"that `apt-file search {path}` names"
        return f"let the check's profile have the file, and Debian's package {package}: see {PROFILES}"

    def run(self, path: str, *arguments: str, stdin: bytes = b"") -> Ran:
        """Run the program at ``path`` to its end, as ``launch`` starts it. Raises what that does, and GuestTimeout."""
        return self.launch(path, *arguments, stdin=stdin).wait()

    def wait(self, child: Task) -> int:
        """The wait status of ``child``, which must have ended or be about to."""
        status = Out(4)
        self.call("wait4", child.pid, status, abi.WALL, 0)
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


class Ran(NamedTuple):
    """A program that has ended: ``status`` is its exit status, or -N if signal N ended it."""

    status: int
    #: What it printed to stdout and stderr, the last PRINTED bytes.
    output: str


class Program:
    """A program that was started. Between it and its task is a keeper, which waits so that nobody else has to."""

    def __init__(self, task: Task, keeper: Task, child: Task, path: str) -> None:
        self.task = task
        self.path = path
        #: As its keeper's parent's PID namespace has it.
        self.pid = child.pid
        self._keeper = keeper
        self._child = child
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended by now."""
        if self._status is None:
            status = Out(4)
            if self._keeper.call("wait4", self.pid, status, abi.WNOHANG | abi.WALL, 0):
                self._status = _exitcode(status.value)
        return self._status is not None

    @property
    def output(self) -> str:
        """What it, and what it has started, printed by now: the last PRINTED bytes."""
        end = self._keeper.statx("", abi.AT_EMPTY_PATH, 1).size
        places = range(max(0, end - PRINTED), end, CHUNK)
        parts = [Out(CHUNK, limit=True) for _ in places]
        for at, part in zip(places, parts, strict=True):
            self._keeper.call("pread64", 1, part, CHUNK, at)
        return b"".join(part.value for part in parts).decode(errors="replace")

    def kill(self, signal: int = abi.SIGKILL) -> None:
        """Send it a signal."""
        self._keeper.call("kill", self.pid, signal)

    def wait(self) -> Ran:
        """Wait for its end; a daemon that it has left behind goes on. Only once. Raises GuestTimeout."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(self._keeper.wait(self._child))
        ran = Ran(self._status, self.output)
        self._keeper.exit()
        self.task.wait(self._keeper)
        return ran


def _exitcode(status: bytes) -> int:
    return os.waitstatus_to_exitcode(int.from_bytes(status, "little"))


def _strings(words: Sequence[str]) -> Pointers:
    """A NULL-terminated array of strings, as execve(2) wants it."""
    at = tuple((8 * place, word.encode() + b"\0") for place, word in enumerate(words))
    return Pointers(bytes(8 * len(words) + 8), at)

# SPDX-License-Identifier: GPL-2.0-only
"""A task in the guest, with verbs: each is one or a few system calls that this very task performs."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness import abi
from harness.arch import Arch
from harness.channel import Channel, Route
from harness.deadline import Deadline
from harness.protocol import Argument, Batch, Op, Out, Pointers, Ref

#: Bytes read from a file in one system call.
CHUNK = 8192
_READS = 4


class SyscallError(OSError):
    """A system call in the guest failed: ``errno`` and ``strerror`` as the kernel said it, ``call`` as it was asked."""

    def __init__(self, number: int, call: str) -> None:
        super().__init__(number, f"{call}: {errno_name(number)}")
        self.call = call


def errno_name(number: int) -> str:
    """EPERM and the like."""
    return errno.errorcode.get(number, f"errno {number}")


def _show(name: str, arguments: tuple[Argument, ...]) -> str:
    words = []
    for argument in arguments:
        if isinstance(argument, Out | Ref | Pointers) or (isinstance(argument, bytes) and len(argument) > 40):
            words.append("…")
        else:
            words.append(repr(argument))
    return f"{name}({', '.join(words)})"


@dataclass(frozen=True)
class Pending:
    """A system call that was asked for and is not waited for yet."""

    task: Task
    number: int
    batch: Batch
    call: str

    @property
    def ended(self) -> bool:
        """Whether it has returned; its task may be gone instead."""
        return self.task.channel.answered(self.number) or self.task.ended

    def result(self, deadline: Deadline | None = None) -> int:
        """What it returned. Raises SyscallError, and TaskGone when the task ended instead."""
        channel = self.task.channel
        value = self.batch.unpack(channel.answer(self.number, self.task.route, deadline))[0]
        if value < 0:
            raise SyscallError(-value, self.call)
        return value


class Task:
    """One task. A path is looked up, a file opened, a mount made as this task sees the world."""

    def __init__(self, channel: Channel, arch: Arch, route: Route, pid: int) -> None:
        self.channel = channel
        self.arch = arch
        self.route = route
        #: As its parent saw it.
        self.pid = pid

    def _number(self, name: str) -> int:
        try:
            return self.arch.syscalls[name]
        except KeyError:
            raise AttributeError(f"harness/arch/syscalls.py does not know {name}") from None

    @property
    def ended(self) -> bool:
        """Whether the task is known to be gone."""
        return self.channel.gone(self.route)

    # -- calling ------------------------------------------------------------------------------------------

    def start(self, name: str, *arguments: Argument) -> Pending:
        """Ask for a system call and do not wait for it."""
        batch = Batch()
        batch.add(self._number(name), arguments)
        return Pending(self, self.channel.post(Op.CALL, self.route, batch.pack()), batch, _show(name, arguments))

    def call(self, name: str, *arguments: Argument) -> int:
        """Do a system call; int are plain, str and bytes go by address, Out comes back. Raises SyscallError."""
        return self.start(name, *arguments).result()

    def outcome(self, name: str, *arguments: Argument) -> str:
        """``ok``, or the name of the error with which the kernel refused."""
        try:
            self.call(name, *arguments)
        except SyscallError as error:
            return errno_name(error.errno or 0)
        return "ok"

    def _batch(self, batch: Batch) -> list[int]:
        number = self.channel.post(Op.CALL, self.route, batch.pack())
        return batch.unpack(self.channel.answer(number, self.route))

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

    # -- files --------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int = abi.O_RDONLY, mode: int = 0) -> int:
        """A descriptor, in this task."""
        return self.call("openat", abi.AT_FDCWD, path, flags | abi.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """close(2)."""
        self.call("close", fd)

    def read_file(self, path: str) -> bytes:
        """The whole file; also of /proc, where a read gives less than asked for."""
        batch = Batch()
        fd = batch.add(self._number("openat"), (abi.AT_FDCWD, path, abi.O_CLOEXEC))
        parts = [Out(CHUNK, limit=True) for _ in range(_READS)]
        for part in parts:
            batch.add(self._number("read"), (fd, part, CHUNK))
        opened, *reads = self._batch(batch)
        if opened < 0:
            raise SyscallError(-opened, f"open({path!r})")
        try:
            while reads[-1] > 0:
                parts.append(Out(CHUNK, limit=True))
                reads.append(self.call("read", opened, parts[-1], CHUNK))
            failed = next((read for read in reads if read < 0), 0)
            if failed:
                raise SyscallError(-failed, f"read({path!r})")
        finally:
            self.close(opened)
        return b"".join(part.value for part in parts)

    def read_text(self, path: str) -> str:
        """The whole file as text."""
        return self.read_file(path).decode(errors="replace")

    def read_small(self, paths: Sequence[str], size: int = 512) -> dict[str, bytes]:
        """The first ``size`` bytes of each file in one message; those that cannot be opened are left out."""
        found: dict[str, bytes] = {}
        for first in range(0, len(paths), 40):
            some = paths[first : first + 40]
            batch, outs = Batch(), [Out(size, limit=True) for _ in some]
            for path, out in zip(some, outs, strict=True):
                fd = batch.add(self._number("openat"), (abi.AT_FDCWD, path, abi.O_CLOEXEC))
                batch.add(self._number("read"), (fd, out, size))
                batch.add(self._number("close"), (fd,))
            reads = self._batch(batch)[1::3]
            found |= {path: out.value for path, out, read in zip(some, outs, reads, strict=True) if read >= 0}
        return found

    def write_file(
        self, path: str, data: bytes | str, flags: int = abi.O_CREAT | abi.O_TRUNC, mode: int = 0o644
    ) -> None:
        """Put ``data`` into the file, made if it is not there."""
        data = data.encode() if isinstance(data, str) else data
        fd = self.open(path, abi.O_WRONLY | flags, mode)
        try:
            for at in range(0, len(data) or 1, CHUNK):
                piece = data[at : at + CHUNK]
                self.call("write", fd, piece, len(piece))
        finally:
            self.close(fd)

    def copy(self, source: str, target: str, mode: int) -> None:
        """Copy a file inside the guest."""
        fd, new = self.open(source), self.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, mode)
        while self.call("sendfile", new, fd, 0, 1 << 20):
            pass
        self.close(fd)
        self.close(new)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, without ``.`` and ``..``, sorted."""
        fd = self.open(path)
        names: list[str] = []
        try:
            while True:
                out = Out(4 * CHUNK, limit=True)
                if not self.call("getdents64", fd, out, out.size):
                    return sorted(set(names) - {".", ".."})
                names += abi.dirents(out.value)
        finally:
            self.close(fd)

    def exists(self, path: str) -> bool:
        """Whether the path leads to something."""
        return self.outcome("faccessat", abi.AT_FDCWD, path, 0) == "ok"

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        """mkdir(2)."""
        self.call("mkdirat", abi.AT_FDCWD, path, mode)

    def makedirs(self, *paths: str) -> None:
        """mkdir(2) for each that is not there yet, parents first."""
        for path in paths:
            if not self.exists(path):
                self.mkdir(path)

    def readlink(self, path: str) -> str:
        """readlink(2)."""
        out = Out(4096, limit=True)
        self.call("readlinkat", abi.AT_FDCWD, path, out, out.size)
        return out.value.decode()

    def statfs(self, path: str) -> abi.Statfs:
        """statfs(2)."""
        out = Out(abi.Statfs.SIZE)
        self.call("statfs", path, out)
        return abi.Statfs.unpack(out.value)

    def statfs_each(self, paths: Sequence[str]) -> dict[str, abi.Statfs]:
        """statfs(2) of each path, in few messages; those that lead nowhere are left out."""
        found: dict[str, abi.Statfs] = {}
        for first in range(0, len(paths), 100):
            some = paths[first : first + 100]
            batch, outs = Batch(), [Out(abi.Statfs.SIZE) for _ in some]
            for path, out in zip(some, outs, strict=True):
                batch.add(self._number("statfs"), (path, out))
            for path, out, result in zip(some, outs, self._batch(batch), strict=True):
                if result == 0:
                    found[path] = abi.Statfs.unpack(out.value)
        return found

    def statx(self, path: str, flags: int = abi.AT_SYMLINK_NOFOLLOW, dirfd: int = abi.AT_FDCWD) -> abi.Statx:
        """statx(2), of the link itself by default."""
        out = Out(abi.Statx.SIZE)
        self.call("statx", dirfd, path, flags, abi.STATX_ALL, out)
        return abi.Statx.unpack(out.value)

    def file_system_state(self, pid: int | str) -> tuple[abi.Statx, str, str]:
        """Where a task is: its root (device, inode, mount), where its cwd points, and its umask."""
        umask = next(line for line in self.read_text(f"/proc/{pid}/status").splitlines() if line.startswith("Umask:"))
        return self.statx(f"/proc/{pid}/root", 0), self.readlink(f"/proc/{pid}/cwd"), umask

    # -- its file system state ----------------------------------------------------------------------------

    def chdir(self, path: str) -> None:
        """chdir(2)."""
        self.call("chdir", path)

    def chroot(self, path: str) -> None:
        """chroot(2), and to the new root's top."""
        self.call("chroot", path)
        self.chdir("/")

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

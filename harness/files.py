# SPDX-License-Identifier: GPL-2.0-only
"""What a task in the guest does with files: each verb is one or a few system calls, in as few messages as possible."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from harness import abi
from harness.calls import Calls, Request, SyscallError
from harness.protocol import DATA_MAX, Out, Ref

# A failure is shown where the check asks, not where the answer is found wanting (pytest).
__tracebackhide__ = True

#: Bytes read from a file in one system call.
CHUNK = 8192
#: Bytes of a file that have one checksum.
SUMMED = DATA_MAX // 2
#: Bytes that are read from a directory in one system call.
LISTED = 3 * CHUNK
#: Bytes of the longest file that is copied.
COPIED = 1 << 20
#: Reads that are tried before it is known how long a file is.
_READS = 3
#: Files that are looked at in one message; each may need three system calls and 512 bytes.
_PORTION = 100


class Files(Calls):
    """A task with files. A path is looked up, a file opened as this task sees the world."""

    def open(self, path: str, flags: int = abi.O_RDONLY, mode: int = 0) -> int:
        """A descriptor, in this task."""
        return self.call("openat", abi.AT_FDCWD, path, flags | abi.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """close(2)."""
        self.call("close", fd)

    def read_file(self, path: str) -> bytes:
        """The whole file; also of /proc, where a read gives less than asked for."""
        parts = [Out(CHUNK, limit=True) for _ in range(_READS)]
        reads: list[Request] = [("read", Ref(0), part, CHUNK) for part in parts]
        opened, *counts, _ = self.calls(_open(path), *reads, ("close", Ref(0)))
        if opened < 0:
            raise SyscallError(-opened, f"open({path!r})")
        if counts[-1] > 0:  # there is more
            return b"".join(out.value for out in self._pieces(path, "read", 4 * CHUNK))
        failed = next((count for count in counts if count < 0), 0)
        if failed:
            raise SyscallError(-failed, f"read({path!r})")
        return b"".join(part.value for part in parts)

    def _pieces(self, path: str, call: str, size: int, *, sum: bool = False) -> Iterator[Out]:  # noqa: A002
        """What each ``call`` gives of up to ``size`` bytes, until one gives nothing."""
        fd = self.open(path)
        try:
            while self.call(call, fd, out := Out(size, limit=True, sum=sum), size):
                yield out
        finally:
            self.close(fd)

    def checksums(self, path: str) -> list[tuple[int, int]]:
        """The length and the CRC-32 of each piece of ``SUMMED`` bytes of a file, which itself stays in the guest."""
        return [(out.count, out.crc) for out in self._pieces(path, "read", SUMMED, sum=True)]

    def read_text(self, path: str) -> str:
        """The whole file as text."""
        return self.read_file(path).decode(errors="replace")

    def read_small(self, paths: Sequence[str], size: int = 512) -> dict[str, bytes]:
        """The first ``size`` bytes of each file, in few messages; those that cannot be opened are left out."""
        found: dict[str, bytes] = {}
        for some in _portions(paths):
            outs = [Out(size, limit=True) for _ in some]
            requests: list[Request] = []
            for path, out in zip(some, outs, strict=True):
                fd = Ref(len(requests))
                requests += [_open(path), ("read", fd, out, size), ("close", fd)]
            reads = self.calls(*requests)[1::3]
            found |= {path: out.value for path, out, read in zip(some, outs, reads, strict=True) if read >= 0}
        return found

    def write_file(
        self, path: str, data: bytes | str, flags: int = abi.O_CREAT | abi.O_TRUNC, mode: int = 0o644
    ) -> None:
        """Put ``data`` into the file, made if it is not there."""
        data = data.encode() if isinstance(data, str) else data
        pieces = [data[at : at + CHUNK] for at in range(0, len(data) or 1, CHUNK)]
        opening = ("openat", abi.AT_FDCWD, path, abi.O_WRONLY | flags | abi.O_CLOEXEC, mode)
        if len(pieces) == 1:
            self.all(opening, ("write", Ref(0), data, len(data)), ("close", Ref(0)))
            return
        fd = self.open(path, abi.O_WRONLY | flags, mode)
        try:
            for piece in pieces:
                self.call("write", fd, piece, len(piece))
        finally:
            self.close(fd)

    def copy(self, source: str, target: str, mode: int) -> None:
        """Copy a file inside the guest, of at most COPIED bytes. Raises SyscallError."""
        flags = abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL | abi.O_CLOEXEC
        opening = (_open(source), ("openat", abi.AT_FDCWD, target, flags, mode))
        self.all(*opening, ("sendfile", Ref(1), Ref(0), 0, COPIED), ("close", Ref(0)), ("close", Ref(1)))

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, without ``.`` and ``..``, sorted."""
        some, more = Out(LISTED, limit=True), Out(LISTED, limit=True)
        reads: list[Request] = [("getdents64", Ref(0), out, LISTED) for out in (some, more)]
        counts = self.all(_open(path), *reads, ("close", Ref(0)))
        found = [some, more]
        if counts[2]:  # there may be still more
            found = list(self._pieces(path, "getdents64", LISTED))
        names = {name for out in found for name in abi.dirents(out.value)}
        return sorted(names - {".", ".."})

    def exists(self, path: str) -> bool:
        """Whether the path leads to something."""
        return self.outcome("faccessat", abi.AT_FDCWD, path, 0) == "ok"

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        """mkdir(2)."""
        self.call("mkdirat", abi.AT_FDCWD, path, mode)

    def makedirs(self, *paths: str) -> None:
        """mkdir(2) for each that is not there yet, parents first."""
        results = self.calls(*(("mkdirat", abi.AT_FDCWD, path, 0o755) for path in paths))
        for path, result in zip(paths, results, strict=True):
            if result < 0 and result != -errno.EEXIST:
                raise SyscallError(-result, f"mkdir({path!r})")

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
        for some in _portions(paths):
            outs = [Out(abi.Statfs.SIZE) for _ in some]
            results = self.calls(*(("statfs", path, out) for path, out in zip(some, outs, strict=True)))
            for path, out, result in zip(some, outs, results, strict=True):
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


def _open(path: str) -> Request:
    return "openat", abi.AT_FDCWD, path, abi.O_CLOEXEC


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(paths), _PORTION):
        yield paths[first : first + _PORTION]

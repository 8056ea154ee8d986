# SPDX-License-Identifier: GPL-2.0-only
"""io_uring without a library: what is in a task's memory is put there by its own system calls. No checks here."""

from __future__ import annotations

import struct

from harness import abi
from harness.calls import Request
from harness.protocol import Out
from harness.task import Task

#: struct io_uring_params: entries of both rings, the offsets of io_sqring_offsets and of io_cqring_offsets.
_PARAMS = struct.Struct("<II32x8I8x8I8x")
_ENTRIES = 8
#: struct io_uring_sqe, as far as an open needs it: opcode, flags, fd, addr, len (the mode), open_flags.
_OPEN = struct.Struct("<BBxxi8xQII32x")
#: struct io_uring_cqe.
_DONE = struct.Struct("<QiI")
#: Where in the page of the submissions the path is; only the first submission is ever used.
_PATH = _OPEN.size
_PAGE = 4096


class Ring:
    """An io_uring of that task, which stays its own. Raises SyscallError."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._opened = 0
        self._memory = task.call("memfd_create", "ring", 0)
        self._fd = task.call("io_uring_setup", _ENTRIES, out := Out(_PARAMS.size))
        _, completions, *offsets = _PARAMS.unpack(out.value)
        self._tail, done = offsets[1], offsets[8 + 5]
        self._ring = self._map(done + completions * _DONE.size, 0)
        self._submission = self._map(_PAGE, abi.IORING_OFF_SQES)
        self._done = self._ring + done

    def _map(self, size: int, offset: int) -> int:
        shared = abi.PROT_READ | abi.PROT_WRITE, abi.MAP_SHARED | abi.MAP_POPULATE
        return self.task.call("mmap", 0, size, *shared, self._fd, offset)

    def _poke(self, address: int, data: bytes) -> list[Request]:
        # By way of a file: no other system call takes two addresses of one's own.
        size = len(data)
        return [("pwrite64", self._memory, data, size, 0), ("pread64", self._memory, address, size, 0)]

    def open(self, path: str) -> int:
        """A descriptor for reading, that a worker has opened (IOSQE_ASYNC); a negative errno if it could not."""
        self._opened += 1
        cwd = abi.AT_FDCWD - (1 << 32)
        wanted = _OPEN.pack(abi.IORING_OP_OPENAT, abi.IOSQE_ASYNC, cwd, self._submission + _PATH, 0, abi.O_RDONLY)
        done = self._done + (self._opened - 1) * _DONE.size
        *_, read = self.task.all(
            *self._poke(self._submission, wanted + path.encode() + b"\0"),
            *self._poke(self._ring + self._tail, struct.pack("<I", self._opened)),
            ("io_uring_enter", self._fd, 1, self._opened, abi.IORING_ENTER_GETEVENTS, 0, 0),
            ("pwrite64", self._memory, done, _DONE.size, 0),
            ("pread64", self._memory, out := Out(_DONE.size), _DONE.size, 0),
        )
        assert read == _DONE.size
        return int(_DONE.unpack(out.value)[1])

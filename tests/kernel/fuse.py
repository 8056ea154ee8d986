# SPDX-License-Identifier: GPL-2.0-only
"""A FUSE file system that holds whoever looks up a name in it, and then says that there is none. No checks here.

Its words are those of include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness import abi
from harness.calls import Pending
from harness.guest import Guest
from harness.protocol import Out
from harness.task import Task

LOOKUP, INIT = 1, 26
#: struct fuse_in_header, fuse_out_header, and as much of fuse_init_out as is not zero: its version and max_write.
_IN, _OUT, _INIT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ"), struct.Struct("<IIIIHHI40x")
#: The version that is spoken; a newer kernel goes down to it.
_VERSION = (7, 31)
#: FUSE_MIN_READ_BUFFER; whoever reads with less is refused. It has room for the longest name, too.
_READ = 8192
_WRITE = 4096
_ENOENT = 2


@dataclass(frozen=True)
class Request:
    """What the kernel asks for, on behalf of task ``pid``, which waits for the answer."""

    opcode: int
    unique: int
    pid: int


class Holder:
    """The file system and the task that serves it; nobody else waits when it does."""

    def __init__(self, guest: Guest, path: str) -> None:
        """Mount it at ``path``."""
        guest.load_module("fuse")
        self.task: Task = guest.spawn()
        self.fd = self.task.open("/dev/fuse", abi.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        self.task.mount("fuse", path, "fuse", 0, options)
        self._read()

    def _read(self) -> None:
        self._out = Out(_READ, limit=True)
        self._reading = self.task.start("read", self.fd, self._out, _READ)

    def _answer(self, request: Request, error: int, body: bytes = b"") -> None:
        answer = _OUT.pack(_OUT.size + len(body), -error, request.unique) + body
        self.task.call("write", self.fd, answer, len(answer))

    def next(self, unless: Pending | Task) -> Request | None:
        """The next request, whose task waits; None when ``unless`` ends first. Raises SyscallError."""
        while True:
            self.task.channel.wait_for(lambda: self._reading.ended or unless.ended)
            if not self._reading.ended:
                return None
            self._reading.result()
            _, opcode, unique, _, _, _, pid, _ = _IN.unpack_from(self._out.value)
            request = Request(opcode, unique, pid)
            if opcode != INIT:
                return request
            self._answer(request, 0, _INIT.pack(*_VERSION, 0, 0, 0, 0, _WRITE))
            self._read()

    def refuse(self, request: Request, until: Pending | Task) -> None:
        """There is no such file, nor is there any other that is asked for until ``until`` ends."""
        asked: Request | None = request
        while asked:
            self._answer(asked, _ENOENT)
            self._read()
            asked = self.next(until)

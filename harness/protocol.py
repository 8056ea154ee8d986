# SPDX-License-Identifier: GPL-2.0-only
"""The channel between host and agent: messages, in frames (harness/wire.py) on the console line.

The other end is initramfs/agent.c. Kernel messages come on the
same line at any moment, also in the middle of a frame; ``Demultiplexer`` takes the two apart again.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from harness.wire import BEGIN, END, decode

#: As in initramfs/wire.h, in bytes.
MESSAGE_MAX = 48 * 1024
#: What one OP_CALL may have as data, in bytes (DATA_MAX in initramfs/agent.c).
DATA_MAX = 64 * 1024

# ASCII, whole UTF-8 characters (a lead byte and its continuations), frame marks, frame data.
_TOKEN = re.compile(
    rb"(?P<text>(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})+)"
    rb"|(?P<data>[\x80-\xbf]+)|(?P<mark>[\xc0\xc1])|(?P<other>.)",
    re.DOTALL,
)
# The beginning of a UTF-8 character at the end of what has been read so far.
_CUT = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")


class Op(IntEnum):
    """What the host asks for."""

    CALL = 0
    SPAWN = 1
    REPEAT = 2


class Say(IntEnum):
    """What the agent says. Not the numbers of Op: a request that a terminal echoes must not pass for an answer."""

    RESULT = 16
    READY = 17
    HELLO = 18
    GONE = 19
    DAMAGED = 20


_HEADER = struct.Struct("<IBB10s")
#: Hops a route can have.
ROUTE_MAX = 10


@dataclass(frozen=True)
class Message:
    """One message either way. ``route`` names a task: one child index for each hop from PID 1."""

    id: int
    op: int
    route: tuple[int, ...] = ()
    body: bytes = b""

    def pack(self) -> bytes:
        """The bytes inside a frame."""
        return _HEADER.pack(self.id, self.op, len(self.route), bytes(self.route)) + self.body

    @classmethod
    def unpack(cls, data: bytes) -> Message:
        """The message in ``data``. Raises ValueError if it is too short to be one."""
        if len(data) < _HEADER.size:
            raise ValueError(f"a message of {len(data)} bytes")
        number, op, hops, route = _HEADER.unpack_from(data)
        return cls(number, op, tuple(route[: min(hops, ROUTE_MAX)]), data[_HEADER.size :])


@dataclass
class Demultiplexer:
    """Takes what came over the line apart into the agent's messages and the kernel's text."""

    damaged: int = 0
    _held: bytes = b""
    _frame: bytearray | None = field(default=None)

    def feed(self, data: bytes) -> tuple[list[Message], bytes]:
        """The messages that ``data`` completes, and the text in it. Damaged frames are counted, not returned."""
        data = self._held + data
        self._held = b""
        if cut := _CUT.search(data):
            self._held, data = cut.group(), data[: cut.start()]
        messages: list[Message] = []
        text = bytearray()
        for token in _TOKEN.finditer(data):
            kind, value = token.lastgroup, token.group()
            if kind == "data" and self._frame is not None:
                self._frame += value
            elif value == BEGIN:
                self.damaged += self._frame is not None
                self._frame = bytearray()
            elif value == END:
                self._finish(messages)
            else:
                text += value
        return messages, bytes(text)

    def _finish(self, messages: list[Message]) -> None:
        if self._frame is None:
            return
        try:
            messages.append(Message.unpack(decode(bytes(self._frame))))
        except ValueError:
            self.damaged += 1
        self._frame = None


class Out:
    """An output buffer of a call: ``size`` bytes, ``value`` afterwards.

    ``start`` is what it holds before; ``limit`` says that the call's result is the number of good bytes.
    With ``sum`` they stay in the guest, and only ``count`` and ``crc``, their CRC-32, come back.
    """

    def __init__(self, size: int, start: bytes = b"", *, limit: bool = False, sum: bool = False) -> None:  # noqa: A002
        self.size = size
        self.start = start
        self.limit = limit
        self.sum = sum
        self.value = b""
        self.count = self.crc = 0


@dataclass(frozen=True)
class Ref:
    """An argument that is the result of an earlier call of the same batch."""

    call: int


@dataclass(frozen=True)
class Pointers:
    """A structure with pointers in it: ``data``, and for each offset in ``at`` what it shall point to.

    Where one of them is an ``Out``, what the kernel has made of it comes back.
    """

    data: bytes | Out
    at: tuple[tuple[int, bytes | Out], ...]


Argument = int | str | bytes | Out | Ref | Pointers

_BATCH = struct.Struct("<HHHHII")
_CALL = struct.Struct("<I6s6x6Q")
_SLICE = struct.Struct("<IIHH")
_NO_LIMIT = 0xFFFF
_PLAIN, _DATA, _RESULT = 0, 1, 2


class Batch:
    """System calls that go over in one message and are done one after the other in one task."""

    def __init__(self) -> None:
        self._calls: list[bytes] = []
        self._pointers: list[int] = []
        self._slices: list[tuple[Out, int, int]] = []
        self._given = bytearray()

    def add(self, number: int, arguments: Sequence[Argument]) -> Ref:
        """Add system call ``number``; a str is a path, bytes are a buffer, both are passed by address."""
        kinds, values = bytearray(6), [0] * 6
        for place, argument in enumerate(arguments):
            kinds[place], values[place] = self._argument(argument)
        self._calls.append(_CALL.pack(number, bytes(kinds), *values))
        return Ref(len(self._calls) - 1)

    def _argument(self, argument: Argument) -> tuple[int, int]:
        if isinstance(argument, int):
            return _PLAIN, argument & 0xFFFFFFFFFFFFFFFF
        if isinstance(argument, Ref):
            return _RESULT, argument.call
        if isinstance(argument, Pointers):
            at = self._place(argument.data)
            for offset, target in argument.at:
                struct.pack_into("<Q", self._given, at + offset, self._place(target))
                self._pointers.append(at + offset)
            return _DATA, at
        return _DATA, self._place(argument.encode() + b"\0" if isinstance(argument, str) else argument)

    def _place(self, data: bytes | Out) -> int:
        self._given += bytes(-len(self._given) % 16)  # structures want their alignment
        at = len(self._given)
        if isinstance(data, Out):
            self._slices.append((data, at, len(self._calls) if data.limit else _NO_LIMIT))
            data = data.start.ljust(data.size, b"\0")
        self._given += data
        return at

    def pack(self) -> bytes:
        """The body of an Op.CALL. Raises ValueError if it is too much for one message."""
        given = bytes(self._given).rstrip(b"\0")  # the agent fills up with zeroes
        slices = b"".join(_SLICE.pack(at, out.size, limit, out.sum) for out, at, limit in self._slices)
        body = (
            _BATCH.pack(len(self._calls), len(self._pointers), len(self._slices), 0, len(given), len(self._given))
            + b"".join(self._calls)
            + struct.pack(f"<{len(self._pointers)}I", *self._pointers)
            + slices
            + given
        )
        if len(self._given) > DATA_MAX or len(body) + _HEADER.size > MESSAGE_MAX:
            raise ValueError(f"{len(self._given)} bytes of data are too much for one message")
        return body

    def unpack(self, body: bytes) -> list[int]:
        """What the calls returned (negative errno as the kernel gives it); fills the ``Out`` buffers."""
        if len(body) < 8 * len(self._calls):
            raise ValueError(f"the agent refused the batch: {struct.unpack_from('<q', body)[0]}")
        results = list(struct.unpack_from(f"<{len(self._calls)}q", body))
        at = 8 * len(self._calls)
        for out, _, _ in self._slices:
            (out.count,) = struct.unpack_from("<I", body, at)
            at += 4
            if out.sum:
                (out.crc,) = struct.unpack_from("<I", body, at)
                at += 4
            else:
                out.value = body[at : at + out.count]
                at += out.count
        return results

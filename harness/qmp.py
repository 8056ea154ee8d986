# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor, spoken over a socket pair (docs/interop/qmp-spec.rst of QEMU).

A dozen lines of our own in place of the qemu.qmp package: that starts an asyncio loop for each connection, which
cost each fork a third of its time, and took an event that came before its greeting for a broken session.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Any

from harness.deadline import Deadline
from harness.errors import HostError


class Monitor:
    """One conversation with one QEMU: commands one after the other, events kept until somebody asks for them."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._unread = b""
        self._events: deque[dict[str, Any]] = deque()
        self._greeted = False

    def command(self, name: str, deadline: Deadline, *, fd: int | None = None, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """What QEMU returns for a command; an underscore in an argument's name stands for a hyphen.

        ``fd`` goes along, as `getfd` wants it.

        Raises HostError when QEMU refuses, goes away or does not answer.
        """
        if not self._greeted:
            self._greeted = True
            self._read(deadline)
            self.command("qmp_capabilities", deadline)
        named = {word.replace("_", "-"): value for word, value in arguments.items()}
        request = {"execute": name} | ({"arguments": named} if named else {})
        try:
            socket.send_fds(self._line, [json.dumps(request).encode()], [] if fd is None else [fd])
        except OSError as error:
            raise HostError(f"QEMU went away before {name}", cause=str(error)) from error
        while True:
            answer = self._read(deadline)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise HostError(f"QEMU refused {name}", cause=answer["error"]["desc"])
            self._events.append(answer)

    def event(self, name: str, deadline: Deadline) -> dict[str, Any]:
        """The data of the next event ``name``; earlier events of other names are forgotten. Raises HostError."""
        while True:
            event = self._events.popleft() if self._events else self._read(deadline)
            if event.get("event") == name:
                return dict(event.get("data", {}))

    def _read(self, deadline: Deadline) -> dict[str, Any]:
        while b"\n" not in self._unread:
            self._line.settimeout(deadline.left() or 0.001)
            try:
                data = self._line.recv(65536)
            except TimeoutError as error:
                raise HostError(f"QEMU's monitor was silent for {deadline.seconds:.0f} s") from error
            except ConnectionError:
                data = b""
            if not data:
                raise HostError("QEMU went away")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return dict(json.loads(line))

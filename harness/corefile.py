# SPDX-License-Identifier: GPL-2.0-only
"""Reads a core file as a debugger would: through its notes."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import IO

from harness import abi
from harness.files import CHUNK
from harness.protocol import Out
from harness.task import Task

#: What gdb and systemd-coredump want to find (fs/binfmt_elf.c: fill_note_info()).
NEEDED_NOTES = frozenset({"NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE"})
# struct elf_prstatus (include/linux/elfcore.h) of a 64-bit kernel: si_signo, pr_cursig, pr_pid.
_PRSTATUS = struct.Struct("<i8xh18xi")


@dataclass(frozen=True)
class Core:
    """What a core file says."""

    machine: str
    pid: int
    signal: int
    notes: frozenset[str]
    #: Bytes of memory in it.
    memory: int


def read(stream: IO[bytes]) -> Core:
    """The facts in a core file; reads only headers and notes. Raises AssertionError if it is none."""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - slow to import, and few checks read cores
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import NoteSegment  # noqa: PLC0415

    try:
        elf = ELFFile(stream)
        assert elf.header["e_type"] == "ET_CORE", f"an ELF file of type {elf.header['e_type']}, not a core"
        notes = [note for part in elf.iter_segments() if isinstance(part, NoteSegment) for note in part.iter_notes()]
        memory = sum(part["p_filesz"] for part in elf.iter_segments("PT_LOAD"))
    except ELFError as error:
        raise AssertionError(f"not an ELF file: {error}") from error
    status = next((note for note in notes if note["n_type"] == "NT_PRSTATUS"), None)
    assert status is not None, "the core file has no NT_PRSTATUS"
    desc = status["n_desc"]
    _, signal, pid = _PRSTATUS.unpack_from(desc.encode("latin-1") if isinstance(desc, str) else desc)
    return Core(elf.header["e_machine"], pid, signal, frozenset(note["n_type"] for note in notes), memory)


class GuestFile(io.RawIOBase):
    """A file of the guest, read piece by piece as it is asked for; seekable, read-only."""

    def __init__(self, task: Task, path: str) -> None:
        super().__init__()
        self._task = task
        self._fd = task.open(path)
        self._at = 0
        self.length = task.statx("", abi.AT_EMPTY_PATH, self._fd).size

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As in io.IOBase."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence]
        return self._at

    def tell(self) -> int:
        """As in io.IOBase."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As in io.RawIOBase."""
        out = Out(min(len(buffer), CHUNK), limit=True)
        got = self._task.call("pread64", self._fd, out, out.size, self._at)
        buffer[:got] = out.value
        self._at += got
        return got

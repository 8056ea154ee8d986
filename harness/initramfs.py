# SPDX-License-Identifier: GPL-2.0-only
"""Initramfs images: cpio archives made from a list of what is in them, the same bytes for the same list.

The lists are jinja2 templates in initramfs/, in the words of the kernel's usr/gen_init_cpio.c; the archives
are written by virtme-ng's CpioWriter (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from harness import resources
from harness.errors import RequestError

#: Ways to pack an archive that both the kernel and Python know. xz: the kernel has only CRC32
#: (Documentation/staging/xz.rst). zstd, lz4 and lzo are not in Python's standard library.
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
}

_TYPES = {"dir": stat.S_IFDIR, "file": stat.S_IFREG, "slink": stat.S_IFLNK, "pipe": stat.S_IFIFO, "sock": stat.S_IFSOCK}


@dataclass(frozen=True)
class Entry:
    """One file of an archive, of any kind. ``mode`` has the type in it, as in stat(2)."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    rdev: tuple[int, int] = (0, 0)
    body: bytes = b""
    links: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its path and its hard links."""
        return (self.path, *self.links)


@dataclass
class Archive:
    """One cpio archive of an image, and how it is packed."""

    packing: str = "none"
    entries: list[Entry] = field(default_factory=list)

    def pack(self) -> bytes:
        """Its bytes."""
        from virtme.cpiowriter import CpioWriter, FileMetaData  # noqa: PLC0415 - an image is packed once

        out = io.BytesIO()
        writer = CpioWriter(out)
        for number, entry in enumerate(self.entries, start=1):
            for place, name in enumerate(entry.names):
                # The kernel takes the body with the first name it meets that has one (init/initramfs.c: maybe_link()).
                meta = FileMetaData(
                    ino=number,
                    nlink=len(entry.names),
                    uid=entry.uid,
                    gid=entry.gid,
                    mtime=entry.mtime,
                    rdevmajor=entry.rdev[0],
                    rdevminor=entry.rdev[1],
                )
                writer.write_object(name.lstrip("/").encode(), entry.body if place == 0 else b"", entry.mode, meta)
        writer.write_trailer()
        return PACKINGS[self.packing](out.getvalue())


def pattern(size: int) -> bytes:
    """``size`` bytes that look random and are always the same."""
    blocks = (hashlib.sha256(b"%d" % number).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def read_list(text: str, files: Mapping[str, bytes]) -> list[Archive]:
    """The archives that a list describes. ``files`` are the bodies that it may name.

    Raises RequestError for a line that is none.
    """
    archives: list[Archive] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            if words[0] == "archive":
                archives.append(Archive(words[1]))
                continue
            if not archives:
                archives.append(Archive())
            archives[-1].entries.append(_entry(words, files))
        except (ValueError, IndexError, KeyError) as error:
            raise RequestError(f"line {number} of the initramfs list is not understood: {line}") from error
    return archives


def _entry(words: list[str], files: Mapping[str, bytes]) -> Entry:
    mtime = 0
    if words[-1].startswith("mtime="):
        mtime = int(words[-1].removeprefix("mtime="))
        words = words[:-1]
    kind, path = words[0], words[1]
    body, rest = b"", words[2:]
    if kind == "file":
        body, rest = _body(rest[0], files), rest[1:]
    elif kind == "slink":
        body, rest = rest[0].encode(), rest[1:]
    mode, uid, gid = int(rest[0], 8), int(rest[1]), int(rest[2])
    rdev, links = (0, 0), tuple(rest[3:])
    if kind == "nod":
        mode |= stat.S_IFBLK if rest[3] == "b" else stat.S_IFCHR
        rdev, links = (int(rest[4]), int(rest[5])), ()
    else:
        mode |= _TYPES[kind]
    return Entry(path, mode, uid, gid, mtime, rdev, body, links)


def _body(location: str, files: Mapping[str, bytes]) -> bytes:
    how, _, value = location.partition(":")
    if how == "text":
        return value.encode()
    if how == "pattern":
        return pattern(int(value))
    return files[location]


def _unpack_list() -> str:
    # No template: the check reads it in the middle of a run, and jinja2 would have to be imported for it.
    return (resources.directory("initramfs") / "unpack.list").read_text(encoding="utf-8")


def unpack_entries() -> Iterator[Entry]:
    """What the check ``initramfs`` must find, in the order in which the kernel sees it."""
    for archive in read_list(_unpack_list(), {}):
        yield from archive.entries


def own(agent: Path) -> list[Entry]:
    """What every guest has: the agent, and places to mount on."""
    text = resources.render("initramfs", "guest.list.j2", agent="agent")
    return [entry for archive in read_list(text, {"agent": agent.read_bytes()}) for entry in archive.entries]


def of_profile(name: str) -> list[Archive]:
    """What only guests of that profile have, if there is a list of it."""
    path = resources.directory("initramfs") / f"{name}.list"
    return read_list(path.read_text(encoding="utf-8"), {}) if path.is_file() else []


def build(agent: Path) -> bytes:
    """The image that every guest boots: the agent, and the archives that the check ``initramfs`` looks for."""
    return join(b"", [Archive(entries=own(agent)), *read_list(_unpack_list(), {})])


def join(image: bytes, archives: Iterable[Archive]) -> bytes:
    """``image`` with more archives behind it."""
    for archive in archives:
        # An uncompressed archive begins at a multiple of four bytes; zeroes between archives are skipped.
        image += bytes(-len(image) % 4) + archive.pack()
    return image


def tree(files: Mapping[str, bytes]) -> Archive:
    """An archive of plain files by path, with the directories above them."""
    above = {str(parent) for path in files for parent in PurePosixPath(path).parents if parent.name}
    directories = [Entry(path, stat.S_IFDIR | 0o755) for path in sorted(above)]
    return Archive(entries=directories + [Entry(path, stat.S_IFREG | 0o644, body=files[path]) for path in files])

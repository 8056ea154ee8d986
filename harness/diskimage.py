# SPDX-License-Identifier: GPL-2.0-only
"""Disks with a root on them: small ext4 and EROFS file systems, made from what an initramfs would be made from.

No program of the host makes them: mkfs.erofs is seldom there, and who is not root could make no device nodes.
Documentation/filesystems/ext4/, fs/ext4/ext4.h and fs/erofs/erofs_fs.h are where the formats are from.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from harness.initramfs import Entry

BLOCK = 4096
#: ext4: the inode of the root, and the first one that is free for anything, which lost+found always gets.
_EXT4_ROOT, _EXT4_FIRST = 2, 11
_EXT4_INODE = 256
#: Where ext4 has the first block of its inodes: behind superblock, group descriptor and the two bitmaps.
_EXT4_TABLE = 4
_EXT4_TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5,
               stat.S_IFSOCK: 6, stat.S_IFLNK: 7}  # fmt: skip
_EROFS_INODE = 32


@dataclass
class Node:
    """A file, its inode's number, and the blocks that it has from ``block`` on."""

    entry: Entry
    number: int
    #: What a directory has, "." and ".." included.
    names: dict[str, Node] = field(default_factory=dict)
    block: int = 0
    body: bytes = b""

    @property
    def kind(self) -> int:
        """What a directory says that it is; both formats use the same numbers."""
        return _EXT4_TYPES[stat.S_IFMT(self.entry.mode)]

    @property
    def links(self) -> int:
        """How many names it has."""
        below = sum(stat.S_ISDIR(node.entry.mode) for name, node in self.names.items() if name not in (".", ".."))
        return 2 + below if self.names else len(self.entry.names)

    @property
    def blocks(self) -> int:
        """How many it has."""
        return -(-len(self.body) // BLOCK)

    @property
    def device(self) -> int:
        """A device's number, small enough to be the same in all encodings (include/linux/kdev_t.h)."""
        major, minor = self.entry.rdev
        return major << 8 | minor


def _nodes(entries: Iterable[Entry], number: Callable[[int], int]) -> list[Node]:
    """The root and all that is below it, the inode of the nth of them numbered by ``number``."""
    root = Node(Entry("/", stat.S_IFDIR | 0o755), number(0))
    root.names = {".": root, "..": root}
    found = {"/": root}
    nodes = [root]
    for entry in entries:
        node = Node(entry, number(len(nodes)))
        nodes.append(node)
        for name in entry.names:
            path = PurePosixPath("/") / name
            above = found[str(path.parent)]
            above.names[path.name] = found[str(path)] = node
        if stat.S_ISDIR(entry.mode):
            node.names = {".": node, "..": above}
    return nodes


def _place(nodes: Iterable[Node], first: int, body: Callable[[Node], bytes]) -> int:
    """Give each node what is in its blocks, and these, from ``first`` on; returns the first block that is free."""
    for node in nodes:
        node.body, node.block = body(node), first
        first += node.blocks
    return first


def _image(blocks: int, pieces: Iterable[tuple[int, bytes]]) -> bytes:
    image = bytearray(blocks * BLOCK)
    for at, piece in pieces:
        image[at : at + len(piece)] = piece
    return bytes(image)


def ext4(entries: Iterable[Entry]) -> bytes:
    """An ext4 file system of one group, with extents and without a journal."""
    found = Entry("/lost+found", stat.S_IFDIR | 0o700)
    nodes = _nodes([found, *entries], lambda nth: _EXT4_FIRST - 1 + nth if nth else _EXT4_ROOT)
    used = nodes[-1].number
    per_block = BLOCK // _EXT4_INODE
    inodes = -(-used // per_block) * per_block
    blocks = _place(nodes, _EXT4_TABLE + inodes // per_block, _ext4_body)
    table = [(_EXT4_TABLE * BLOCK + (node.number - 1) * _EXT4_INODE, _ext4_inode(node)) for node in nodes]
    directories = sum(bool(node.names) for node in nodes)
    group = struct.pack("<IIIHHH", 2, 3, _EXT4_TABLE, 0, inodes - used, directories)
    pieces = [
        (1024, _ext4_superblock(inodes, blocks, inodes - used)),
        (BLOCK, group),
        (2 * BLOCK, _bitmap(blocks, blocks)),
        (3 * BLOCK, _bitmap(used, inodes)),
    ]
    return _image(blocks, [*pieces, *table, *((node.block * BLOCK, node.body) for node in nodes)])


def _bitmap(used: int, there: int) -> bytes:
    """Of those that are ``there`` the first ``used`` are taken; for what is not there, bits are set as well."""
    bits = 8 * BLOCK
    return ((1 << bits) - (1 << there) | (1 << used) - 1).to_bytes(BLOCK, "little")


def _ext4_superblock(inodes: int, blocks: int, free: int) -> bytes:
    sizes = struct.pack("<11I", inodes, blocks, 0, 0, free, 0, 2, 2, 8 * BLOCK, 8 * BLOCK, inodes)
    # Never mounted, at any number of mounts to be checked, ext4, clean, go on after errors; revision 1.
    state = struct.pack("<IIHhHHHHIIIIHH", 0, 0, 0, -1, 0xEF53, 1, 1, 0, 0, 0, 0, 1, 0, 0)
    # First inode, size of one, file types in directories, and extents.
    return sizes + state + struct.pack("<IHHIII", _EXT4_FIRST, _EXT4_INODE, 0, 0, 0x42, 0) + b"nullfs-harness\0\0"


def _ext4_inode(node: Node) -> bytes:
    entry, flags, blocks, size = node.entry, 0, node.blocks, len(node.body)
    if stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode):
        where = struct.pack("<I", node.device)
    elif stat.S_ISLNK(entry.mode):  # where it points is here: less than 60 bytes
        where, size = entry.body, len(entry.body)
    elif not node.blocks and not stat.S_ISREG(entry.mode):
        where = b""
    else:
        flags = 0x80000
        extent = struct.pack("<IHHI", 0, blocks, 0, node.block) if blocks else b""
        where = struct.pack("<HHHHI", 0xF30A, int(blocks > 0), 4, 0, 0) + extent
    times = [entry.mtime] * 3
    head = struct.pack("<HHIIIIIHHIII", entry.mode, entry.uid, size, *times, 0, entry.gid, node.links,
                       blocks * BLOCK // 512, flags, 0)  # fmt: skip
    return head + where.ljust(60, b"\0") + bytes(28) + struct.pack("<H", 32)


def _ext4_body(node: Node) -> bytes:
    data, left = b"", len(node.names)
    if not left:
        return b"" if stat.S_ISLNK(node.entry.mode) else node.entry.body
    for name, other in node.names.items():
        left -= 1
        word = name.encode()
        size = BLOCK - len(data) if not left else (8 + len(word) + 3) // 4 * 4
        data += (struct.pack("<IHBB", other.number, size, len(word), other.kind) + word).ljust(size, b"\0")
    return data


def erofs(entries: Iterable[Entry]) -> bytes:
    """An EROFS file system, of compact inodes and whole blocks, not compressed."""
    nodes = _nodes(entries, lambda nth: nth)
    table = -(-len(nodes) * _EROFS_INODE // BLOCK)
    blocks = _place(nodes, 1 + table, _erofs_body)
    # Magic, no features, 4 KiB blocks, the root, how many inodes, when it was made, blocks, where inodes are.
    head = struct.pack("<IIIBBHQQIIII", 0xE0F5E1E2, 0, 0, 12, 0, 0, len(nodes), 0, 0, blocks, 1, 0)
    superblock = (head + b"nullfs-harness\0\0").ljust(128, b"\0")
    inodes = b"".join(map(_erofs_inode, nodes))
    return _image(blocks, [(1024, superblock), (BLOCK, inodes), *((node.block * BLOCK, node.body) for node in nodes)])


def _erofs_inode(node: Node) -> bytes:
    entry = node.entry
    where = node.device if entry.rdev != (0, 0) else node.block
    return struct.pack("<HHHHIIIIHHI", 0, 0, entry.mode, node.links, len(node.body), 0, where, node.number + 1,
                       entry.uid, entry.gid, 0)  # fmt: skip


def _erofs_body(node: Node) -> bytes:
    if not node.names:
        return node.entry.body
    names = sorted(name.encode() for name in node.names)
    at, head = 12 * len(names), b""
    for name in names:
        other = node.names[name.decode()]
        head += struct.pack("<QHBB", other.number, at, other.kind, 0)
        at += len(name)
    return head + b"".join(names)


#: By the names that profiles use.
FORMATS: dict[str, Callable[[Iterable[Entry]], bytes]] = {"ext4": ext4, "erofs": erofs}

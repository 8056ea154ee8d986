# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and structures of the kernel's user-space interface that both architectures share (include/uapi/)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: -100 as the kernel sees it, an int: four bytes on the line instead of eight.
AT_FDCWD = 0xFFFFFF9C
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100

# asm-generic/fcntl.h; O_DIRECTORY and O_NOFOLLOW differ between architectures, so nothing here needs them.
O_RDONLY, O_WRONLY, O_RDWR = 0, 1, 2
O_CREAT, O_EXCL, O_TRUNC, O_NONBLOCK = 0o100, 0o200, 0o1000, 0o4000
O_CLOEXEC, O_PATH = 0o2000000, 0o10000000
O_TMPFILE_ONLY = 0o20000000  # O_TMPFILE without its O_DIRECTORY

# linux/time.h, linux/random.h
CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207

# linux/sched.h
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
#: What initramfs/agent.c takes for "a thread": CLONE_VM FS FILES SIGHAND THREAD SYSVSEM.
CLONE_THREAD_ALL = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000
#: PF_KTHREAD of include/linux/sched.h, as it shows in the flags field of /proc/PID/stat.
PF_KTHREAD = 0x00200000

# scsi/sg.h
SG_IO = 0x2285
SG_DXFER_TO_DEV = -2

# linux/loop.h, linux/btrfs.h
LOOP_SET_FD = 0x4C00
BTRFS_IOC_ADD_DEV, BTRFS_IOC_DEV_REPLACE = 0x5000940A, 0xCA289435
# linux/audit.h, linux/netlink.h
AUDIT_ADD_RULE, AUDIT_TRIM, AUDIT_DIR, AUDIT_FILTERKEY = 1011, 1014, 107, 210
AUDIT_FILTER_EXIT, AUDIT_ALWAYS, AUDIT_EQUAL = 4, 2, 0x40000000
NETLINK_AUDIT, NLM_F_REQUEST, NLM_F_ACK = 9, 1, 4
# linux/vhost.h
VHOST_SET_OWNER = 0xAF01
# linux/io_uring.h, asm-generic/mman-common.h
IORING_OFF_SQES, IORING_OP_OPENAT, IOSQE_ASYNC, IORING_ENTER_GETEVENTS = 0x10000000, 18, 16, 1
PROT_READ, PROT_WRITE, MAP_SHARED, MAP_POPULATE = 1, 2, 1, 0x8000
# linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
FSCONFIG_CMD_CREATE = 6

# linux/openat2.h
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 1, 2, 4
RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_CACHED = 8, 16, 32

# linux/magic.h
NULL_FS_MAGIC = 0x4E554C4C
TMPFS_MAGIC = 0x01021994
RAMFS_MAGIC = 0x858458F6
EXT4_SUPER_MAGIC = 0xEF53
EROFS_SUPER_MAGIC_V1 = 0xE0F5E1E2
_FSTYPES = {
    NULL_FS_MAGIC: "nullfs",
    TMPFS_MAGIC: "tmpfs",
    RAMFS_MAGIC: "ramfs",
    EXT4_SUPER_MAGIC: "ext4",
    EROFS_SUPER_MAGIC_V1: "erofs",
}

# linux/kcmp.h
KCMP_FS = 3

# linux/wait.h: WNOHANG, __WALL
WNOHANG, WALL = 1, 0x40000000
RLIMIT_STACK, RLIMIT_CORE = 3, 4
RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF
SIGKILL, SIGSEGV = 9, 11
S_IFCHR, S_IFBLK, S_IFIFO = 0o020000, 0o060000, 0o010000
AF_UNIX, AF_INET, AF_AX25, AF_NETLINK = 1, 2, 3, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
SOL_SOCKET, SO_PEERCRED = 1, 17
# linux/sockios.h, linux/if.h
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR = 0x8913, 0x8914, 0x8916
IFF_UP = 1

_STATFS = struct.Struct("<QQQQQQQiiQQQ32x")
_STATX = struct.Struct("<IIQIIIHHQQQQ16s16s16s16sIIIIQ")
_TIME = struct.Struct("<qI4x")
STATX_ALL = 0x1FFF  # the basic ones, STATX_BTIME and STATX_MNT_ID


@dataclass(frozen=True)
class Statfs:
    """struct statfs (asm-generic/statfs.h), what a check needs of it."""

    type: int
    fsid: tuple[int, int]
    bsize: int
    blocks: int
    bfree: int

    SIZE = _STATFS.size

    @property
    def fstype(self) -> str:
        """The type in words, where it is one that checks ask for; nullfs has no word in statfs(1) of its time."""
        return _FSTYPES.get(self.type, hex(self.type))

    @classmethod
    def unpack(cls, data: bytes) -> Statfs:
        """From the kernel's bytes."""
        kind, bsize, blocks, bfree, _, _, _, low, high, *_ = _STATFS.unpack_from(data)
        return cls(kind, (low, high), bsize, blocks, bfree)


@dataclass(frozen=True)
class Statx:
    """struct statx (linux/stat.h), what a check needs of it. ``mtime`` in whole seconds."""

    mode: int
    nlink: int
    uid: int
    gid: int
    ino: int
    size: int
    mtime: int
    rdev: tuple[int, int]
    dev: tuple[int, int]
    mnt_id: int

    SIZE = 256

    @classmethod
    def unpack(cls, data: bytes) -> Statx:
        """From the kernel's bytes."""
        _, _, _, nlink, uid, gid, mode, _, ino, size, _, _, _, _, _, mtime, *rest = _STATX.unpack_from(data)
        rmajor, rminor, major, minor, mnt_id = rest
        return cls(mode, nlink, uid, gid, ino, size, _TIME.unpack(mtime)[0], (rmajor, rminor), (major, minor), mnt_id)


def open_how(flags: int, mode: int, resolve: int) -> bytes:
    """struct open_how (linux/openat2.h)."""
    return struct.pack("<QQQ", flags, mode, resolve)


def sockaddr_un(path: str) -> bytes:
    """struct sockaddr_un (linux/un.h)."""
    return struct.pack("<H", AF_UNIX) + path.encode() + b"\0"


def dirents(data: bytes) -> list[str]:
    """The names in what getdents64(2) returned (linux/dirent.h)."""
    names, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<H", data, at + 16)
        names.append(data[at + 19 : at + length].split(b"\0", 1)[0].decode())
        at += length
    return names

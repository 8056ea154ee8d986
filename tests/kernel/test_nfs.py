# SPDX-License-Identifier: GPL-2.0-only
"""D and E. The NFS server needs no conversion, the client's pNFS devices do."""

from __future__ import annotations

import re
import stat

from lio import disk
from nfs import EXPORT, MOUNTED, mount, serve

from harness import abi
from harness.checks import check
from harness.guest import Guest


@check(
    "nfsd",
    "what is created by NFS has the mode that the client says, whatever PID 1's umask",
    patch="kthread-nullfs-v2/17",
    needs="FILE_LOCKING INET INOTIFY_USER NETWORK_FILESYSTEMS NFSD NFSD_V4 NFS_FS NFS_V4",
    modules="nfsd nfsv4",
    profile="network",
)
def test_nfsd(guest: Guest) -> None:
    """nfsd and its client meet on the loopback; PID 1's umask is 0777 while the client, whose own is 0, creates files,
    reads what PID 1 writes, and renames."""
    serve(guest)
    guest.umask(0o777)
    client = guest.spawn()
    client.umask(0)
    mount(client)
    client.write_file(f"{MOUNTED}/one", b"by NFS", abi.O_CREAT | abi.O_EXCL, 0o646)
    client.mkdir(f"{MOUNTED}/two", 0o757)
    backing = [guest.statx(f"{EXPORT}/{name}") for name in ("one", "two")]
    assert [stat.S_IMODE(each.mode) for each in backing] == [0o646, 0o757]
    assert guest.read_file(f"{EXPORT}/one") == b"by NFS"
    guest.write_file(f"{EXPORT}/one", b"by PID 1", 0)
    assert client.read_file(f"{MOUNTED}/one") == b"by PID 1"
    client.call("renameat2", abi.AT_FDCWD, f"{MOUNTED}/one", abi.AT_FDCWD, f"{MOUNTED}/two/one", 0)
    assert guest.listdir(EXPORT) == ["two"]


#: Bytes of the disk that client and server share; mkfs.xfs makes less than 300 MB for tests only.
DISK = 64 << 20


@check(
    "pnfs-block",
    "the NFS client opens the disk that it writes to by itself by its path in PID 1's root",
    patch="kthread-nullfs-7.3/16",
    needs="BLK_DEV BLK_DEV_DM BLK_DEV_SD BLOCK FILE_LOCKING INET INOTIFY_USER LOOPBACK_TARGET MD"
    " NETWORK_FILESYSTEMS NFSD NFSD_SCSILAYOUT NFSD_V4 NFS_FS NFS_V4 PNFS_BLOCK SCSI TARGET_CORE TCM_FILEIO XFS_FS",
    modules="nfsd nfsv4 blocklayoutdriver target_core_file tcm_loop sd_mod xfs",
    profile="network",
)
def test_pnfs_block(guest: Guest) -> None:
    """nfsd exports XFS on a disk of the SCSI target; a client in a jail, where the disk's link is not, writes, and the
    kernel thread that sends the data out has to find the disk."""
    disk(guest, DISK)
    for name in ("xfs", "blocklayoutdriver"):
        guest.load_module(name)
    ran = guest.run("/usr/sbin/mkfs.xfs", "--unsupported", "-q", "-K", "/dev/sda")
    assert ran.status == 0, ran.output
    guest.makedirs(EXPORT, "/dev/disk", "/dev/disk/by-id")
    guest.mount("/dev/sda", EXPORT, "xfs")
    wwid = guest.read_text("/sys/block/sda/device/wwid").strip().removeprefix("naa.")
    guest.call("symlinkat", "/dev/sda", abi.AT_FDCWD, f"/dev/disk/by-id/wwn-0x{wwid}")
    serve(guest, "pnfs")
    client = guest.spawn()
    client.makedirs("/jail")
    mount(client)
    fd = client.open(f"{MOUNTED}/file", abi.O_CREAT | abi.O_WRONLY, 0o644)
    client.chroot("/jail")
    client.call("write", fd, b"x" * 8192, 8192)
    client.call("sync")
    client.call("fsync", fd)  # sync does not wait until the server was told how long the file is: LAYOUTCOMMIT
    # Without the disk it is written through the server. What the kernel logs of it depends on its release.
    assert re.search(r"LAYOUTCOMMIT: [1-9]", guest.read_text("/proc/self/mountstats"))
    assert guest.read_file(f"{EXPORT}/file") == b"x" * 8192

# SPDX-License-Identifier: GPL-2.0-only
"""B and E. What PID 1's first root may be, how the kernel comes to it, and what is looked up in the caller's root."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from doors import jailed, namespace_bottom
from lio import CONFIGFS
from roots import devtmpfs_keeper, leave_root, outside_nullfs

from harness import abi, diskimage, modules
from harness.checks import Era, check
from harness.guest import Guest
from harness.initramfs import Entry
from harness.task import Task

#: A driver that looks for /etc/target as it starts (drivers/target/target_core_configfs.c: target_init_dbroot()).
TARGET = "target_core_mod"


def isolated_on(guest: Guest, fstype: str) -> None:
    """PID 1's root is a ``fstype``, and no kernel thread is on it, neither before nor after PID 1 has left it."""
    assert guest.statfs("/").fstype == fstype
    assert [name for name in outside_nullfs(guest) if not devtmpfs_keeper(name)] == []
    before = guest.statx("/proc/2/root", 0)
    leave_root(guest)
    assert guest.statfs("/").fstype == "tmpfs"
    assert [name for name in outside_nullfs(guest) if not devtmpfs_keeper(name)] == []
    assert guest.statx("/proc/2/root", 0).mnt_id == before.mnt_id


@check(
    "root-ramfs",
    "kernel threads stay in the nullfs where the initramfs is in a ramfs, too",
    patch="kthread-nullfs-v2/22",
    since=Era.ISOLATED,
    profile="ramfs",
)
def test_root_ramfs(guest: Guest) -> None:
    """The guest boots with rootfstype=ramfs. Every kernel thread's root is looked at before and after PID 1 pivots."""
    isolated_on(guest, "ramfs")


@check(
    "pivot-ramfs",
    "PID 1 can pivot out of an initramfs in a ramfs and unmount it",
    patch="immutable-rootfs-v2/3",
    since=Era.ROOTFS,
    profile="ramfs",
)
def test_pivot_ramfs(guest: Guest) -> None:
    """The guest boots with rootfstype=ramfs, and PID 1 pivots to a tmpfs, as from an initramfs in a tmpfs."""
    assert guest.statfs("/").fstype == "ramfs"
    leave_root(guest)
    assert "rootfs" not in guest.read_text("/proc/self/mounts")
    assert guest.readlink("/proc/self/exe") == "/init"


@check(
    "init-args",
    "the kernel starts what rdinit= names, with the words and variables of its command line",
    patch="kthread-nullfs-v2/17",
    profile="ramfs",
)
def test_init_args(guest: Guest) -> None:
    """The guest boots with rdinit=/helper, a variable, and words behind "--"; PID 1 reads how it was called."""
    assert guest.read_text("/proc/self/cmdline").split("\0") == ["/helper", "one", "two", ""]
    environment = guest.read_text("/proc/self/environ").split("\0")
    assert {"HOME=/", "TERM=linux", "nullfs=kept"} <= {*environment}
    assert guest.file_system_state(1)[1:] == ("/", "Umask:\t0022")


@check(
    "ima-x509",
    "before PID 1 starts, IMA finds the certificate that is in the initramfs",
    patch="kthread-nullfs-v2/17",
    needs="SECURITY KEYS CRYPTO INTEGRITY INTEGRITY_SIGNATURE INTEGRITY_ASYMMETRIC_KEYS X509_CERTIFICATE_PARSER"
    " SYSTEM_TRUSTED_KEYRING INTEGRITY_TRUSTED_KEYRING IMA IMA_LOAD_X509",
    profile="ima",
)
def test_ima_x509(guest: Guest) -> None:
    """The guest's initramfs has a file where CONFIG_IMA_X509_PATH expects it; the kernel says that it reads that."""
    said = guest.boot_log.decode(errors="replace")
    assert "Loading X.509 certificate: /etc/keys/x509_ima.der" in said
    assert "Unable to open file" not in said


def started_from(guest: Guest, fstype: str, device: str) -> None:
    """PID 1 is what init= names, on ``device`` and nothing else, with the console open three times."""
    assert guest.statfs("/").fstype == fstype
    mounts = [line.split() for line in guest.read_text("/proc/self/mounts").splitlines()]
    assert [row[:3] for row in mounts if row[1] == "/"] == [["/dev/root", "/", fstype]]
    assert guest.statx("/").dev == guest.statx(device).rdev
    assert [guest.statx(f"/proc/self/fd/{fd}", 0).rdev for fd in range(3)] == [(5, 1)] * 3
    assert guest.read_text("/proc/self/cmdline").split("\0") == ["/init", ""]
    assert guest.readlink("/proc/self/exe") == "/init"
    assert guest.file_system_state(1)[1:] == ("/", "Umask:\t0022")


@check(
    "init-ext4",
    "the kernel mounts an ext4 file system that root= names, and starts init= from it",
    patch="kthread-nullfs-v2/17",
    needs="BLOCK BLK_DEV PCI PCI_MSI PCI_HOST_GENERIC@arm64 BLK_DEV_NVME EXT4_FS",
    profile="ext4",
)
def test_init_ext4(guest: Guest) -> None:
    """The guest boots without an initramfs, from an NVMe disk. PID 1 looks where it is, and what is open."""
    started_from(guest, "ext4", "/dev/nvme0n1")


@check(
    "root-ext4",
    "where root= is a disk, kernel threads stay in the nullfs, and PID 1 can leave the disk",
    patch="kthread-nullfs-v2/22",
    since=Era.ISOLATED,
    needs="BLOCK BLK_DEV PCI PCI_MSI PCI_HOST_GENERIC@arm64 BLK_DEV_NVME EXT4_FS",
    profile="ext4",
)
def test_root_ext4(guest: Guest) -> None:
    """The guest boots without an initramfs, from an NVMe disk. A child takes the disk away in a mount namespace of its
    own, and must find a nullfs under it. Every kernel thread's root is looked at before and after PID 1 pivots."""
    child = guest.spawn()
    assert namespace_bottom(child).fstype == "nullfs"
    isolated_on(guest, "ext4")


@check(
    "init-erofs",
    "the kernel mounts an EROFS file system that root= names, and starts init= from it",
    patch="kthread-nullfs-v2/17",
    needs="BLOCK BLK_DEV PCI PCI_MSI PCI_HOST_GENERIC@arm64 BLK_DEV_NVME MISC_FILESYSTEMS EROFS_FS",
    profile="erofs",
)
def test_init_erofs(guest: Guest) -> None:
    """The guest boots without an initramfs, from an NVMe disk. PID 1 looks where it is, and what is open."""
    started_from(guest, "erofs", "/dev/nvme0n1")


@check(
    "init-initrd",
    "the kernel copies an initrd that is a file system to a RAM disk, mounts it, and starts init= from it",
    patch="kthread-nullfs-v2/13",
    needs="BLOCK BLK_DEV BLK_DEV_RAM EXT4_FS",
    profile="initrd",
)
def test_init_initrd(guest: Guest) -> None:
    """The guest boots with an ext4 file system for an initrd. PID 1 looks where it is, and what is open."""
    started_from(guest, "ext4", "/dev/ram0")


@check(
    "erofs-file",
    "an EROFS image that is mounted from a file is looked up by who mounts it",
    patch="kthread-nullfs-v2/2",
    needs="BLOCK MISC_FILESYSTEMS EROFS_FS EROFS_FS_BACKED_BY_FILE",
    modules="erofs",
    profile="storage",
)
def test_erofs_file(guest: Guest) -> None:
    """A jailed process mounts /images/image, of which there is one in the jail, and another one in PID 1's root."""
    guest.load_module("erofs")
    inmate = jailed(guest, "/images", "/mnt")
    for directory, name in (("/images", "outside"), ("/jail/images", "inside")):
        guest.mount("none", directory, "ramfs")  # EROFS reads its file by folios, which tmpfs does not offer
        guest.write_file(f"{directory}/image", diskimage.erofs([Entry(name, stat.S_IFREG | 0o644)]))
    inmate.mount("/images/image", "/mnt", "erofs", abi.MS_RDONLY)
    assert inmate.statfs("/mnt").fstype == "erofs"
    assert inmate.listdir("/mnt") == ["inside"]


def load_from(task: Task, root: str, paths: Sequence[str]) -> None:
    """Load modules by ``task``, which enters ``root`` before."""
    files = [(task.open(path), path) for path in paths]
    task.chroot(root)
    for fd, path in files:
        assert task.outcome("finit_module", fd, "", modules.load_flags(path)) in ("ok", "EEXIST"), path


def db_root(guest: Guest) -> str:
    """Where the SCSI target would keep its files: in /etc/target, if it has found that."""
    return guest.read_text(f"{CONFIGFS}/target/dbroot").strip()


@check(
    "module-init",
    "a driver that starts looks up paths in the root of who loads it, or in PID 1's if it is built in",
    patch="kthread-nullfs-v2/17",
    needs="BLOCK SCSI CONFIGFS_FS TARGET_CORE",
    modules="target_core_mod",
    profile="ramfs",
)
def test_module_init(guest: Guest) -> None:
    """The SCSI target looks for /etc/target, which is in the initramfs, and not in a jail. If it is built in, it has
    done so before PID 1 was a program. If it is a module, it is loaded twice, the second time from the jail."""
    mount = ("mount", "configfs", CONFIGFS, "configfs", 0, "")
    paths = guest.module_files(TARGET)
    if paths:
        load_from(guest.spawn(), "/", paths)
    guest.all(mount)
    assert db_root(guest) == "/etc/target"
    if paths:
        guest.umount(CONFIGFS)
        guest.call("delete_module", TARGET, abi.O_NONBLOCK)
        guest.mkdir("/jail")
        load_from(guest.spawn(), "/jail", paths)
        guest.all(mount)
        assert db_root(guest) == "/var/target"

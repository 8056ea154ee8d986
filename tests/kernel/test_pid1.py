# SPDX-License-Identifier: GPL-2.0-only
"""C. PID 1 walks away: the kernel says so once, and stops to act in the file system that PID 1 has left."""

from __future__ import annotations

import pytest
from doors import (
    die_into_helper,
    die_into_socket,
    dump_suid,
    load_into_helper,
    need_core_sockets,
    unshared_lines,
)
from firmware import ASYNC, DRIVER

from harness import abi
from harness.calls import SyscallError
from harness.checks import Era, check
from harness.guest import Guest

ISOLATED = Era.ISOLATED


@check("warn-fs", "PID 1's unshare(CLONE_FS) is warned about, once", patch="kthread-nullfs-v2/1", since=ISOLATED)
def test_warn_fs(guest: Guest) -> None:
    """PID 1 unshares its state, then once more in other ways, and the lines in the log are counted."""
    # setns() is no way to leave: it wants an fs_struct of one's own (fs/namespace.c: mntns_install()).
    namespace = guest.open("/proc/self/ns/mnt")
    assert guest.outcome("setns", namespace, abi.CLONE_NEWNS) == "EINVAL"
    assert unshared_lines(guest) == 0
    guest.unshare(abi.CLONE_FS)
    assert unshared_lines(guest) == 1
    guest.unshare(abi.CLONE_FS)
    guest.unshare(abi.CLONE_NEWNS)
    assert guest.outcome("setns", namespace, abi.CLONE_NEWNS) == "ok"
    assert unshared_lines(guest) == 0


@check("warn-ns", "PID 1's unshare(CLONE_NEWNS) is warned about, once", patch="kthread-nullfs-v2/1", since=ISOLATED)
def test_warn_ns(guest: Guest) -> None:
    """PID 1 unshares its mount namespace twice, and the lines in the log are counted."""
    guest.unshare(abi.CLONE_NEWNS)
    assert unshared_lines(guest) == 1
    guest.unshare(abi.CLONE_NEWNS)
    assert unshared_lines(guest) == 0


def nothing_lost(guest: Guest) -> None:
    """The kernel still acts in PID 1's root, and still notices when PID 1 itself leaves."""
    assert guest.exists("/init"), "PID 1's own root was taken away"
    assert unshared_lines(guest) == 0
    _, helper = die_into_helper(guest)
    assert helper is not None
    assert helper.statx("/") == guest.statx("/")
    helper.exit()
    guest.unshare(abi.CLONE_FS)
    assert unshared_lines(guest) == 1


@check(
    "silent-thread",
    "another thread of PID 1 may leave: no warning, nothing lost",
    patch="kthread-nullfs-v2/1",
    needs="COREDUMP ELF_CORE SYSCTL",
    since=ISOLATED,
)
def test_silent_thread(guest: Guest) -> None:
    """Another thread of PID 1 unshares; then a core helper must still run in PID 1's root, and PID 1's own leaving must
    still be noticed."""
    for flag in (abi.CLONE_FS, abi.CLONE_NEWNS):
        guest.thread().unshare(flag)
    nothing_lost(guest)


@check(
    "silent-child",
    "a child that shares PID 1's state may leave: no warning, nothing lost",
    patch="kthread-nullfs-v2/1",
    needs="COREDUMP ELF_CORE SYSCTL",
    since=ISOLATED,
)
def test_silent_child(guest: Guest) -> None:
    """A child that shares PID 1's state unshares it; then as for another thread."""
    for flag in (abi.CLONE_FS, abi.CLONE_NEWNS):
        guest.spawn(abi.CLONE_FS).unshare(flag)
    nothing_lost(guest)


@check(
    "pid-ns",
    "the first process of a PID namespace may leave: no warning, nothing lost",
    patch="kthread-nullfs-v2/1",
    needs="COREDUMP ELF_CORE SYSCTL NAMESPACES PID_NS",
    since=ISOLATED,
)
def test_pid_ns(guest: Guest) -> None:
    """A child that is the PID 1 of a namespace unshares PID 1's state; then as for another thread."""
    for flag in (abi.CLONE_FS, abi.CLONE_NEWNS):
        init = guest.spawn(abi.CLONE_FS | abi.CLONE_NEWPID)
        assert init.getpid() == 1
        init.unshare(flag)
    nothing_lost(guest)


@check(
    "cut-core",
    "after PID 1 left, core files by absolute path are not written",
    patch="kthread-nullfs-v2/16",
    needs="COREDUMP ELF_CORE SYSCTL",
    since=ISOLATED,
)
def test_cut_core(guest: Guest) -> None:
    """PID 1 unshares; then a jailed process that changed its user dies, and no core may lie anywhere."""
    guest.unshare(abi.CLONE_FS)
    dump = dump_suid(guest)
    assert (dump.cored, dump.outside, dump.inside) == (False, False, False)


@check(
    "cut-socket",
    "after PID 1 left, cores are not sent to a socket",
    patch="kthread-nullfs-v2/16",
    needs="COREDUMP ELF_CORE SYSCTL",
    since=ISOLATED,
)
def test_cut_socket(guest: Guest) -> None:
    """PID 1 unshares; then a jailed process dies, and nobody who listens may be called."""
    need_core_sockets(guest)
    guest.unshare(abi.CLONE_FS)
    assert die_into_socket(guest).called == (False, False)


@check(
    "cut-umh",
    "after PID 1 left, no usermode helper is started",
    patch="kthread-nullfs-v2/18",
    needs="COREDUMP ELF_CORE SYSCTL MODULES",
    since=ISOLATED,
)
def test_cut_umh(guest: Guest) -> None:
    """PID 1 unshares; then a process dies with a core helper set, and another asks for a module, by paths from the root
    and from the working directory."""
    guest.unshare(abi.CLONE_FS)
    _, helper = die_into_helper(guest)
    assert helper is None, "the core helper ran"
    # By way of the root, and of the cwd: both are taken away (fs/fs_struct.c: validate_fs_switch()).
    for path in ("/helper", "init"):
        assert load_into_helper(guest, path) is None, f"the module loader {path} ran"


@check(
    "cut-firmware",
    "after PID 1 left, a firmware request fails cleanly",
    patch="kthread-nullfs-v2/9",
    needs="FW_LOADER RUNTIME_TESTING_MENU TEST_FIRMWARE",
    since=ISOLATED,
    modules="test_firmware",
)
def test_cut_firmware(guest: Guest) -> None:
    """One file is asked for before PID 1 unshares, one after it, by way of the driver test_firmware."""
    guest.makedirs("/lib", "/lib/firmware")
    for name in ("before", "after"):
        guest.write_file(f"/lib/firmware/{name}.bin", name)
    guest.load_module("test_firmware")
    trigger = f"{DRIVER}/{ASYNC}"
    guest.write_file(trigger, "before.bin", 0)
    assert guest.read_file("/dev/test_firmware") == b"before"
    guest.unshare(abi.CLONE_FS)
    with pytest.raises(SyscallError):
        guest.write_file(trigger, "after.bin", 0)
    assert not any("loaded: 5" in line for line in guest.log())

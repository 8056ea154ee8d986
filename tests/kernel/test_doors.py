# SPDX-License-Identifier: GPL-2.0-only
"""D. The doors that must stay open: what the kernel does in PID 1's root for others, tried from inside a jail."""

from __future__ import annotations

import stat
import zlib

from doors import (
    as_pid1,
    die_into_helper,
    die_into_socket,
    dump_suid,
    jailed,
    load_into_helper,
    need_core_sockets,
    read_core,
)

from harness import abi, corefile
from harness.checks import check
from harness.files import SUMMED
from harness.guest import Guest
from harness.initramfs import Entry, unpack_entries
from harness.protocol import Out


@check(
    "core-suid",
    "a core of a process that changed its user lies in PID 1's root, whole",
    patch="kthread-nullfs-v2/8",
    needs="COREDUMP ELF_CORE SYSCTL",
)
def test_core_suid(guest: Guest) -> None:
    """A jailed process that changed its user dies with an absolute core_pattern, and the core is read back."""
    dump = dump_suid(guest)
    assert (dump.cored, dump.outside, dump.inside) == (True, True, False)
    written = guest.statx("/cores/core")
    assert (written.uid, stat.S_IMODE(written.mode)) == (0, 0o600)
    core = read_core(guest, "/cores/core")
    assert (core.machine, core.pid, core.signal) == (guest.arch.elf_machine, dump.task.pid, abi.SIGSEGV)
    assert core.notes >= corefile.NEEDED_NOTES
    assert core.memory > 0


@check(
    "core-pipe",
    "a core helper runs in PID 1's root and mounts, with a state of its own, and gets the core",
    patch="kthread-nullfs-v2/18",
    needs="COREDUMP ELF_CORE SYSCTL",
)
def test_core_pipe(guest: Guest) -> None:
    """A jailed process dies with a core helper set; the helper tells where it is, reads the start of the core, and then
    changes its own umask and root."""
    guest.umask(0o027)
    child, helper = die_into_helper(guest)
    assert helper is not None, "the kernel did not start it"
    assert guest.caller_argv == ("/helper", str(child.pid), str(abi.SIGSEGV))
    helper.call("read", 0, magic := Out(4), 4)
    assert magic.value == b"\x7fELF"
    as_pid1(guest, helper)


@check(
    "modprobe",
    "the module loader runs in PID 1's root and mounts, with a state of its own",
    patch="kthread-nullfs-v2/18",
    needs="MODULES SYSCTL",
)
def test_modprobe(guest: Guest) -> None:
    """A jailed process asks for a missing protocol; the module loader tells where it is, and then changes its own umask
    and root."""
    guest.umask(0o027)
    helper = load_into_helper(guest)
    assert helper is not None, "the kernel did not start it"
    assert guest.caller_argv[-1] == "net-pf-3"
    as_pid1(guest, helper)


@check(
    "hotplug",
    "the helper for uevents runs in PID 1's root and mounts, with a state of its own",
    patch="kthread-nullfs-v2/18",
    needs="UEVENT_HELPER",
    profile="storage",
)
def test_hotplug(guest: Guest) -> None:
    """A jailed process says that /dev/null was added; the helper for uevents tells where it is, and then changes its
    own umask and root."""
    guest.umask(0o027)
    child = jailed(guest, "/sys")
    child.mount("sysfs", "/sys", "sysfs")
    guest.write_file("/sys/kernel/uevent_helper", "/helper", 0)
    child.write_file("/sys/class/mem/null/uevent", "add", 0)
    guest.until(lambda: bool(guest.channel.callers), "the helper does not run")  # nobody else waits for it
    helper = guest.caller()
    assert helper is not None
    assert guest.caller_argv == ("/helper", "mem")
    as_pid1(guest, helper)


@check(
    "core-socket",
    "a core is sent to the listener in PID 1's root, not to the one in the jail",
    patch="kthread-nullfs-v2/14",
    needs="COREDUMP ELF_CORE SYSCTL",
)
def test_core_socket(guest: Guest) -> None:
    """A jailed process dies with a core socket set, where one listens in PID 1's root and one in the jail."""
    need_core_sockets(guest)
    call = die_into_socket(guest)
    assert call.called == (True, False)
    connection = call.outside.accepting.result()
    assert call.outside.receive(connection, 4) == b"\x7fELF"
    assert call.outside.peer(connection) == call.child.pid


def checksums(body: bytes) -> list[tuple[int, int]]:
    """What ``Files.checksums`` says of a file with that body."""
    pieces = (body[at : at + SUMMED] for at in range(0, len(body), SUMMED))
    return [(len(piece), zlib.crc32(piece)) for piece in pieces]


def seen(guest: Guest, entry: Entry) -> list[Entry]:
    """What the guest has in an entry's place, at each of its names, in the same words."""
    found = []
    for name in entry.names:
        now = guest.statx(name)
        body = b""
        if stat.S_ISREG(now.mode):
            # Not the bytes themselves: they would take longer on the line than all the rest.
            body = entry.body if guest.checksums(name) == checksums(entry.body) else b"something else"
        elif stat.S_ISLNK(now.mode):
            body = guest.readlink(name).encode()
        assert stat.S_ISDIR(now.mode) or now.nlink == len(entry.names), name
        found.append(Entry(entry.path, now.mode, now.uid, now.gid, now.mtime, now.rdev, body, entry.links))
    return found


@check(
    "initramfs",
    "files of every kind, from packed archives one behind the other, are unpacked bit for bit",
    patch="kthread-nullfs-v2/13",
    needs="RD_GZIP RD_BZIP2 RD_LZMA RD_XZ INITRAMFS_PRESERVE_MTIME",
)
def test_initramfs(guest: Guest) -> None:
    """Every entry of the archives of every kind that were packed for the guest is held against what the guest has."""
    last = {entry.path: entry for entry in unpack_entries()}  # a later archive replaces what an earlier one brought
    for entry in last.values():
        for now in seen(guest, entry):
            assert now == entry
    hard = next(entry for entry in last.values() if entry.links)
    assert len({guest.statx(name).ino for name in hard.names}) == 1
    assert set(guest.listdir("/unpack")) == {
        path.split("/")[2] for entry in last.values() for path in entry.names if path.count("/") > 1
    }

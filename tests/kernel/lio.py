# SPDX-License-Identifier: GPL-2.0-only
"""A disk of the kernel's SCSI target, LIO, that comes back as /dev/sda of the same guest. No checks here."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from doors import give_node, jailed

from harness import abi
from harness.calls import Pending
from harness.guest import Guest
from harness.protocol import Out, Pointers
from harness.task import Task

CONFIGFS = "/sys/kernel/config"
TARGET = f"{CONFIGFS}/target"
DEVICE = f"{TARGET}/core/fileio_0/d0"
#: The access state of its one target port group, to be read and written.
STATE = f"{DEVICE}/alua/default_tg_pt_gp/alua_access_state"
SERIAL = "d0d0d0d0"
#: The name of the target port: NAA 5, as of a SAS one.
PORT = "naa.5001405000000001"
LUN = f"{TARGET}/loopback/{PORT}/tpgt_1/lun/lun_0"
#: Where the target keeps what must outlive it (drivers/target/target_core_internal.h: DB_ROOT_DEFAULT).
DB_ROOT = "/var/target"
#: The metadata of the registrations, of the target port group, and of the target port.
APTPL = f"{DB_ROOT}/pr/aptpl_{SERIAL}"
PRIMARY = f"{DB_ROOT}/alua/tpgs_{SERIAL}/default_tg_pt_gp"
SECONDARY = f"{DB_ROOT}/alua/loopback/{PORT}+1/lun_0"
#: The kernel makes none of them; where one is missing, it looks as if nothing had been looked up.
DIRECTORIES = (
    *("/var", DB_ROOT, f"{DB_ROOT}/pr", f"{DB_ROOT}/alua", f"{DB_ROOT}/alua/tpgs_{SERIAL}"),
    *(f"{DB_ROOT}/alua/loopback", f"{DB_ROOT}/alua/loopback/{PORT}+1"),
)

#: struct sg_io_hdr (scsi/sg.h), whose pointers to the data, the command and the sense data are at 16, 24 and 32.
_HEADER = struct.Struct("<iiBBHI8x8x8xI12x8xBBBBHHiII4x")
_SENSE = 32
#: Milliseconds of the guest's clock, which may run fast.
_TIMEOUT = 600_000
_ATTENTION = "status 2 0 8 700006"


@dataclass(frozen=True)
class Disk:
    """The disk, and a task in a jail that has it open. The jail has all DIRECTORIES, too."""

    inmate: Task
    fd: int

    def send(self, command: bytes, data: bytes) -> str:
        """A SCSI command with data for the disk: ``good``, or what the disk said instead, in hexadecimal."""
        said = self._send(command, data)
        # Unit attention: something has happened that is to be known first, and is told once (target_core_ua.c).
        return self._send(command, data) if said.startswith(_ATTENTION) else said

    def _start(self, command: bytes, data: bytes) -> tuple[Pending, Out, Out]:
        start = _HEADER.pack(ord("S"), abi.SG_DXFER_TO_DEV, len(command), _SENSE, 0, len(data), _TIMEOUT, *[0] * 9)
        header, sense = Out(_HEADER.size, start), Out(_SENSE)
        given = Pointers(header, ((16, data), (24, command), (32, sense)))
        return self.inmate.start("ioctl", self.fd, abi.SG_IO, given), header, sense

    def _send(self, command: bytes, data: bytes) -> str:
        asked, header, sense = self._start(command, data)
        asked.result()
        status, _, _, sensed, host, driver, *_ = _HEADER.unpack(header.value)[7:]
        return f"status {status:x} {host:x} {driver:x} {sense.value[:sensed].hex()}" if status | host else "good"

    def register(self, key: int, old: int = 0) -> str:
        """PERSISTENT RESERVE OUT, REGISTER, to be kept over a loss of power (SPC-4 r17, 6.14)."""
        return self.send(*_registration(key, old))

    def start_registering(self, key: int, old: int) -> Pending:
        """As ``register``, without waiting."""
        return self._start(*_registration(key, old))[0]

    def set_groups(self, *states: tuple[int, int]) -> str:
        """SET TARGET PORT GROUPS (SPC-4 r17, 6.35): each a state, and the group or the port that gets it."""
        data = bytes(4) + b"".join(struct.pack(">BxH", state, number) for state, number in states)
        return self.send(struct.pack(">BB4xIxx", 0xA4, 0x0A, len(data)), data)


def _registration(key: int, old: int) -> tuple[bytes, bytes]:
    return b"\x5f\0\0\0\0\0\0\0\x18\0", struct.pack(">QQ4xB3x", old, key, 1)


def disk(guest: Guest, size: int = 1 << 20) -> Disk:
    """Make the disk, of ``size`` bytes, and a child in a jail with a node for it.

    Raises GuestError, SyscallError; AssertionError if it does not appear.
    """
    for name in ("target_core_file", "tcm_loop", "sd_mod"):
        guest.load_module(name)
    guest.mount("configfs", CONFIGFS, "configfs")
    fabric = f"{TARGET}/loopback"
    guest.makedirs(f"{TARGET}/core/fileio_0", DEVICE, fabric, f"{fabric}/{PORT}", f"{fabric}/{PORT}/tpgt_1", LUN)
    for name, value in (
        ("control", f"fd_dev_name=/d0,fd_dev_size={size}"),
        ("wwn/vpd_unit_serial", SERIAL),
        ("enable", "1"),
        ("alua/default_tg_pt_gp/alua_write_metadata", "1"),
    ):
        guest.write_file(f"{DEVICE}/{name}", value, 0)
    portal = f"{fabric}/{PORT}/tpgt_1"
    if guest.exists(f"{portal}/rtpi"):  # before 6.4 all ports had a number, and it could not be chosen
        guest.write_file(f"{portal}/rtpi", "1", 0)
    guest.write_file(f"{portal}/nexus", "naa.5001405000000002", 0)
    guest.call("symlinkat", DEVICE, abi.AT_FDCWD, f"{LUN}/d0")
    guest.write_file(f"{LUN}/alua_tg_pt_write_md", "1", 0)
    guest.until(lambda: guest.exists("/dev/sda"), "the target's disk does not appear as /dev/sda")
    inmate = jailed(guest, *DIRECTORIES)
    give_node(guest, inmate, "/dev/sda", "/sda")
    return Disk(inmate, inmate.open("/sda", abi.O_RDWR))

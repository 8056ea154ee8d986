# SPDX-License-Identifier: GPL-2.0-only
"""Firmware that the driver test_firmware asks for, from inside a jail. No checks here."""

from __future__ import annotations

from doors import jailed

from harness.guest import Guest
from harness.task import Task

DRIVER = "/sys/devices/virtual/misc/test_firmware"
#: In the task that writes, and in a worker.
SYNC, ASYNC = "trigger_request", "trigger_async_request"
#: In a kernel thread made for it, and in a worker; what is asked for is set before, and may be asked for several times.
BATCHES = ("trigger_batched_requests", "trigger_batched_requests_async")


def asking(guest: Guest, directory: str = "/lib/firmware") -> Task:
    """A jailed process that can ask the driver for files, which have decoys in the jail's own ``directory``."""
    guest.load_module("test_firmware")
    inmate = jailed(guest, "/lib", "/lib/firmware", directory, "/sys")
    inmate.mount("sysfs", "/sys", "sysfs")
    return inmate


def put(guest: Guest, path: str, body: bytes, decoy: bytes) -> None:
    """A file in PID 1's root, and another one at the same path of the jail."""
    guest.write_file(path, body)
    guest.write_file(f"/jail{path}", decoy)


def asked(guest: Guest, inmate: Task, trigger: str, name: str) -> bytes:
    """What the driver gets when the jailed process asks for ``name``."""
    inmate.write_file(f"{DRIVER}/{trigger}", name, 0)
    return guest.read_file("/dev/test_firmware")


def asked_in_batch(guest: Guest, inmate: Task, trigger: str, name: str) -> bytes:
    """As ``asked``, by one of BATCHES."""
    for setting, value in (("reset", "1"), ("config_name", name), ("config_num_requests", "1"), (trigger, "1")):
        inmate.write_file(f"{DRIVER}/{setting}", value, 0)
    return guest.read_file(f"{DRIVER}/read_firmware")


def zstd(body: bytes) -> bytes:
    """Under 256 bytes as a frame of Zstandard (RFC 8878): one segment with its length, one raw block, the last one."""
    return bytes.fromhex("28b52ffd20") + bytes([len(body)]) + (1 | len(body) << 3).to_bytes(3, "little") + body

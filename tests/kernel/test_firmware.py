# SPDX-License-Identifier: GPL-2.0-only
"""D. Firmware is read from PID 1's root, whoever asks for it, tried from inside a jail with files of the same names."""

from __future__ import annotations

import lzma

from firmware import ASYNC, BATCHES, SYNC, asked, asked_in_batch, asking, put, zstd

from harness.checks import check
from harness.guest import Guest


@check(
    "firmware-sync",
    "firmware that a process makes a driver ask for comes from PID 1's root",
    patch="kthread-nullfs-v2/9",
    needs="FW_LOADER RUNTIME_TESTING_MENU TEST_FIRMWARE",
    modules="test_firmware",
)
def test_sync(guest: Guest) -> None:
    """A jailed process makes the driver test_firmware ask, in that process and in a kernel thread of the driver's own,
    and what the driver got is read back."""
    inmate = asking(guest)
    put(guest, "/lib/firmware/one.bin", b"right", b"decoy")
    assert asked(guest, inmate, SYNC, "one.bin") == b"right"
    assert asked_in_batch(guest, inmate, BATCHES[0], "one.bin") == b"right"


@check(
    "firmware-async",
    "firmware that is asked for in the background comes from PID 1's root",
    patch="kthread-nullfs-v2/9",
    needs="FW_LOADER RUNTIME_TESTING_MENU TEST_FIRMWARE",
    modules="test_firmware",
)
def test_async(guest: Guest) -> None:
    """A jailed process makes the driver test_firmware ask, for one file and for a batch, both of which a worker reads,
    and what the driver got is read back."""
    inmate = asking(guest)
    put(guest, "/lib/firmware/one.bin", b"right", b"decoy")
    assert asked(guest, inmate, ASYNC, "one.bin") == b"right"
    assert asked_in_batch(guest, inmate, BATCHES[1], "one.bin") == b"right"


@check(
    "firmware-path",
    "the path in firmware_class.path is one of PID 1's root, and goes first",
    patch="kthread-nullfs-v2/9",
    needs="FW_LOADER RUNTIME_TESTING_MENU TEST_FIRMWARE",
    modules="test_firmware",
)
def test_path(guest: Guest) -> None:
    """As for firmware-sync and firmware-async, with the parameter set, and with another file in /lib/firmware."""
    inmate = asking(guest, "/elsewhere")
    put(guest, "/lib/firmware/one.bin", b"usual", b"usual decoy")
    put(guest, "/elsewhere/one.bin", b"right", b"decoy")
    guest.write_file("/sys/module/firmware_class/parameters/path", "/elsewhere", 0)
    assert [asked(guest, inmate, trigger, "one.bin") for trigger in (SYNC, ASYNC)] == [b"right"] * 2


@check(
    "firmware-compressed",
    "compressed firmware comes from PID 1's root, unpacked",
    patch="kthread-nullfs-v2/9",
    needs="FW_LOADER FW_LOADER_COMPRESS FW_LOADER_COMPRESS_XZ FW_LOADER_COMPRESS_ZSTD "
    "RUNTIME_TESTING_MENU TEST_FIRMWARE",
    modules="test_firmware",
    profile="storage",
)
def test_compressed(guest: Guest) -> None:
    """As for firmware-sync and firmware-async, for files that there are only packed, by xz and by zstd."""
    inmate = asking(guest)
    packed = {
        "xz": [lzma.compress(body, check=lzma.CHECK_CRC32, preset=0) for body in (b"right", b"decoy")],
        "zst": [zstd(body) for body in (b"right", b"decoy")],
    }
    for ending, (body, decoy) in packed.items():
        put(guest, f"/lib/firmware/{ending}.bin.{ending}", body, decoy)
    found = {
        (name, trigger): asked(guest, inmate, trigger, f"{name}.bin") for name in packed for trigger in (SYNC, ASYNC)
    }
    assert set(found.values()) == {b"right"}, found

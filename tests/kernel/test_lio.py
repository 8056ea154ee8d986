# SPDX-License-Identifier: GPL-2.0-only
"""D. The doors of the SCSI target: what it keeps in files, it keeps in PID 1's root, wherever that is."""

from __future__ import annotations

from lio import APTPL, CONFIGFS, DIRECTORIES, LUN, PRIMARY, SECONDARY, STATE, disk
from roots import each_root

from harness import abi
from harness.checks import check
from harness.guest import Guest

#: A port's secondary access state (include/scsi/scsi_proto.h: SCSI_ACCESS_STATE_OFFLINE).
OFFLINE = 14


@check(
    "lio-aptpl",
    "persistent reservations of a SCSI target are kept in PID 1's root",
    patch="kthread-nullfs-v2/6",
    needs="BLOCK SCSI BLK_DEV_SD TARGET_CORE TCM_FILEIO LOOPBACK_TARGET",
    modules="target_core_file tcm_loop sd_mod",
    profile="storage",
)
def test_lio_aptpl(guest: Guest) -> None:
    """A jailed process registers a reservation key with the target's disk, to be kept; again after PID 1 has switched
    its root, and again after it has pivoted."""
    lun = disk(guest)
    for key, where in enumerate(each_root(guest, *DIRECTORIES), start=1):
        said = lun.register(key, old=key - 1)
        assert (where, said, guest.exists(APTPL), lun.inmate.exists(APTPL)) == (where, "good", True, False)
        kept = guest.read_text(APTPL)
        assert f"sa_res_key={key}\n" in kept, kept


@check(
    "lio-alua",
    "access states that an initiator gives to a SCSI target's ports are kept in PID 1's root",
    patch="kthread-nullfs-v2/5",
    needs="BLOCK SCSI BLK_DEV_SD TARGET_CORE TCM_FILEIO LOOPBACK_TARGET",
    modules="target_core_file tcm_loop sd_mod",
    profile="storage",
)
def test_lio_alua(guest: Guest) -> None:
    """A jailed process writes a state into configfs, which is kept in its own root, for that needs no kernel thread.
    Then it gives one to the target's port group, and one to the port, by SET TARGET PORT GROUPS; again after PID 1 has
    switched its root, and again after it has pivoted."""
    lun = disk(guest)
    online = guest.open(f"{LUN}/alua_tg_pt_offline", abi.O_WRONLY)
    lun.inmate.mkdir("/configfs")
    lun.inmate.mount("configfs", "/configfs", "configfs")
    lun.inmate.write_file(STATE.replace(CONFIGFS, "/configfs"), "2", 0)
    assert (lun.inmate.read_text(PRIMARY), guest.exists(PRIMARY)) == (primary(2, status=2), False)
    for state, where in enumerate(each_root(guest, *DIRECTORIES), start=1):
        said = lun.set_groups((state, 0), (OFFLINE, 1))
        assert (where, said, guest.exists(PRIMARY), guest.exists(SECONDARY)) == (where, "good", True, True)
        assert guest.read_text(PRIMARY) == primary(state, status=1)
        assert guest.read_text(SECONDARY) == "alua_tg_pt_offline=1\nalua_tg_pt_status=0x01\n"
        assert (lun.inmate.read_text(PRIMARY), lun.inmate.exists(SECONDARY)) == (primary(2, status=2), False)
        guest.call("pwrite64", online, "0", 1, 0)


def primary(state: int, status: int) -> str:
    """What is kept of a group: its state, and who gave it: 1 an initiator, 2 the target itself."""
    return f"tg_pt_gp_id=0\nalua_access_state=0x{state:02x}\nalua_access_status=0x{status:02x}\n"

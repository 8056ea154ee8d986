# SPDX-License-Identifier: GPL-2.0-only
"""D. The doors that must stay open, where no guest has the hardware to open them: the code is read, nothing boots."""

from __future__ import annotations

import pytest
from objects import references

from harness import modules
from harness.checks import Era, check
from harness.deadline import Deadline
from harness.kernel import Kernel

#: Seconds to unpack a module.
UNPACKING = 60.0
#: What opens a file by its path (fs/open.c).
OPENERS = frozenset({"filp_open", "file_open_name", "file_open_root"})


@check(
    "sev",
    "where AMD's SEV driver opens a file, its code refers to PID 1's file system state",
    patch="kthread-nullfs-v2/4",
    since=Era.ISOLATED,
    profile="hardware",
    static=True,
)
def test_sev(kernel: Kernel) -> None:
    """Nothing is booted: in the object file ccp.ko, each function that refers to a function of the kernel that opens a
    file by its path must also refer to userspace_init_fs. That it is lent at the right time is not seen. (Before 7.3
    the driver took the root of init_task, which was also that of PID 1.)"""
    if kernel.arch.name != "x86_64":
        pytest.skip(f"the driver has this part on x86_64 only, not on {kernel.arch.name}")
    if kernel.config is not None and "CONFIG_CRYPTO_DEV_SP_PSP" not in kernel.config:
        pytest.skip("this kernel lacks CONFIG_CRYPTO_DEV_SP_PSP; debian:isolated:full has it")
    module = modules.read(kernel, "ccp", Deadline.after(UNPACKING))
    if module is None:
        pytest.skip("this kernel has no module ccp beside it: what is built in does not say what it refers to")
    opening = {function: names for function, names in references(module) if names & OPENERS}
    assert opening, "no function of it opens a file"
    assert [function for function, names in opening.items() if "userspace_init_fs" not in names] == []

# SPDX-License-Identifier: GPL-2.0-only
"""E. Whoever gives the kernel a rule for audit, it is that one's path."""

from __future__ import annotations

import re
import struct

from doors import jailed

from harness import abi
from harness.checks import check
from harness.guest import Guest
from harness.protocol import Out
from harness.task import Task

#: What the rule watches, and the word with which it marks its records.
WATCHED, KEY = "/watched", "nullfs-harness"
#: Of a record (kernel/auditsc.c: audit_log_exit()): the system call, and who did it.
WHO = re.compile(rf'type=1300 .* syscall=(\d+) .* pid=(\d+) .* key="{KEY}"')
#: struct nlmsghdr, and struct nlmsgerr without the request that it repeats.
_HEADER = struct.Struct("<IHHII")
_ANSWER = struct.Struct("<16xi")


def tell(task: Task, kind: int, body: bytes = b"") -> int:
    """Say it to audit as ``task``: 0, or a negative errno."""
    message = _HEADER.pack(_HEADER.size + len(body), kind, abi.NLM_F_REQUEST | abi.NLM_F_ACK, 1, 0) + body
    fd = task.call("socket", abi.AF_NETLINK, abi.SOCK_RAW, abi.NETLINK_AUDIT)
    task.call("sendto", fd, message, len(message), 0, struct.pack("<HHII", abi.AF_NETLINK, 0, 0, 0), 12)
    task.call("recvfrom", fd, out := Out(256), 256, 0, 0, 0)
    return int(_ANSWER.unpack_from(out.value)[0])


def recorded(guest: Guest, task: Task) -> set[int]:
    """Who is recorded to have opened something, by pid, up to ``task``, for which it is waited."""
    seen: set[int] = set()
    opens = str(guest.arch.syscalls["openat"])  # what was asked of audit itself is recorded, too

    def there() -> bool:
        found = (WHO.search(line) for line in guest.log())
        seen.update(int(who.group(2)) for who in found if who and who.group(1) == opens)
        return task.pid in seen

    guest.until(there, "nothing is recorded")
    return seen


def rule() -> bytes:
    """struct audit_rule_data: record every system call that touches something below WATCHED."""
    fields = (abi.AUDIT_DIR, abi.AUDIT_FILTERKEY)
    words = struct.pack("<64I64I64I", *[0xFFFFFFFF] * 64, *fields, *[0] * 62, len(WATCHED), len(KEY), *[0] * 62)
    flags = struct.pack("<64I", *[abi.AUDIT_EQUAL] * 2, *[0] * 62)
    text = (WATCHED + KEY).encode()
    start = struct.pack("<III", abi.AUDIT_FILTER_EXIT, abi.AUDIT_ALWAYS, len(fields))
    return start + words + flags + struct.pack("<I", len(text)) + text


@check(
    "audit-trees",
    "a directory that audit is told to watch is that of who tells it",
    patch="kthread-nullfs-v2/22",
    needs="AUDIT AUDITSYSCALL SYSCTL",
    profile="audit",
)
def test_audit_trees(guest: Guest) -> None:
    """A jailed process tells audit to watch a directory, which PID 1's root has, too. PID 1 makes a file in its own,
    and the process in the jail's; again after the process had the rules looked through for what has gone."""
    guest.write_file("/proc/sys/kernel/printk_ratelimit", "0")  # nobody but the log takes the records
    child = jailed(guest, WATCHED)
    assert tell(child, abi.AUDIT_ADD_RULE, rule()) == 0
    for name in ("first", "second"):
        for task in (guest, child):
            task.write_file(f"{WATCHED}/{name}", "")
        assert (name, recorded(guest, child)) == (name, {child.pid})
        assert tell(child, abi.AUDIT_TRIM) == 0

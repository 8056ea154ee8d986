# SPDX-License-Identifier: GPL-2.0-only
"""F. A real userspace: Debian's systemd as PID 1."""

from __future__ import annotations

import re

from harness import abi
from harness.checks import Era, check
from harness.guest import Guest

#: What the cover letter has in its summary, by the same programs. Through kmsg: nothing gets between words there.
SCRIPT = """\
exec >/dev/kmsg 2>&1
for pid in 1 2; do
    stat --file-system --format="pid $pid: root %T" /proc/$pid/root
    echo "pid $pid: $(cat /proc/$pid/mountinfo | wc -l) mounts"
done
echo "pid 1: over"
"""
UNITS = {
    "told.service": """\
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/usr/bin/sh /told
""",
    "told.target": """\
[Unit]
Requires=basic.target
Wants=systemd-journald.service systemd-tmpfiles-setup.service tmp.mount told.service
""",
}


def told(guest: Guest) -> dict[int, tuple[str, int]]:
    """What a service of systemd says of PID 1 and PID 2: the type of the root's file system, lines of mountinfo."""
    guest.makedirs("/etc", "/etc/systemd", "/etc/systemd/system")
    for name, text in UNITS.items():
        guest.write_file(f"/etc/systemd/system/{name}", text)
    guest.write_file("/told", SCRIPT)
    guest.write_file("/etc/passwd", "root:x:0:0::/:/usr/bin/sh\n")
    guest.write_file("/etc/machine-id", "0123456789abcdef" * 2 + "\n")
    guest.hand_over("/usr/lib/systemd/systemd", "--unit=told.target", "--log-target=kmsg", "--show-status=no")
    lines = guest.wait_printed("pid 1: over").splitlines()
    found = [match.groups() for line in lines if (match := re.search(r"pid (\d): (.*)", line))]
    by_pid = {pid: [words for which, words in found if which == pid] for pid, _ in found}
    return {
        int(pid): (
            next(match[1] for words in said if (match := re.search(r"root (.*)", words))),
            next(int(words.split()[0]) for words in said if words.endswith("mounts")),
        )
        for pid, said in by_pid.items()
    }


@check(
    "systemd",
    "under systemd, PID 1 sees its mounts and kthreadd is in a nullfs, without any",
    patch="kthread-nullfs-v2/22",
    since=Era.ISOLATED,
    needs="BINFMT_SCRIPT CGROUPS EPOLL EVENTFD FHANDLE FILE_LOCKING FUTEX INOTIFY_USER NAMESPACES SIGNALFD TIMERFD",
    profile="systemd",
)
def test_systemd(guest: Guest) -> None:
    """Debian's systemd boots to basic.target, with its journal, its temporary files and a mount; then a service asks
    stat and wc about PID 1 and PID 2."""
    found = told(guest)
    (kind, mounts), (kthread_kind, kthread_mounts) = found[1], found[2]
    assert mounts > 0
    assert kthread_mounts == 0
    assert kthread_kind in ("nullfs", f"UNKNOWN ({abi.NULL_FS_MAGIC:#x})")
    assert kind != kthread_kind

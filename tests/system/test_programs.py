# SPDX-License-Identifier: GPL-2.0-only
"""Programs that a task of a real guest starts: what they print, how they end, what is said of one that is not there."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from harness import abi, agent, apt, initramfs, kernel, machine, qemu
from harness.arch import ARM64, X86_64, Arch
from harness.calls import SyscallError
from harness.checks import Verdict
from harness.deadline import Deadline
from harness.errors import GuestTimeout, HostError
from harness.guest import Guest
from harness.task import PRINTED

pytestmark = pytest.mark.boots

SH = "/bin/busybox", "sh", "-c"


@pytest.fixture(scope="module", params=[ARM64, X86_64], ids=lambda arch: arch.name)
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """One guest for all tests here, with busybox and two scripts."""
    arch: Arch = request.param
    deadline = Deadline.after(600)
    where = tmp_path_factory.mktemp(arch.name)
    busybox = next(apt.fetch("busybox-static", arch, deadline).glob("**/bin/busybox"))
    files = {"bin/busybox": busybox.read_bytes(), "orphan": b"#!/bin/none\n", "plain": b""}
    archive = initramfs.tree(files)
    mode = stat.S_IFREG | 0o755
    archive.entries += [initramfs.Entry(path, mode, body=files[path]) for path in ("bin/busybox", "orphan")]
    image = where / "image"
    image.write_bytes(initramfs.join(agent.image(arch, deadline).read_bytes(), [archive]))
    subject = kernel.resolve("debian:isolated", [arch], deadline)[0]
    with machine.running(qemu.Setup(arch, subject.boot, image), where / "console") as running:
        made = Guest(running, subject, Deadline.after(120))
        made.channel.wait_ready()
        made.prepare()
        yield made


def test_what_it_prints_and_how_it_ends(guest: Guest) -> None:
    assert guest.run(*SH, "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")
    assert guest.run(*SH, "kill -9 $$") == (-9, "")
    assert guest.run("/bin/busybox", "true") == (0, "")


def test_what_it_finds(guest: Guest) -> None:
    status, output = guest.run("/bin/busybox", "env")
    assert (status, output.splitlines()) == (0, ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C"])
    # Of its own three descriptors, and none of the agent's; ls has the directory that it looks at.
    assert guest.run(*SH, "exec /bin/busybox ls /proc/self/fd").output.split() == ["0", "1", "2", "3"]


def test_what_it_reads(guest: Guest) -> None:
    text = b"".join(b"%d\n" % number for number in range(10_000))
    assert guest.run("/bin/busybox", "wc", "-c", stdin=text).output == f"{len(text)}\n"
    assert guest.run("/bin/busybox", "cat", stdin=b"a line\n").output == "a line\n"
    assert guest.run("/bin/busybox", "cat").output == ""


def test_who_prints_much_is_cut_at_the_beginning(guest: Guest) -> None:
    status, output = guest.run("/bin/busybox", "seq", "20000")
    assert status == 0
    assert len(output) == PRINTED
    assert output.endswith("\n19999\n20000\n")


def test_in_a_jail_that_nobody_can_write_to(guest: Guest) -> None:
    guest.makedirs("/jail", "/jail/bin")
    child = guest.spawn()
    child.unshare(abi.CLONE_NEWNS)
    child.mount("/jail", "/jail", "", abi.MS_BIND)
    child.mount("/bin", "/jail/bin", "", abi.MS_BIND)
    child.mount("", "/jail", "", abi.MS_BIND | abi.MS_REMOUNT | abi.MS_RDONLY)
    child.chroot("/jail")
    assert child.run("/bin/busybox", "ls", "/").output == "bin\n"
    assert child.run("/bin/busybox", "touch", "/new").status == 1


def test_more_than_a_task_can_have_children(guest: Guest) -> None:
    child = guest.spawn()
    assert [child.run("/bin/busybox", "true").status for _ in range(40)] == [0] * 40
    child.exit()


def test_a_daemon(guest: Guest) -> None:
    daemon = guest.launch(*SH, "echo up; while :; do /bin/busybox sleep 1; done")
    assert guest.run("/bin/busybox", "true").status == 0  # PID 1 has time
    while "up" not in daemon.output:
        assert not daemon.ended
    daemon.kill()
    assert daemon.wait() == (-9, "up\n")


def test_one_that_has_ended_is_known_to(guest: Guest) -> None:
    program = guest.launch(*SH, "echo bye; exit 3")
    while not program.ended:
        pass
    assert program.wait() == (3, "bye\n")


def test_one_that_leaves_a_daemon_behind(guest: Guest) -> None:
    script = "(trap '' HUP; while :; do /bin/busybox sleep 1; done) & echo $!"
    status, output = guest.run(*SH, script)
    assert status == 0
    assert guest.outcome("kill", int(output), abi.SIGKILL) == "ok"


def test_one_that_hangs_is_waited_for_until_the_deadline(guest: Guest) -> None:
    before = guest.channel.deadline
    hung = guest.launch("/bin/busybox", "sleep", "10000")
    guest.channel.deadline = Deadline.after(2)
    with pytest.raises(GuestTimeout):
        hung.wait()
    guest.channel.deadline = before
    assert guest.outcome("kill", hung.pid, abi.SIGKILL) == "ok"  # PID 1 answers all the same


def test_one_that_is_not_there_is_the_hosts_fault(guest: Guest) -> None:
    with pytest.raises(HostError, match=r"the guest has no /usr/sbin/ksmbd\.mountd") as caught:
        guest.run("/usr/sbin/ksmbd.mountd", "--nodetach")
    assert "ksmbd.mountd" in caught.value.hint or "ksmbd-tools" in caught.value.hint
    assert "initramfs/profiles.toml" in caught.value.hint
    assert Verdict.of(caught.value) is Verdict.ERROR


def test_one_that_lacks_what_starts_it_is_the_hosts_fault(guest: Guest) -> None:
    with pytest.raises(HostError, match="the guest cannot start /orphan") as caught:
        guest.run("/orphan")
    assert "interpreter" in caught.value.cause
    assert Verdict.of(caught.value) is Verdict.ERROR


def test_one_that_is_no_program(guest: Guest) -> None:
    with pytest.raises(SyscallError, match="EACCES"):
        guest.run("/plain")

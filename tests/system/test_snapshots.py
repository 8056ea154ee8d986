# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots across runs: taken once, used again, and never when anything about them is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from program import Program, SpiedQemu, eventually, results

from harness import abi, cache, kernel
from harness.arch import ARM64
from harness.deadline import Deadline
from harness.errors import GuestCrash
from harness.lab import Lab
from harness.protocol import Op, Out
from harness.task import Task

pytestmark = pytest.mark.boots

ONE = ("--check", "boot")
NO_SNAPSHOT = "every check booted its own guest"


@pytest.fixture
def qemu(cold: Program) -> SpiedQemu:
    return SpiedQemu(cold.directory / "bin", "qemu-system-aarch64")


def snapshots(program: Program) -> list[Path]:
    """Those in the cache, whole or not."""
    return list((program.cache / "snapshots").glob("*"))


def test_the_next_run_does_not_boot(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    report = cold.directory / "results.json"
    for _ in range(2):
        done = cold.run("--kernel", image, *ONE, "--check", "kcmp", "--json", report, PATH=qemu.path)
        assert done.status == 0, done
        assert {result["verdict"] for result in results(report).values()} == {"pass"}
    assert qemu.starts() == ["boot", "fork", "fork", "fork", "fork"]
    assert cold.left() == []


def test_another_command_line_is_another_guest(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    """And so is another kernel, even of the same name: one byte differs that nobody reads."""
    other = cold.directory / image.name
    data = bytearray(image.read_bytes())
    at = data.index(b"Linux version ") + len(b"Linux version ")
    data[data.index(b"(", at) + 1] ^= 0x20
    for content in (image.read_bytes(), bytes(data)):
        other.write_bytes(content)
        assert cold.run("--kernel", other, *ONE, PATH=qemu.path).status == 0
    assert qemu.starts().count("boot") == 2


def cut(name: str) -> Callable[[Path], None]:
    """Damage: the file lacks its end."""
    return lambda snapshot: os.truncate(snapshot / name, (snapshot / name).stat().st_size - 4096)


def flip(name: str) -> Callable[[Path], None]:
    """Damage: one bit in the middle, and nothing that stat(2) could tell."""

    def damage(snapshot: Path) -> None:
        path = snapshot / name
        status = path.stat()
        with path.open("r+b") as handle:
            handle.seek(status.st_size // 8)
            byte = handle.read(1)
            handle.seek(-1, os.SEEK_CUR)
            handle.write(bytes([byte[0] ^ 1]))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return damage


def foreign(snapshot: Path) -> None:
    """Damage: it is of another QEMU, in the place of ours."""
    facts = snapshot / "facts.json"
    facts.write_text(facts.read_text().replace("QEMU emulator version ", "QEMU emulator version 1"))


def lost(snapshot: Path) -> None:
    """Damage: half of it is not there."""
    (snapshot / "ram").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut("ram"), id="memory-cut"),
        pytest.param(cut("state"), id="state-cut"),
        pytest.param(flip("ram"), id="memory-changed"),
        pytest.param(flip("state"), id="state-changed"),
        pytest.param(foreign, id="of-another-qemu"),
        pytest.param(lost, id="memory-lost"),
    ],
)
def test_a_damaged_one_is_made_anew(
    cold: Program, image: Path, qemu: SpiedQemu, damage: Callable[[Path], None]
) -> None:
    assert cold.run("--kernel", image, *ONE, PATH=qemu.path).status == 0
    (only,) = snapshots(cold)
    damage(only)
    done = cold.run("--kernel", image, *ONE, PATH=qemu.path)
    assert done.status == 0, done
    assert NO_SNAPSHOT not in done.text
    assert qemu.starts() == ["boot", "fork"] * 2
    assert cold.run("--kernel", image, *ONE, PATH=qemu.path).status == 0
    assert qemu.starts() == ["boot", "fork"] * 2 + ["fork"]


def test_another_qemu_makes_its_own(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    assert cold.run("--kernel", image, *ONE, PATH=qemu.path).status == 0
    qemu.change()
    assert cold.run("--kernel", image, *ONE, PATH=qemu.path).status == 0
    assert qemu.starts() == ["boot", "fork"] * 2


def test_a_qemu_that_cannot_save(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    """It has a device that cannot migrate: then guests boot, and that is said once."""
    qemu.always("-blockdev driver=null-co,node-name=none,size=1048576 -device nvme,serial=none,drive=none")
    done = cold.run("--kernel", image, *ONE, "--check", "kcmp", PATH=qemu.path)
    assert done.status == 0, done
    assert done.text.count(NO_SNAPSHOT) == 1, done
    assert "non-migratable device" in done.text, done
    assert qemu.starts() == ["boot"] * 3
    assert snapshots(cold) == []
    assert cold.left() == []


def test_a_qemu_that_cannot_restore(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    """A fork gets another machine than the one that was saved."""
    qemu.always('$(case "$*" in *-incoming*) echo -machine gic-version=3;; esac)')
    done = cold.run("--kernel", image, *ONE, "--check", "kcmp", "--guests", "1", PATH=qemu.path)
    assert done.status == 0, done
    assert done.text.count(NO_SNAPSHOT) == 1, done
    assert qemu.starts() == ["boot", "fork", "boot", "boot"]
    assert snapshots(cold) == []
    assert cold.left() == []


def test_a_disk_too_full_for_one(cold: Program, image: Path, qemu: SpiedQemu, disk: Callable[[int], Path]) -> None:
    def big(place: str, names: list[str]) -> list[str]:
        """What other tests have made, with Debian's programs in it."""
        return [name for name in names if Path(place, name).stat().st_size > 1 << 20]

    small = disk(32)
    for name in ("agent", "initramfs"):
        shutil.copytree(cold.cache / name, small / name, ignore=big)
    cold.cache = small
    done = cold.run("--kernel", image, *ONE, PATH=qemu.path)
    assert done.status == 0, done
    assert done.text.count(NO_SNAPSHOT) == 1, done
    assert "No space left on device" in done.text
    assert snapshots(cold) == []
    assert cold.left() == []


def test_killed_while_it_is_made(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    with cold.started("--kernel", image, *ONE) as running:
        assert eventually(lambda: bool(cold.qemus()))
        running.child.kill()
        assert running.end().status == -signal.SIGKILL
    assert eventually(lambda: not cold.qemus())
    assert snapshots(cold) == []
    assert cold.left() == []
    assert cold.run("--kernel", image, *ONE, PATH=qemu.path).status == 0
    assert qemu.starts() == ["boot", "fork"]
    assert cold.left() == []


def test_two_runs_make_one(cold: Program, image: Path, qemu: SpiedQemu) -> None:
    words = ("--kernel", image, *ONE)
    with cold.started(*words, PATH=qemu.path) as one, cold.started(*words, PATH=qemu.path) as other:
        assert [one.end().status, other.end().status] == [0, 0]
    assert sorted(qemu.starts()) == ["boot", "fork", "fork"]
    assert len(snapshots(cold)) == 1


def test_a_cache_that_goes_away_in_the_middle(cold: Program, image: Path) -> None:
    """It can be deleted at any time, and what is open stays."""
    with cold.started("--kernel", image, "--guests", "1") as running:
        running.read_until("[1] ")
        shutil.rmtree(cold.cache / "snapshots")
        done = running.end()
    assert done.status == 0, done
    assert NO_SNAPSHOT not in done.text


#: A boot that is not for a snapshot gets another command line.
OTHERWISE = """
for word; do [ "$last" = -append ] && line=$word; last=$word; done
case "$*" in *share=on*|*-incoming*) ;; *) set -- "$@" -append "$line sysctl.user.max_user_namespaces=0";; esac
"""


@pytest.mark.parametrize(("script", "status"), [("", 0), (OTHERWISE, 1)], ids=["the-same", "different"])
def test_both_ways(cold: Program, image: Path, qemu: SpiedQemu, script: str, status: int) -> None:
    qemu.always("", before=script)
    report = cold.directory / "results.json"
    only = (*ONE, "--check", "userns-locked")
    done = cold.run("--kernel", image, *only, "--both-ways", "--json", report, PATH=qemu.path)
    assert done.status == status, done
    assert sorted(qemu.starts()) == ["boot"] * 4 + ["fork"] * 2
    found = json.loads(report.read_text())["differences"]
    label = json.loads(report.read_text())["kernels"][0]["label"]
    if status == 0:
        assert found == []
        assert "2 checks ended the same in a fork and in a guest that booted" in done.text
    else:
        assert found == [{"check": "userns-locked", "kernel": label, "forked": "pass", "booted": "fail"}]
        assert f"userns-locked on {label}: pass in a fork, fail in a guest that booted" in done.text


def now(task: Task) -> float:
    """The guest's clock, in seconds."""
    task.call("clock_gettime", abi.CLOCK_REALTIME, out := Out(16))
    return int.from_bytes(out.value[:8], "little") + int.from_bytes(out.value[8:], "little") / 1e9


def dice(task: Task) -> bytes:
    task.call("getrandom", out := Out(32), 32, 0)
    return out.value


def test_forks_differ_where_they_must(cold: Program, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the same snapshot, at the same time: today's clock in both, and nothing else that they share."""
    monkeypatch.setenv(cache.VARIABLE, str(cold.cache))
    subject = kernel.resolve(str(image), [ARM64], Deadline.after(60))[0]
    with Lab(cold.directory / "evidence", 120.0, "tcg") as lab:
        lab.boot(subject)
        before = time.time()
        with lab.guest(subject, "one") as one, lab.guest(subject, "other") as other:
            clocks = [now(one), now(other)]
            after = time.time()
            # Each is a little late, by as long as the message took to reach it.
            assert before <= min(clocks) <= max(clocks) <= after
            assert len({dice(one), dice(other), dice(one), dice(other)}) == 4
            assert len({one.read_text("/proc/sys/kernel/random/uuid") for one in (one, other)}) == 2
            # A question of one, asked again in the other, is not taken for a question of the other.
            numbers = [guest.channel.post(Op.REPEAT, (), b"") for guest in (one, other)]
            assert abs(numbers[0] - numbers[1]) > 1000
            one.write_file("/only-here", "in one")
            assert not other.exists("/only-here")


@pytest.mark.parametrize("machine", ["image", "x86_image"])
def test_a_fork_can_still_reset(
    warm: Path, machine: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU is not given the kernel again, by which it decides on arm64 how the guest calls its firmware."""
    monkeypatch.setenv(cache.VARIABLE, str(warm))
    (subject,) = kernel.resolve(str(request.getfixturevalue(machine)), [], Deadline.after(60))
    with Lab(tmp_path, 120.0, "tcg") as lab, lab.guest(subject, "reset") as guest:
        with pytest.raises(GuestCrash):
            guest.call("reboot", 0xFEE1DEAD, 672274793, 0x01234567, 0)  # linux/reboot.h: RESTART
        assert "reboot: Restarting system" in guest.console.read_text()
        assert guest.machine.child.wait(60) == 0

# SPDX-License-Identifier: GPL-2.0-only
"""harness/process.py on real processes: none is left, whatever ends first."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import process
from harness.deadline import Deadline
from harness.errors import HostError

TOP = Path(__file__).resolve().parents[2]
PARENT = """\
import time
from harness import process
with process.spawn(["sleep", "1000"]) as child:
    print(child.pid, flush=True)
    time.sleep(1000)
"""


def alive(pid: int) -> bool:
    """Whether that process runs; a zombie, which its parent has yet to reap, does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def soon(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true within ten seconds."""
    deadline = Deadline.after(10)
    while not condition():
        if deadline.passed:
            return False
        time.sleep(0.02)
    return True


def named(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_child_is_reaped_when_the_block_fails() -> None:
    with (
        pytest.raises(subprocess.TimeoutExpired),
        process.spawn(["sleep", "1000"], stdout=subprocess.PIPE) as child,
    ):
        child.wait(0.1)
    assert child.returncode == -15
    assert not Path(f"/proc/{child.pid}").exists()
    assert child.stdout is not None
    assert child.stdout.closed


def test_a_child_that_ended_by_itself_keeps_its_status() -> None:
    with process.spawn(["sh", "-c", "exit 7"]) as child:
        assert child.wait(10) == 7
    assert process.stop(child) == 7


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=TOP, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            # Until then it is setpriv, which may not have asked for the signal yet.
            assert soon(lambda: named(pid) == "sleep")
        finally:
            parent.kill()
        parent.wait()
        assert soon(lambda: not alive(pid))


def test_a_terminal_reaches_only_us() -> None:
    with process.spawn(["sleep", "1000"]) as child:
        assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid


def test_run_gives_what_was_printed() -> None:
    script = "echo out; echo err >&2; exit 3"
    done = process.run(["sh", "-c", script], Deadline.after(10))
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    done = process.run(["sh", "-c", script], Deadline.after(10), merge=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\nerr\n", "")


def test_run_at_its_deadline_leaves_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # The child, one of its own that ignores SIGTERM, and one that does not.
    script = f"(trap '' TERM; exec sleep 1000) & echo $! >{pids}; sleep 1000 & echo $! $$ >>{pids}; wait"
    started = time.monotonic()
    with pytest.raises(HostError, match=r"^sh did not end within 1 s") as caught:
        process.run(["sh", "-c", script], Deadline.after(1))
    assert 1 <= time.monotonic() - started < 10
    assert "sleep 1000" in caught.value.cause
    found = {int(word) for word in pids.read_text().split()}
    assert len(found) == 3
    assert soon(lambda: not any(alive(pid) for pid in found))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    for program in ("no-such-program", tmp_path / "no-such-program"):
        with pytest.raises(HostError) as caught:
            process.run([program, "--version"], Deadline.after(10))
        assert caught.value.what == f"{program} is not installed"
        assert caught.value.cause == f"{program} --version"


def test_a_program_is_looked_for_as_the_child_would(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "only-here"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    assert process.run(["only-here"], Deadline.after(10), env=env).stdout == "here\n"
    assert process.run(["bin/only-here"], Deadline.after(10), cwd=tmp_path).stdout == "here\n"
    with pytest.raises(HostError, match=r"^only-here is not installed"):
        process.run(["only-here"], Deadline.after(10))


def test_without_setpriv(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"^setpriv is not installed") as caught:
        process.run([sys.executable, "-V"], Deadline.after(10), env={"PATH": str(tmp_path)})
    assert "util-linux" in caught.value.hint


def test_a_child_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    argv = ["sh", "-c", "trap '' TERM; echo ready; exec sleep 1000"]
    with process.spawn(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        started = time.monotonic()
        assert process.stop(child) == -9
        assert 0.3 <= time.monotonic() - started < 5
    assert not Path(f"/proc/{child.pid}").exists()

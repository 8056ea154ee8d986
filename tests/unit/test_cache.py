# SPDX-License-Identifier: GPL-2.0-only
"""harness/cache.py beside other processes: locks, what a killed run left, publishing under a reader, full disks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import cache, session
from harness.deadline import Deadline
from harness.errors import HostError

TOP = Path(__file__).resolve().parents[2]
HOLDER = """\
import sys
from harness import cache, session
from harness.deadline import Deadline
with {what} as held:
    print(held, flush=True)
    sys.stdin.read()
"""
LOCK = "cache.locked(Deadline.after(10), 'apt', 'amd64')"
SCRATCH = "cache.scratch('test')"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the test's own, for its children too."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def holder(what: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another python that holds ``what`` until its stdin is closed, and what that gave it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(what=what)],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            held = child.stdout.readline().strip()
            assert held
            yield child, held
        finally:
            child.kill()


def let_go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()


def test_a_lock_that_another_run_holds(own_cache: Path) -> None:
    with holder(LOCK):
        started = time.monotonic()
        with (
            pytest.raises(HostError, match="another run holds the lock apt-amd64") as caught,
            cache.locked(Deadline.after(0.3), "apt", "amd64"),
        ):
            pytest.fail("two have the lock")
        assert 0.3 <= time.monotonic() - started < 5
        assert str(own_cache / "locks" / "apt-amd64") in caught.value.cause
        with cache.locked(Deadline.after(0), "apt", "arm64"):
            pass  # another lock, and free: had even without time


def test_a_lock_that_is_released_while_it_is_waited_for() -> None:
    with holder(LOCK) as (child, _):
        release = threading.Timer(0.3, let_go, [child])
        release.start()
        started = time.monotonic()
        with cache.locked(Deadline.after(30), "apt", "amd64"):
            assert 0.3 <= time.monotonic() - started < 10
        release.join()
    with cache.locked(Deadline.after(0), "apt", "amd64"):
        pass


def test_the_lock_of_a_killed_run_is_free() -> None:
    with holder(LOCK) as (child, _):
        child.kill()
        with cache.locked(Deadline.after(10), "apt", "amd64"):
            pass


def test_scratch_is_swept_after_its_owner_was_killed() -> None:
    with holder(SCRATCH) as (child, held):
        left = Path(held)
        (left / "half").write_text("made")
        with cache.scratch("mine") as mine:
            assert mine.is_dir()
            assert (left / "half").is_file()  # its owner is alive
        child.kill()
        child.wait()
        assert left.is_dir()
        with cache.scratch("mine") as mine:
            assert list(mine.parent.iterdir()) == [mine]
    assert not mine.exists()


def test_scratch_is_gone_when_its_owner_failed(own_cache: Path) -> None:
    with pytest.raises(FileNotFoundError), cache.scratch("test") as path:
        (path / "absent").read_text()
    assert list((own_cache / "tmp").iterdir()) == []


def full(where: Path, text: str) -> Path:
    """A directory with so many files that it takes a while to remove."""
    where.mkdir()
    for number in range(200):
        (where / str(number)).write_text(text)
    return where


def test_publishing_over_a_directory_is_atomic(tmp_path: Path) -> None:
    final = cache.publish(full(tmp_path / "new", "0"), tmp_path / "there" / "final")
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for name in ("0", "199"):
                try:
                    seen.add((final / name).read_text())
                except OSError as error:
                    seen.add(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for generation in range(1, 30):
            made = full(tmp_path / "new", str(generation))
            assert cache.publish(made, final) == final
            assert not made.exists()
    finally:
        stop.set()
        reader.join()
    assert seen <= {str(generation) for generation in range(30)}
    assert {path.read_text() for path in final.iterdir()} == {"29"}
    assert list(final.parent.iterdir()) == [final]


def test_publishing_where_directories_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RENAME_EXCHANGE", 1 << 31)  # EINVAL, as on NFS
    final = full(tmp_path / "final", "old")
    made = full(tmp_path / "new", "new")
    assert not cache.exchange(made, final)
    cache.publish(made, final)
    assert {path.read_text() for path in final.iterdir()} == {"new"}
    assert not made.exists()


def test_publishing_a_file(tmp_path: Path) -> None:
    final = tmp_path / "there" / "final"
    for text in ("one", "two"):
        made = tmp_path / "new"
        made.write_text(text)
        assert cache.publish(made, final).read_text() == text
        assert not made.exists()


def test_writing_to_a_full_disk(own_cache: Path) -> None:
    with pytest.raises(HostError) as caught, cache.writing(own_cache), Path("/dev/full").open("w") as handle:
        handle.write("text")
    assert caught.value.what == f"cannot write to the cache below {own_cache}"
    assert caught.value.cause == "No space left on device"
    assert cache.VARIABLE in caught.value.hint


def test_writing_to_a_full_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    try:
        with pytest.raises(HostError) as caught, cache.scratch("test") as path, cache.writing(path):
            (path / "big").write_bytes(bytes(2 << 20))
        assert caught.value.what == f"cannot write to the cache below {path}"
        assert caught.value.cause == "No space left on device"
        assert not path.exists()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_other_errors_are_not_about_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), cache.writing(tmp_path):
        (tmp_path / "absent").read_text()


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    made = [tmp_path / name for name in "abcd"]
    for age, path in enumerate(made):
        path.mkdir()
        os.utime(path, (age, age))
    cache.prune(tmp_path.iterdir(), 2, sparing=made[0])
    assert sorted(tmp_path.iterdir()) == [made[0], made[3]]
    cache.prune(tmp_path.iterdir(), 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_files_go_as_directories_do_and_what_is_used_stays(tmp_path: Path) -> None:
    made = [tmp_path / name for name in "abc"]
    for age, path in enumerate(made):
        path.write_text("")
        os.utime(path, (age, age))
    assert cache.used(made[0])
    assert not cache.used(tmp_path / "none")
    cache.prune(tmp_path.iterdir(), 2)
    assert sorted(tmp_path.iterdir()) == [made[0], made[2]]


def test_runs_of_one_process_in_one_second_have_a_directory_each() -> None:
    assert len({session.new_evidence() for _ in range(3)}) == 3

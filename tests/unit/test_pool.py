# SPDX-License-Identifier: GPL-2.0-only
"""Work side by side: no more at once than there is room for, the most urgent first, and an end when it is asked for."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from harness import pool
from harness.pool import Pool

PATIENCE = 60.0


def test_no_more_at_once_than_its_size() -> None:
    subject, lock, now, most = Pool(3), threading.Lock(), 0, 0
    full = threading.Barrier(3)

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        full.wait(PATIENCE)  # passes only when three are here at once
        with lock:
            now -= 1

    for future in [subject.add(0, work) for _ in range(9)]:
        future.result(PATIENCE)
    subject.close()
    assert most == 3


def test_the_most_urgent_comes_first_and_equals_in_order() -> None:
    subject, gate, done = Pool(1), threading.Event(), list[str]()
    subject.add(-10, lambda: gate.wait(PATIENCE))
    futures = [
        subject.add(rank, lambda name=name: done.append(name))  # type: ignore[misc]
        for rank, name in ((2, "late"), (1, "first"), (1, "second"), (float("-inf"), "boot"))
    ]
    gate.set()
    for future in futures:
        future.result(PATIENCE)
    subject.close()
    assert done == ["boot", "first", "second", "late"]


def test_what_is_done_may_add_more() -> None:
    subject = Pool(1)
    assert subject.add(0, lambda: subject.add(0, lambda: "more")).result(PATIENCE).result(PATIENCE) == "more"
    subject.close()


def test_an_error_belongs_to_who_asks() -> None:
    subject = Pool(1)
    with pytest.raises(pytest.fail.Exception, match="of a check"):
        subject.add(0, lambda: pytest.fail("of a check")).result(PATIENCE)
    assert subject.add(0, lambda: "still alive").result(PATIENCE) == "still alive"
    subject.close()


def test_closed_it_does_nothing_more() -> None:
    subject, gate, begun = Pool(1), threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return gate.wait(PATIENCE)

    subject.add(0, hold)
    waiting = subject.add(0, lambda: "never")
    begun.wait(PATIENCE)
    closing = threading.Thread(target=subject.close)
    closing.start()
    gate.set()
    closing.join(PATIENCE)
    for future in (waiting, subject.add(0, lambda: "too late")):
        with pytest.raises(CancelledError):
            future.result(PATIENCE)


@pytest.mark.parametrize(
    ("processors", "free", "guests"),
    [(2, 24000, 2), (8, 24000, 8), (8, 1000, 3), (8, 100, 1), (1, 24000, 1)],
    ids=["processors", "more-processors", "memory", "hardly-any-memory", "one-processor"],
)
def test_room(monkeypatch: pytest.MonkeyPatch, processors: int, free: int, guests: int) -> None:
    monkeypatch.setattr(pool, "processors", lambda: processors)
    monkeypatch.setattr(pool, "available", lambda: free)
    assert pool.room(256) == guests


def test_a_control_group_limits_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pool, "_CGROUP", tmp_path)
    whole = (pool.processors(), pool.available())
    assert min(whole) > 0
    for name, text in {
        "cpu.max": "100000 100000",
        "memory.max": str(300 << 20),
        "memory.current": str(100 << 20),
        "memory.stat": f"anon 5\ninactive_file {50 << 20}\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert (pool.processors(), pool.available()) == (1, min(whole[1], 250))
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "memory.max").write_text("max")
    assert pool.processors() == whole[0]

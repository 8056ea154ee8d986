# SPDX-License-Identifier: GPL-2.0-only
"""Work side by side: as many guests at once as the host has processors and memory for."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

#: MiB that a QEMU takes beside its guest's memory (measured with 7.2: 40 to 60).
OVERHEAD = 64
#: Seconds in which a thread must end once its guests are taken away; it is not waited for any longer.
ENDING = 10.0
_CGROUP = Path("/sys/fs/cgroup")

T = TypeVar("T")


class Pool:
    """Threads that do what is most urgent first. What is being done may add more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._waiting: list[tuple[float, int, Callable[[], None], Future[Any]]] = []
        self._count = itertools.count()
        self._change = threading.Condition()
        self.closed = False
        self._threads: list[threading.Thread] = []

    def add(self, rank: float, work: Callable[[], T]) -> Future[T]:
        """Do ``work`` in some thread, before all work of a higher rank; what it returns or raises is in the future."""
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks the future
                future.set_exception(error)

        with self._change:
            if self.closed:
                future.cancel()
                return future
            heapq.heappush(self._waiting, (rank, next(self._count), do, future))
            if len(self._threads) < self.size:
                thread = threading.Thread(target=self._serve, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._change.notify()
        return future

    def close(self) -> None:
        """Do nothing more; what is being done should have been told to end."""
        with self._change:
            self.closed = True
            for *_, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._change.notify_all()
        for thread in self._threads:
            thread.join(ENDING)

    def _serve(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self.closed:
                    self._change.wait()
                if self.closed:
                    return
                *_, do, future = heapq.heappop(self._waiting)
            if future.set_running_or_notify_cancel():
                do()


def room(memory: int) -> int:
    """How many guests of ``memory`` MiB this host can run at once, by its processors and by what is free now."""
    return max(1, min(processors(), available() // (memory + OVERHEAD)))


def processors() -> int:
    """Those that we may use: by affinity, and by the quota of our control group (cpu.max of cgroup-v2.rst)."""
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = (int(word) for word in (_CGROUP / "cpu.max").read_text().split())
        count = min(count, max(1, quota // period))
    return count


def available() -> int:
    """MiB of memory that can be had without swapping: the host's, or what our control group leaves us."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError, StopIteration):
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        stat = (_CGROUP / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
        free = min(free, (limit - used + cached) >> 20)
    return free

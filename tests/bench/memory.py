# SPDX-License-Identifier: GPL-2.0-only
"""How much memory a run takes at its worst moment."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import process

from .subject import TOP, environment, failure

#: Seconds between two looks; a fork of a guest lives a few times as long.
PAUSE = 0.03


def peak(argv: Sequence[str | Path]) -> float:
    """The most MiB that a program and all its children had at once. Raises FailedError if it did not end well.

    It is the sum of their proportional shares (proc(5), smaps_rollup): what guests share is counted once.
    """
    highest = 0
    with tempfile.TemporaryFile() as output:
        with process.spawn(argv, cwd=TOP, env=environment(), stdout=output, stderr=subprocess.STDOUT) as child:
            while child.poll() is None:
                highest = max(highest, sum(share(pid) for pid in family(child.pid)))
                time.sleep(PAUSE)
        if child.returncode:
            output.seek(0)
            raise failure(argv, child.returncode, output.read().decode(errors="replace"))
    return highest / 1024


def family(pid: int) -> Iterator[int]:
    """A process and all below it, in whatever session they are."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it has just ended
        children.setdefault(parent, []).append(int(path.parent.name))
    waiting = [pid]
    while waiting:
        yield (one := waiting.pop())
        waiting += children.get(one, [])


def share(pid: int) -> int:
    """KiB that a process has to itself, and its part of what it shares; 0 if it is gone."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0

# SPDX-License-Identifier: GPL-2.0-only
"""What the system tests share: the real program as a child process, and what it left behind. No tests here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds after which a program that has not ended is taken for hung. No test is about how long something takes.
PATIENCE = 180.0
#: The same where a real kernel is built, a hundred times what those tests are about.
BUILDING = 6 * 3600.0


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All of it, with every run of blanks as one: tables and long lines are wrapped where a terminal ends."""
        return " ".join((self.out + self.err).split())

    def __str__(self) -> str:
        return f"exit status {self.status}\n{self.out}\n--- stderr\n{self.err}"


class Running:
    """A program that was started and has not been waited for."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.seen = ""

    def read_until(self, words: str) -> None:
        """Read its stdout as far as the line that has ``words``; it must come before the program ends."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.seen += line
            if words in line:
                return
        raise AssertionError(f"it ended without saying {words!r}:\n{self.end()}")

    def stop_reading(self) -> None:
        """Close the pipe that is its stdout."""
        assert self.child.stdout is not None
        self.child.stdout.close()
        self.child.stdout = None

    def end(self, stdin: str | None = None) -> Done:
        """Wait for its end, after it got its ``stdin`` if that is a pipe."""
        out, err = self.child.communicate(stdin, timeout=PATIENCE)
        return Done(self.child.returncode, self.seen + (out or ""), err)


class Program:
    """``python -m harness`` and pytest with the plugin, with a cache of their own."""

    def __init__(self, cache: Path, directory: Path) -> None:
        self.cache = cache
        self.directory = directory

    def run(self, *words: str | Path, **variables: str) -> Done:
        """``harness run WORDS`` to its end; it may not install anything."""
        return self.end(["-m", "harness", "run", "--no-install", *words], variables)

    def build(self, *words: str | Path, **variables: str) -> Done:
        """``harness build WORDS`` to its end; it may not install anything."""
        return self.end(["-m", "harness", "build", "--no-install", *words], variables)

    def compare(self, *words: str | Path, **variables: str) -> Done:
        """``harness compare WORDS`` to its end; it may not install anything."""
        return self.end(["-m", "harness", "compare", "--no-install", *words], variables)

    def pytest(self, *words: str | Path, **variables: str) -> Done:
        """Pytest to its end, with the plugin as an installed distribution brings it."""
        return self.end(["-m", "pytest", "-p", "no:cacheprovider", *words], variables)

    def end(self, words: Sequence[str | Path], variables: Mapping[str, str], stdin: str | None = None) -> Done:
        """Python with ``words``, to its end, however long it takes."""
        with self._started(words, variables, subprocess.DEVNULL if stdin is None else subprocess.PIPE) as running:
            return running.end(stdin)

    @contextmanager
    def started(self, *words: str | Path, **variables: str) -> Iterator[Running]:
        """``harness run WORDS``, killed when the block is left and it has not ended."""
        with self._started(["-u", "-m", "harness", "run", "--no-install", *words], variables) as running:
            yield running

    @contextmanager
    def building(self, *words: str | Path, **variables: str) -> Iterator[Running]:
        """``harness build WORDS``, killed when the block is left and it has not ended."""
        with self._started(["-u", "-m", "harness", "build", "--no-install", *words], variables) as running:
            yield running

    @contextmanager
    def applying(self, *words: str | Path, **variables: str) -> Iterator[Running]:
        """``harness series apply WORDS``, killed when the block is left and it has not ended."""
        given = ["-u", "-m", "harness", "series", "apply", "--no-install", *words]
        with self._started(given, variables) as running:
            yield running

    @contextmanager
    def _started(
        self, words: Sequence[str | Path], variables: Mapping[str, str], stdin: int = subprocess.DEVNULL
    ) -> Iterator[Running]:
        # What steers the pytest that runs this test is not for the one under test.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NULLFS"))}
        env |= {"NULLFS_HARNESS_CACHE": str(self.cache), "COLUMNS": "200", **variables}
        argv = [sys.executable, *(str(word) for word in words)]
        with subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            cwd=self.directory, env=env, preexec_fn=listen,  # noqa: PLW1509 - the child has no threads yet
        ) as child:  # fmt: skip
            try:
                yield Running(child)
            finally:
                child.kill()

    def left(self) -> list[str]:
        """What there should not be any more: processes that know the cache's path, and files in its tmp/."""
        mine = {os.getpid(), os.getppid()}
        ours = [(pid, line) for pid, line in command_lines() if str(self.cache) in line and pid not in mine]
        processes = [f"process {pid}: {line}" for pid, line in ours]
        tmp = self.cache / "tmp"
        return processes + ([str(path) for path in tmp.iterdir()] if tmp.is_dir() else [])

    def qemus(self, words: str = "") -> list[int]:
        """The QEMU processes whose console goes into this cache: each guest's name is where it goes."""
        found = [(pid, line) for pid, line in command_lines() if "qemu-system" in line and str(self.cache) in line]
        return [pid for pid, line in found if words in line]


class SpiedQemu:
    """The host's QEMU, started by way of a script that keeps a list of what it was started for."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir()
        self._script = directory / name
        self._list = directory / "starts"
        self._list.touch()
        self._real = shutil.which(name)
        self.path = f"{directory}{os.pathsep}{os.environ['PATH']}"
        self.always("")

    def always(self, words: str, before: str = "") -> None:
        """Start it with these words of sh, too, after these lines of it."""
        self._script.write_text(
            f"#!/bin/sh\n"
            f'case " $* " in *" -incoming "*) echo fork;; *" -kernel "*) echo boot;; esac >>{self._list}\n'
            f"{before}\n"
            f'exec {self._real} "$@" {words}\n'
        )
        self._script.chmod(0o755)

    def change(self) -> None:
        """Be another program."""
        self._script.write_text(self._script.read_text() + "# another\n")

    def starts(self) -> list[str]:
        """What it was started for so far: "boot" or "fork"."""
        return self._list.read_text().split()


def listen() -> None:
    """Hear SIGINT, which a shell lets its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def command_lines() -> Iterator[tuple[int, str]]:
    """Every process of the host with its command line (proc(5))."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue  # it has just ended
        yield int(path.parent.name), words.replace(b"\0", b" ").decode(errors="replace")


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true while there is patience."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def results(path: Path) -> dict[str, dict[str, Any]]:
    """The results in a file of ``--json``, by check."""
    return {result["check"]: result for result in json.loads(path.read_text())["results"]}


@dataclass(frozen=True)
class Case:
    """One check as JUnit has it: pytest's outcome, our verdict, and all the words."""

    outcome: str
    verdict: str
    text: str


def cases(path: Path) -> dict[str, Case]:
    """The checks of a JUnit file of pytest's, by their functions' names without test_."""
    found = {}
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - written by the pytest that we started
        verdict = next((one.get("value", "") for one in case.iter("property") if one.get("name") == "verdict"), "")
        inside = {child.tag: child for child in case}
        outcome = next((tag for tag in ("failure", "error", "skipped") if tag in inside), "passed")
        words = [f"{child.get('message', '')}\n{child.text or ''}" for child in case]
        found[case.get("name", "").partition("[")[0].removeprefix("test_")] = Case(outcome, verdict, "\n".join(words))
    return found


def harness(*words: str | Path, **variables: str) -> Done:
    """The program, with the user's own cache: a kernel that is there need not be built for each run of the tests."""
    env = {name: value for name, value in os.environ.items() if name not in ("ARCH", "CROSS_COMPILE", "LLVM")}
    end = words.index("--") if "--" in words else len(words)
    argv = [sys.executable, "-m", "harness", *words[:end], "--no-install", *words[end:]]
    done = subprocess.run(
        argv, capture_output=True, text=True, errors="replace",
        timeout=BUILDING, check=False, env=env | {"COLUMNS": "200"} | variables,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)

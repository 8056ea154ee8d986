# SPDX-License-Identifier: GPL-2.0-only
"""How programs of kselftest run in a guest, and which of their tests cannot pass there. No checks here."""

from __future__ import annotations

import json
import struct
import textwrap
import time
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from harness import abi, ktap
from harness.guest import Guest
from harness.selftests import GUEST, LIST

#: Seconds of one program: kselftest's runner gives it 45, and 300 where a directory says so; here processors are
#: emulated.
LIMIT = 300.0
#: Lines of what a program printed that are shown where a test of it fails.
SHOWN = 12
FACTS = Path(__file__).with_name("selftests.toml")


def run(guest: Guest, *directories: str, stack: int = 0) -> None:
    """Run every program of the directories that fit those globs, one after the other, and judge their tests.

    ``stack``: bytes of a thread's, if not as many as usual.
    What they print is beside the console, in a file that ends in .tap.
    """
    prepare(guest)
    programs = json.loads(guest.read_text(f"/{GUEST}/{LIST}"))
    chosen = [name for name in programs if any(fnmatchcase(name, glob) for glob in directories)]
    said: dict[str, str] = {}
    for directory in chosen:
        for program in programs[directory]:
            name = f"{directory.replace('/', '.')}.{program}"
            if any(fnmatchcase(name, each["program"]) for each in facts()["out"]):
                continue
            begun = time.monotonic()
            status, said[name] = performed(guest, directory, program, stack)
            guest.tests |= ktap.program(name, said[name], status)
            with guest.console.with_suffix(".tap").open("a", encoding="utf-8") as evidence:
                evidence.write(f"# selftests: {directory}: {program}\n{textwrap.indent(said[name].rstrip(), '# ')}\n")
                ended = "it did not end" if status is None else f"exit status: {status}"
                evidence.write(f"# {ended}, after {time.monotonic() - begun:.1f} s\n")
    judge(guest, said)


def prepare(guest: Guest) -> None:
    """What a distribution has, and programs count on."""
    guest.run("/usr/bin/busybox", "--install", "-s", "/usr/bin")
    guest.makedirs("/mnt", "/root", "/home", "/var", "/var/tmp", "/dev/pts", "/dev/shm")
    for place, kind in (
        ("/tmp", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/sys/fs/cgroup", "cgroup2"),
    ):
        if guest.exists(place):  # what the kernel does not have, programs of it skip
            guest.outcome("mount", kind, place, kind, 0, "")
    guest.outcome("symlinkat", "/proc/self/fd", abi.AT_FDCWD, "/dev/fd")


def load(guest: Guest, *names: str) -> None:
    """Load modules that programs expect to find."""
    for name in names:
        guest.load_module(name)


@cache
def facts() -> dict[str, list[dict[str, str]]]:
    """What is known of programs and tests: see the file."""
    return tomllib.loads(FACTS.read_text(encoding="utf-8"))


def performed(guest: Guest, directory: str, name: str, stack: int) -> tuple[int | None, str]:
    """The exit status of one program, None if it did not end in time, and what it printed."""
    path = f"/{GUEST}/{directory}/{name}"
    if not guest.exists(path):
        return 127, f"{path} could not be built"
    child = guest.spawn()
    child.chdir(f"/{GUEST}/{directory}")
    if stack:
        child.call("prlimit64", 0, abi.RLIMIT_STACK, struct.pack("<QQ", stack, abi.RLIM_INFINITY), 0)
    program = child.launch(path)
    status: int | None = None
    try:
        guest.until(lambda: program.ended, name, LIMIT)
    except AssertionError:
        said = program.output
        program.kill()
    else:
        status, said = program.wait()
    child.exit()  # a guest has room for so many at once
    guest.wait(child)
    return status, said


def judge(guest: Guest, said: dict[str, str]) -> None:
    """Fail if a test has failed that could have passed; with ``said``, what the programs printed."""
    assert guest.tests, "no test has said anything"
    known = [each["test"] for each in facts()["known"]]
    all_bad = {path: outcome for path, outcome in guest.tests.items() if outcome in ktap.BAD}
    expected = {path for path in all_bad if any(fnmatchcase(path, glob) for glob in known)}
    bad = {path: outcome for path, outcome in all_bad.items() if path not in expected}
    for path in list(bad):  # a program that fails for no more than that
        within = {each for each in all_bad if each.startswith(f"{path}.")}
        if within and within <= expected:
            del bad[path]
    guest.tests |= dict.fromkeys(all_bad.keys() - bad.keys(), ktap.XFAIL)
    words = [f"{len(bad)} of {len(guest.tests)} tests of the tree's own do not pass:"]
    words += [f"  {path}: {outcome}" for path, outcome in bad.items()]
    for name in bad.keys() & said.keys():
        words += [f"{name} said at last:", *(f"  {line}" for line in said[name].splitlines()[-SHOWN:])]
    if bad:
        raise AssertionError("\n".join(words))

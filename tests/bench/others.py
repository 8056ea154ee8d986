# SPDX-License-Identifier: GPL-2.0-only
"""The same question to other tools: which file system is PID 1's root on, and which a kernel thread's?"""

from __future__ import annotations

import platform
import re
import shutil
import time
from collections.abc import Sequence
from subprocess import CompletedProcess

from harness import process
from harness.deadline import Deadline
from harness.errors import HostError

from .figures import CannotError
from .subject import Target, environment, telling

QUESTION = "stat -f -c %t /proc/1/root /proc/2/root"
#: What it prints: two numbers, each on a line.
ANSWER = re.compile(r"^[0-9a-f]+\r?\n[0-9a-f]+\r?$", re.MULTILINE)
#: Seconds that virtme-ng may take for one boot, and tuxrun, which downloads a root file system the first time.
VIRTME, TUXRUN = 120.0, 900.0
#: What says best why a boot led nowhere.
TROUBLE = re.compile(r"Kernel panic.*|\w*[Ee]rror: .*")


class Virtme:
    """virtme-ng, which boots this host's own files, shared over virtiofs or 9p."""

    def __init__(self, target: Target) -> None:
        """Try it once. Raises CannotError if virtme-ng cannot boot that kernel here."""
        kernel = target.kernel
        if kernel.arch.qemu != platform.machine():
            raise CannotError(f"virtme-ng boots this host's own files, so not a kernel for {kernel.arch.name}")
        # The image alone: of modules beside it virtme-ng would make an initramfs, and it cannot unpack .ko.xz.
        image = target.scratch / "image"
        shutil.copyfile(kernel.boot, image)
        slow = [] if target.accel == "kvm" else ["--disable-kvm"]
        # It is given its best chance: over virtiofs, and over 9p, without 3 s of waiting for a virtiofsd that
        # is not there. -v: where no udev runs, the answer comes over the console, which the harness keeps too.
        tried: dict[float, list[str]] = {}
        for way in ([], ["--force-9p"]):
            self.command = ["vng", *slow, *way, "-v", "-r", str(image), "--", QUESTION]
            try:
                tried[self.sample()] = self.command
            except CannotError as error:
                refusal = error
        if not tried:
            raise refusal
        self.command = tried[min(tried)]

    def sample(self) -> float:
        """Seconds of a run. Raises CannotError."""
        seconds, done = timed(self.command, VIRTME)
        if not ANSWER.search(done.stdout):
            found = TROUBLE.search(done.stdout)
            why = found[0].strip() if found else telling(done.stdout)
            raise CannotError(f"virtme-ng does not boot this kernel, see tests/bench/README.md: {why}")
        return seconds


class Tuxrun:
    """tuxrun, which boots a root file system of its own under LAVA's dispatcher, in a container."""

    def __init__(self, target: Target) -> None:
        """Try it once. Raises CannotError if it cannot run here."""
        if shutil.which("tuxrun", path=environment()["PATH"]) is None:
            raise CannotError("tuxrun is not installed: pip install tuxrun, and have podman or docker")
        self.command = ["tuxrun", "--runtime", runtime(), "--device", f"qemu-{target.kernel.arch.name}"]
        self.command += ["--kernel", str(target.kernel.boot), "--", QUESTION]
        self.sample()

    def sample(self) -> float:
        """Seconds of a run. Raises CannotError."""
        seconds, done = timed(self.command, TUXRUN)
        if done.returncode:
            raise CannotError(f"status {done.returncode}: {telling(done.stdout)} ({process.pasteable(self.command)})")
        return seconds


def runtime() -> str:
    """The container runtime that tuxrun can use here. Raises CannotError if there is none that works."""
    refusals = []
    for name in ("podman", "docker"):
        try:
            done = process.run([name, "info"], Deadline.after(30))
        except HostError as error:
            refusals.append(error.what)
            continue
        if done.returncode == 0:
            return name
        refusals.append(f"{name}: {telling(done.stderr)}")
    if shutil.which("lava-run"):
        return "null"
    raise CannotError(f"tuxrun needs a container runtime that works: {'; '.join(refusals)}")


def timed(argv: Sequence[str], limit: float) -> tuple[float, CompletedProcess[str]]:
    """Seconds of a program that may fail, and how it ended. Raises CannotError if it does not end within ``limit``."""
    begun = time.perf_counter()
    try:
        done = process.run(argv, Deadline.after(limit), env=environment(), merge=True)
    except HostError as error:
        raise CannotError(f"{error.what} ({process.pasteable(argv)})") from error
    return time.perf_counter() - begun, done

# SPDX-License-Identifier: GPL-2.0-only
"""The yardstick: one bare boot of a kernel with the harness's own image, from QEMU's start to its end."""

from __future__ import annotations

import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from harness import agent, process, qemu, resources, toolchain
from harness.deadline import Deadline
from harness.initramfs import Archive, Entry
from harness.kernel import Kernel

from .figures import FailedError

#: Seconds that a boot may take.
LIMIT = 120.0
#: QEMU's options, each with a value, that connect a guest with the harness.
LINES = {"-add-fd", "-chardev", "-serial", "-mon"}


def image(kernel: Kernel, scratch: Path) -> Path:
    """The image of every guest, and behind it one more archive whose /init, replacing the agent, resets the machine.

    It is a reset because every kernel can do that, one without ACPI too, and -no-reboot makes it an end.
    So the guest ends itself, and nobody has to talk to it. Raises HostError.
    """
    deadline = Deadline.after(LIMIT)
    made, source = scratch / "restart", Path(__file__).with_name("restart.c")
    (scratch / "syscalls.h").write_text(resources.render("initramfs", "syscalls.h.j2", arch=kernel.arch))
    flags = [flag for flag in agent.FLAGS if flag not in agent.OPTIONAL]
    argv: list[str | Path] = [*toolchain.compiler(kernel.arch, deadline), *flags, "-I", scratch]
    argv += ["-I", resources.directory("initramfs"), source, "-o", made]
    done = process.run(argv, deadline, merge=True)
    if done.returncode:
        raise FailedError(f"{source.name} does not compile: {done.stdout.strip().splitlines()[0]}")
    whole = agent.image(kernel.arch, deadline).read_bytes()
    last = Archive("none", [Entry("/init", 0o100755, body=made.read_bytes())]).pack()
    path = scratch / "bare.cpio"
    path.write_bytes(whole + bytes(-len(whole) % 4) + last)
    return path


class Cost(NamedTuple):
    """What a boot took: wall seconds, and CPU seconds of QEMU."""

    seconds: float
    cpu: float


def boot(setup: qemu.Setup) -> Cost:
    """QEMU from its start to its end. Raises FailedError if the kernel did not get as far as /init."""
    # The harness's own machine, but for its lines: here the console just goes out, and there is no monitor.
    words = qemu.arguments(setup, console=Path("unused"), qmp=-1)
    argv = [word for first, word in pairwise(["", *words]) if not {first, word} & LINES]
    begun, before = time.perf_counter(), process.children_cpu()
    with process.spawn([*argv, "-serial", "stdio"], stdout=subprocess.PIPE) as child:
        try:
            text, _ = child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"the bare boot did not end within {LIMIT:.0f} s") from error
        seconds = time.perf_counter() - begun
    if b"reboot: Restarting system" not in text:  # kernel/reboot.c: kernel_restart()
        last = text.decode(errors="replace").strip().splitlines()[-1:] or ["it printed nothing"]
        raise FailedError(f"the bare boot did not come to its /init: {last[0]}")
    return Cost(seconds, process.children_cpu() - before)

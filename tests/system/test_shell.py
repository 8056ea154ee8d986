# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``shell``: a real kernel at the other end of a real terminal, of a pipe, and of a debugger's socket."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from program import PATIENCE, Done, Program, eventually, harness
from test_bad_spec import arm64_image

from harness import apt
from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.deadline import Deadline
from harness.profiles import MEMORY

#: Where hw/arm/virt.c of QEMU has its RAM.
RAM = 1 << 30
ROOTS = "stat -f -c %t /proc/1/root /proc/2/root"


@pytest.fixture
def shell(program: Program) -> Program:
    """The program, with busybox in its cache, so that nothing is fetched twice."""
    for arch in ARCHES:
        where = program.cache / "packages" / arch.debian / "busybox-static"
        if not where.exists():
            where.parent.mkdir(parents=True, exist_ok=True)
            where.symlink_to(apt.fetch("busybox-static", arch, Deadline.after(300)))
    return program


def ask(debugger: socket.socket, question: str) -> str:
    """What a stub says to a packet: dollar sign, contents, and their sum behind a number sign."""
    debugger.sendall(b"+$%s#%02x" % (question.encode(), sum(question.encode()) % 256))
    said = b""
    while not (packet := re.search(rb"\$([^#]*)#..", said)):
        more = debugger.recv(4096)
        assert more, said
        said += more
    return packet[1].decode()


def ended(program: Program, *words: str | Path, stdin: str = "") -> Done:
    """``harness shell WORDS`` to its end."""
    return program.end(["-m", "harness", "shell", "--no-install", *words], {}, stdin)


@contextmanager
def terminal(program: Program, *words: str | Path) -> Iterator[pexpect.spawn]:
    """``harness shell WORDS`` on a terminal of its own, killed when the block is left and it has not ended."""
    env = os.environ | {"NULLFS_HARNESS_CACHE": str(program.cache), "TERM": "vt220"}
    argv = ["-m", "harness", "shell", "--no-install", *map(str, words)]
    child = pexpect.spawn(
        sys.executable, argv, cwd=program.directory, env=env, timeout=PATIENCE, dimensions=(33, 111), encoding="utf-8"
    )
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.mark.boots
def test_a_terminal(shell: Program, image: Path) -> None:
    with terminal(shell, "--kernel", image) as child:
        before = termios.tcgetattr(child.child_fd)
        child.expect("To leave: .*\n")
        child.expect("# ")
        assert termios.tcgetattr(child.child_fd) != before  # Ctrl-C is the guest's
        child.sendline("cat /proc/version; stty size; echo $TERM")
        child.expect(r"Linux version 7\.\d+[^\n]*\r*\n33 111\r*\nvt220")
        child.sendline(ROOTS)
        child.expect(r"\n[0-9a-f]+\r*\n4e554c4c\r*\n")  # NULL_FS_MAGIC
        child.sendline("sh -c 'echo waiting; exec sleep 10000'")
        child.expect(r"\nwaiting\r*\n")
        child.sendintr()
        child.sendline("sleep 10000 & jobs")
        child.expect(r"\[1\]\+ +Running")
        child.sendline("poweroff -f")
        child.expect(pexpect.EOF)
        assert termios.tcgetattr(child.child_fd) == before
        assert child.wait() == 0


@pytest.mark.boots
def test_the_end_of_the_shell_is_the_end(shell: Program, x86_image: Path) -> None:
    with terminal(shell, "--kernel", x86_image) as child:
        child.expect("# ")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        assert child.wait() == 0


@pytest.mark.boots
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_stopped(shell: Program, image: Path, number: signal.Signals) -> None:
    with terminal(shell, "--kernel", image) as child:
        before = termios.tcgetattr(child.child_fd)
        child.expect("# ")
        child.kill(number)
        child.expect("interrupted")
        assert child.wait() == 128 + number
        assert termios.tcgetattr(child.child_fd) == before
    assert shell.left() == []


@pytest.mark.boots
def test_the_terminal_is_closed(shell: Program, image: Path) -> None:
    with terminal(shell, "--kernel", image) as child:
        child.expect("# ")
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), child.child_fd)  # nobody holds its other end any more
        assert eventually(lambda: not shell.left())


@pytest.mark.boots
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_a_script_on_stdin(shell: Program, image: Path, x86_image: Path, arch: Arch) -> None:
    """Not a byte of it is lost, though it comes before the guest's serial port is listened to."""
    kernel = {ARM64.name: image, X86_64.name: x86_image}[arch.name]
    script = "uname -m\n" + "echo a line that is long enough to fill a FIFO\n" * 500 + "poweroff -f\n"
    done = ended(shell, "--kernel", kernel, stdin=script)
    assert done.status == 0, done
    lines = done.out.splitlines()
    assert lines[0] == arch.qemu
    assert lines.count("a line that is long enough to fill a FIFO") == 500


@pytest.mark.boots
def test_a_command(shell: Program, image: Path) -> None:
    done = ended(
        shell, "--kernel", image, "--append", "one", "--append", "two=2", "--", f"{ROOTS}; cat /proc/cmdline; exit 7"
    )
    assert done.status == 7, done
    first, second, line = done.out.splitlines()
    assert (first != second, second) == (True, "4e554c4c"), done
    assert " one two=2 rdinit=/bin/busybox -- " in line


@pytest.mark.boots
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_what_checks_of_a_profile_have(arch: Arch) -> None:
    commands = "btrfs --version", "modprobe btrfs", "grep -c btrfs /proc/filesystems", "grep MemTotal /proc/meminfo"
    words = ["--kernel", "debian:isolated", "--arch", arch.name, "--profile", "storage", "--", " && ".join(commands)]
    done = harness("shell", *words)  # with the user's cache, which has Debian's programs
    assert done.status == 0, done
    version, known, memory = (line for line in done.out.splitlines() if line[0] in "bM1")
    assert version.startswith("btrfs-progs v")
    assert known == "1"
    assert int(memory.split()[1]) > MEMORY << 10


@pytest.mark.boots
def test_a_command_that_kills_the_guest(shell: Program, image: Path) -> None:
    done = ended(shell, "--kernel", image, "--", "echo c >/proc/sysrq-trigger")
    assert done.status == 1, done
    assert "the guest died before its command had ended" in done.err
    assert "Kernel panic - not syncing: sysrq triggered crash" in done.out


@pytest.mark.boots
def test_a_debugger(shell: Program, image: Path) -> None:
    with terminal(shell, "--kernel", image, "--gdb") as child:
        before = termios.tcgetattr(child.child_fd)
        child.expect(r"the kernel waits for a debugger:\r\n  ([^\r]*)\r\n")
        command = shlex.split(child.match[1])
        assert command[0] == ("gdb" if os.uname().machine == ARM64.qemu else "gdb-multiarch")
        child.expect("without symbols: there is no vmlinux beside")
        path = command[-1].removeprefix("target remote ")
        assert path.startswith(str(shell.cache / "tmp"))
        assert eventually(lambda: termios.tcgetattr(child.child_fd) != before)  # QEMU has it
        child.send("\x01c")
        child.expect(r"\(qemu\) ")
        child.sendline("info status")
        child.expect("VM status: ([^\r]*)\r")
        assert child.match[1] == "paused (prelaunch)"  # a debugger that comes would stop it anyway
        child.send("\x01c")
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.settimeout(PATIENCE)
            debugger.connect(path)
            assert ask(debugger, "?")[0] in "TS"  # it is stopped (gdb's manual, Remote Protocol)
            # At its first instruction: pc is where the RAM of QEMU's virt machine begins.
            # The registers are x0 to x30, sp and pc, each 16 digits.
            assert ask(debugger, "g")[32 * 16 : 33 * 16] == RAM.to_bytes(8, "little").hex()
            debugger.sendall(b"+$c#63")  # go on
            child.expect("# ")
            child.sendline("cat /proc/cmdline")
            child.expect(" nokaslr ")
            child.sendline("poweroff -f")
            child.expect(pexpect.EOF)
        assert child.wait() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kernel", "Image", "--kernel", "Image"], "a shell runs on one kernel, and these are 2"),
        (["--kernel", "Image", "--arch", "x86_64"], "Image is a kernel for arm64, not for x86_64"),
        (["--kernel", "debian:7.3"], "debian:7.3 is a kernel for each architecture, .* --arch x86_64 or --arch arm64"),
        (["--kernel", "text"], "text is no kernel image: it is a text file"),
        (["--kernel", "nothing"], "nothing does not exist"),
        (["--kernel", "Image", "--gdb", "--vng"], "--vng: not allowed with argument --gdb"),
        (["--kernel", "Image", "--memory", "0"], "--memory 0"),
        ([], "the following arguments are required: --kernel"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_bad_words(program: Program, words: list[str], message: str) -> None:
    arm64_image(program.directory / "Image")
    (program.directory / "text").write_text("This is no kernel.\n" * 100)
    done = ended(program, *words)
    assert done.status == 2, done
    assert re.search(message, done.text), done
    assert "Traceback" not in done.text


@pytest.mark.skipif(os.uname().machine == ARM64.qemu, reason="an arm64 kernel is not foreign here")
def test_virtme_boots_no_foreign_kernel(program: Program) -> None:
    done = ended(program, "--kernel", arm64_image(program.directory / "Image"), "--vng")
    assert done.status == 2, done
    assert "virtme-ng boots this host's own files" in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``shell``: a kernel with the image of every guest, and in place of the agent a shell."""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness import accel, agent, apt, arch, cache, declared, initramfs, kernel, process, profiles, qemu, resources
from harness.arch import ARCHES, Arch
from harness.build import Order
from harness.deadline import Deadline
from harness.errors import EXIT_OK, GuestCrash, HostError, RequestError
from harness.kernel import Kernel
from harness.profiles import Profile
from harness.spec import DebianSpec, parse_spec

#: Seconds for the download of the kernel, of busybox and of a profile's packages, and for the agent's compilation.
FETCH = 1800.0
#: Debian's package with a busybox that needs no libraries. It is in sid for all architectures (see apt.SUITES).
BUSYBOX = "busybox-static"
#: MiB that a guest must have: its image alone takes 4.
LEAST = 16
#: Bytes of a script on stdin: it becomes a part of the guest's image.
SCRIPT = 1 << 20
#: How the guest tells its command's exit status (initramfs/shell.sh).
STATUS = re.compile(rb"\x1e(\d+)\x1e\r?\n")
#: What the kernel prints before an orderly end, at any loglevel (kernel/reboot.c); a panic's reset has no such line.
ORDERLY = re.compile(rb"reboot: (Power down|Restarting system|.*System halted)")
#: A small kernel for x86_64 has no ACPI, by which it could switch the machine off: it stands still.
HALTED = re.compile(rb"reboot: .*System halted")
NEEDS = (
    "virtme-ng shares this host's files: the kernel needs 9p built in (tests/bench/virtme.config), or virtiofs, "
    "and the host virtiofsd"
)


def run(args: argparse.Namespace) -> int:
    """A shell on ``args.kernel``, or a command that is run there. Returns the exit status.

    It lasts as long as its user wants, so it is the one verb without a deadline; SIGTERM ends it as well.
    Raises RequestError, HostError, and GuestCrash if a command's guest died.
    """
    if len(args.kernel) > 1:
        raise RequestError(f"a shell runs on one kernel, and these are {len(args.kernel)}", hint="give --kernel once")
    wanted = [profiles.by_name(name) for name in dict.fromkeys((profiles.DEFAULT, *args.profile))]
    memory = max(profile.memory for profile in wanted) if args.memory is None else args.memory
    if memory < LEAST:
        raise RequestError(f"--memory {memory}: no kernel does with less than {LEAST} MiB", hint="leave it away")
    deadline = Deadline.after(FETCH)
    order = Order(args.profile, declared.needs(None, args.profile), args.fragment, say)
    subject = _kernel(args.kernel[0], [arch.by_name(name) for name in args.arch], order, deadline)
    chosen = accel.known(subject.arch, args.accel) or accel.Accel("tcg", "KVM has not been tried")
    append = shlex.split(" ".join(args.append))
    if args.vng:
        return _virtme(subject, chosen.name, memory, append, args.words)
    command = _command(args.words)
    with ExitStack() as stack:
        scratch = stack.enter_context(cache.scratch("shell"))
        initrd = scratch / "initramfs"
        with cache.writing(initrd):
            initrd.write_bytes(image(subject, wanted, command, deadline))
        listening = stack.enter_context(_listening(scratch / "gdb")) if args.gdb else None
        words = (*_parameters(command), *(("nokaslr",) if args.gdb else ()), *append)
        start = ("rdinit=/bin/busybox", "--", "sh", "/shell")  # so, a kernel that knows no scripts can do it
        setup = qemu.Setup(subject.arch, subject.boot, initrd, chosen.name, memory, (*words, *start))
        if args.gdb:
            say(f"the kernel waits for a debugger:\n  {debugger(subject, scratch / 'gdb')}")
        return _attend(setup, listening, command)


def say(text: str) -> None:
    """A line for the user. Not on stdout, which is the guest's console."""
    print(text, file=sys.stderr, flush=True)


def _kernel(spec: str, arches: Sequence[Arch], order: Order, deadline: Deadline) -> Kernel:
    if len(arches) > 1 or (not arches and isinstance(parse_spec(spec), DebianSpec)):
        names = " or ".join(f"--arch {each.name}" for each in ARCHES)
        raise RequestError(f"{spec} is a kernel for each architecture, and a shell runs on one", hint=names)
    return kernel.resolve(spec, arches, deadline, order)[0]


def image(subject: Kernel, wanted: Sequence[Profile], command: bytes | None, deadline: Deadline) -> bytes:
    """The images of guests of the ``wanted`` profiles, and behind them an archive with busybox and what it is to do.

    One that is a file system is left out: the shell is PID 1 of an initramfs. Raises RequestError, HostError.
    """
    asking = declared.declared([resources.directory("tests/kernel")])
    # The same modules in each of them: the last one's list of them is the one that counts.
    names = {name for profile in wanted for name in declared.loadable(asking, profile.name)}
    whole = b""
    for profile in wanted:
        if not profile.image:
            made = agent.image_with(subject, names, profile, deadline).read_bytes()
            whole += bytes(-len(whole) % 4) + made
    # Looked for where Debian has had it: bin/ became usr/bin/ in 2024.
    busybox = next(apt.fetch(BUSYBOX, subject.arch, deadline).glob("**/bin/busybox"))
    sources = resources.directory("initramfs")
    files = {"busybox": busybox.read_bytes(), "shell.sh": (sources / "shell.sh").read_bytes()}
    [archive] = initramfs.read_list((sources / "shell.list").read_text(encoding="utf-8"), files)
    if command is not None:
        archive.entries.append(initramfs.Entry("/command", stat.S_IFREG | 0o644, body=command))
    return initramfs.join(whole, [archive])


def _command(words: Sequence[str]) -> bytes | None:
    """What the guest shall run and then end; None: an interactive shell.

    A serial port that nobody listens to yet loses what is sent to it, so a script that is piped in is read beforehand.
    """
    if words:
        return f"{' '.join(words)}\n".encode()
    if sys.stdin.isatty():
        return None
    script = sys.stdin.buffer.read(SCRIPT + 1)
    if len(script) > SCRIPT:
        raise RequestError(f"the script on stdin is longer than {SCRIPT >> 20} MiB")
    return script


def _parameters(command: bytes | None) -> Iterator[str]:
    """What of us the guest should know; the kernel gives words that it does not know to PID 1."""
    if command is not None:
        yield "loglevel=1"  # the command's own words; of the kernel's only what comes with its death
        return
    size = os.get_terminal_size(sys.stdin.fileno())
    yield from (f"COLUMNS={size.columns}", f"LINES={size.lines}") if size.columns and size.lines else ()
    if re.fullmatch(r"[\w.+-]+", kind := os.environ.get("TERM", "")):
        yield f"TERM={kind}"


@contextmanager
def _listening(path: Path) -> Iterator[int]:
    """The descriptor of a socket that a debugger can connect to from now on, even before QEMU is there."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(path))
        except OSError as error:
            hint = f"{cache.VARIABLE}=/a/shorter/path, 107 bytes are the most (unix(7))"
            raise HostError(f"no debugger could connect to {path}", cause=str(error), hint=hint) from error
        server.listen(1)
        yield server.fileno()


def debugger(subject: Kernel, socket_path: Path) -> str:
    """The command that debugs ``subject`` by way of that socket; a second line where it will know no symbols."""
    program = "gdb" if platform.machine() == subject.arch.qemu else "gdb-multiarch"
    known = symbols(subject)
    line = process.pasteable([program, *([known] if known else []), "-ex", f"target remote {socket_path}"])
    return line if known else f"{line}\n  (without symbols: there is no vmlinux beside {subject.image})"


def symbols(subject: Kernel) -> Path | None:
    """The ELF file that a debugger reads: the image itself, or the vmlinux that was found for it."""
    return subject.elf if subject.elf and _is_elf(subject.elf) else None


def _is_elf(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
    return False


def _attend(setup: qemu.Setup, listening: int | None, command: bytes | None) -> int:
    """Run the guest to its end. Returns the command's exit status."""
    argv = qemu.interactive(setup, gdb=listening)
    passed = () if listening is None else (listening,)
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        if command is None:
            stack.enter_context(_terminal())
            child = stack.enter_context(
                process.spawn(argv, pass_fds=passed, stdin=0, stdout=1, stderr=errors, grace=0),
            )
            status: int | None = EXIT_OK
        else:
            child = stack.enter_context(
                process.spawn(argv, pass_fds=passed, stdout=subprocess.PIPE, stderr=errors, grace=0)
            )
            status = _relay(child)
        if child.wait() != 0:
            errors.seek(0)
            cause = next(iter(errors.read().decode(errors="replace").splitlines()), f"exit status {child.returncode}")
            raise HostError(f"{Path(argv[0]).name} gave up", cause=cause, hint=process.pasteable(argv))
    if status is None:
        raise GuestCrash("the guest died before its command had ended", hint="--append loglevel=7 shows all it says")
    return status


def _relay(child: subprocess.Popen[bytes]) -> int | None:
    """Copy what the guest says to stdout. Returns its command's exit status; None if the guest just died."""
    status = told = None
    for line in child.stdout or ():
        if told:
            continue  # of how the guest ends
        if told := STATUS.search(line):
            status = int(told[1])
        elif ORDERLY.search(line):
            status = EXIT_OK  # the command itself has ended the guest
        sys.stdout.buffer.write(STATUS.sub(b"", line).replace(b"\r\n", b"\n"))
        sys.stdout.buffer.flush()
        if HALTED.search(line):
            child.terminate()
    return status


@contextmanager
def _terminal() -> Iterator[None]:
    """Leave the terminal as it is now, even if what made it raw was killed."""
    settings = termios.tcgetattr(0)
    # QEMU's stdin does not block, nor then does that of the shell which we come from: they share it.
    flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (0, 1)}
    try:
        yield
    finally:
        with suppress(OSError, termios.error):  # the terminal may be gone
            for fd, value in flags.items():
                fcntl.fcntl(fd, fcntl.F_SETFL, value)
            termios.tcsetattr(0, termios.TCSADRAIN, settings)


def _virtme(subject: Kernel, accelerator: str, memory: int, append: Sequence[str], words: Sequence[str]) -> int:
    """The same kernel under virtme-ng, with this host's files. Returns virtme-ng's exit status."""
    if subject.arch.qemu != platform.machine():
        raise RequestError(
            f"virtme-ng boots this host's own files, so not {subject.image}, a kernel for {subject.arch.name}",
            hint="the same without --vng",
        )
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    with cache.scratch("vng") as scratch, ExitStack() as stack:
        # The image alone: of modules beside it virtme-ng would make an initramfs, and it cannot unpack .ko.xz.
        alone = scratch / "image"
        with cache.writing(alone):
            shutil.copyfile(subject.boot, alone)
        # Quoted, because virtme-ng puts it into a line of sh as it is.
        # -v: where no udev runs, a command's output comes only over the console.
        argv = ["vng", "-v", *([] if accelerator == "kvm" else ["--disable-kvm"]), "--run", shlex.quote(str(alone))]
        argv += ["--memory", f"{memory}M", *(word for each in append for word in ("--append", each))]
        argv += ["--", *words] if words else []
        say(f"{process.pasteable(argv)}\n  ({NEEDS})")
        if sys.stdin.isatty():
            stack.enter_context(_terminal())
        child = stack.enter_context(process.spawn(argv, stdin=0, stdout=1, stderr=2, env=env))
        status = child.wait()
        return status if status >= 0 else 128 - status

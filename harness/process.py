# SPDX-License-Identifier: GPL-2.0-only
"""Every child process of the harness is started here: reaped always, dying with its parent, logged."""

from __future__ import annotations

import logging
import os
import resource
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.deadline import Deadline
from harness.errors import HostError

log = logging.getLogger(__name__)

#: Seconds a child gets between SIGTERM and SIGKILL.
GRACE = 2.0
#: Has the whole process group killed when we die, and is there until its child has ended. What a shell traps, its
#: children do not ignore.
FAMILY = (
    *("--pdeathsig", "HUP", "--", "sh", "-c"),
    'trap "kill -KILL 0" HUP; trap : TERM; "$@" & while wait $!; s=$?; kill -0 $! 2>/dev/null; do :; done; exit $s',
    "family",
)


def pasteable(argv: Sequence[str | Path]) -> str:
    """The command as one would type it in a shell."""
    return shlex.join(str(word) for word in argv)


@contextmanager
def spawn(
    argv: Sequence[str | Path],
    *,
    pass_fds: Sequence[int] = (),
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    grace: float | None = None,
    family: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``argv`` and take it away again when the block is left, however it is left.

    It gets ``grace`` seconds (GRACE if None) to end after a SIGTERM; with 0 it is killed at once.

    The child is made by setpriv(1) of util-linux, so that the kernel kills it when we die, even by
    SIGKILL (prctl(2), PR_SET_PDEATHSIG). A terminal's Ctrl-C reaches us only: the child is in a
    session of its own. Raises HostError if the program is not there.
    """
    log.debug("run: %s", pasteable(argv))
    if not installed("setpriv", cwd, env):
        raise HostError("setpriv is not installed", hint="apt-get install util-linux")
    if not installed(argv[0], cwd, env):  # setpriv would just exit with status 127
        raise HostError(f"{argv[0]} is not installed", cause=pasteable(argv))
    child = None
    try:
        with shielded():
            child = subprocess.Popen(
                ["setpriv", *(FAMILY if family else ("--pdeathsig", "KILL", "--")), *(str(word) for word in argv)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        yield child
    finally:
        if child is not None:
            with shielded():
                stop(child, grace)


@contextmanager
def shielded() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the block is left: a child is known or not there, gone or not touched."""
    if threading.current_thread() is not threading.main_thread():  # signals are not handled there anyway
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda got, _frame: came.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for late in came:
            signal.raise_signal(late)


def installed(program: str | Path, cwd: Path | None, env: Mapping[str, str] | None) -> bool:
    """Whether a child with that working directory and environment finds ``program``."""
    if os.sep in str(program):
        program = Path(cwd or "", program).absolute()
    return shutil.which(program, path=os.pathsep.join(os.get_exec_path(env))) is not None


def stop(child: subprocess.Popen[bytes], grace: float | None = None) -> int:
    """End ``child`` and its process group, politely first, and reap it. Returns its status.

    A child that has ended by itself is just reaped; what it left running meant to stay.
    """
    if child.poll() is None:
        grace = GRACE if grace is None else grace
        if grace:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        with suppress(ProcessLookupError):  # all gone, as it should be
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    return child.returncode


def run(
    argv: Sequence[str | Path],
    deadline: Deadline,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    merge: bool = False,
    given: bytes | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` to its end and return what it printed, whatever its exit status.

    ``given`` is its stdin. With ``merge``, stderr is in ``stdout`` too. Raises HostError when the deadline passes.
    """
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    stderr = subprocess.STDOUT if merge else subprocess.PIPE
    with spawn(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, cwd=cwd, env=env) as child:
        try:
            out, err = child.communicate(given, timeout=deadline.left())
        except subprocess.TimeoutExpired as error:
            raise HostError(f"{argv[0]} did not end within {deadline.seconds:.0f} s", cause=pasteable(argv)) from error
    texts = (out.decode(errors="replace"), (err or b"").decode(errors="replace"))
    return subprocess.CompletedProcess([str(word) for word in argv], child.returncode, *texts)


def children_cpu() -> float:
    """CPU seconds of all children, and of theirs, that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

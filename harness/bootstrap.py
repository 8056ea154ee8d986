# SPDX-License-Identifier: GPL-2.0-only
"""From a bare python3 in a fresh clone to the real program in its own .venv. Standard library only.

Debian packages first (the venv may need one of them), then the venv, then `exec` into it: the
process that the user started is the one that ends. What is already there is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import cache, packages, process, venv
from harness.errors import HostError
from harness.venv import Stamp, Venv

#: Seconds that a step may take on a slow line.
PIP_SECONDS = 900.0


def prepare(argv: list[str], verb: str, *, needed: bool, install: bool, build: bool = False, boot: bool = True) -> None:
    """Make sure that ``argv`` can run. Does not return if the venv's python is to run it: that takes over.

    Only if ``needed`` is what is missing provided (``build`` and ``boot`` as for packages.lacks), Debian's packages
    only if ``install`` allows it; raises HostError if that cannot be. Else the python there is will do, or a .venv that
    is ready.
    """
    extras = venv.EXTRAS.get(verb, frozenset())
    ours = venv.here()
    stay = ours.needless(extras)
    if needed:
        missing = packages.lacks(venv=not stay and not reusable(ours), build=build, boot=boot)
        packages.provide(missing, allowed=install)
        if not stay:
            make(ours, extras)
    if not stay and ours.ready(extras):
        ours.enter(argv)


def reusable(ours: Venv) -> bool:
    """Whether it can be installed into: it has a pip, and is neither half-made nor another python's."""
    if (was := ours.stamp()) and was.ours and was.maker != ours.maker:
        return False
    pips = Path(ours.path).glob("lib/python3*/site-packages/pip/__main__.py")
    return os.access(ours.python, os.X_OK) and any(pips)


def make(ours: Venv, extras: frozenset[str]) -> None:
    """Make it ready, unless it is; another bootstrap of the same clone is waited for. Raises HostError."""
    try:
        with locked(ours):
            if not ours.ready(extras):
                fill(ours, extras)
    except OSError as error:
        raise HostError(f"cannot make {ours.path}", cause=str(error), hint="is the clone writable?") from error


@contextlib.contextmanager
def locked(ours: Venv) -> Iterator[None]:
    """Hold the clone's lock: flock(2) on its directory, which leaves no file behind."""
    handle = os.open(ours.root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            packages.say(f"waiting for another nullfs-harness that is making {ours.path}")
            fcntl.flock(handle, fcntl.LOCK_EX)  # its steps have deadlines
        yield
    finally:
        os.close(handle)


def fill(ours: Venv, extras: frozenset[str]) -> None:
    """Make the venv or bring it up to date; the lock is held. Raises HostError, and OSError if it cannot write."""
    was, path = ours.stamp(), Path(ours.path)
    usable = reusable(ours)
    if was and was.ours and not usable:
        shutil.rmtree(path)
    fresh = not path.exists()
    made_by_us = was.ours if was else fresh
    wanted = extras | was.extras if was else extras
    try:
        path.mkdir(exist_ok=True)
        mark(ours, Stamp(ours=made_by_us))
        if not usable:
            packages.say(f"making {path}")
            # The interpreter under a venv's python: the one we run in may just have been removed.
            run(ours, [getattr(sys, "_base_executable", sys.executable), "-m", "venv", path])
        packages.say(f"installing nullfs-harness into {path}")
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        what = f".[{','.join(sorted(wanted))}]" if wanted else "."
        run(ours, [ours.python, "-m", "pip", "install", *quiet, "-e", what])
        # As pip does with all that it installs, except for a clone. It is just slower without.
        with contextlib.suppress(HostError):
            run(ours, [ours.python, "-m", "compileall", "-q", "harness"])
        mark(ours, Stamp(ours=made_by_us, maker=ours.maker, extras=wanted, project=venv.read(ours.project)))
    except BaseException as error:
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
        elif was and isinstance(error, HostError):
            mark(ours, was)  # pip refused, and what was there before still is
        raise


def mark(ours: Venv, stamp: Stamp) -> None:
    """Replace the stamp, in one step."""
    final = Path(ours.path, venv.STAMP)
    new = final.with_suffix(".new")
    new.write_text(str(stamp), encoding="utf-8")
    new.replace(final)


def run(ours: Venv, argv: Sequence[str | Path]) -> None:
    """Run one step of the making, to the log. What it leaves behind when it is killed is swept with the cache."""
    with packages.logged(argv) as log, cache.scratch("bootstrap") as scratch:
        env = os.environ | {"TMPDIR": str(scratch)}
        with process.spawn(argv, stdout=log.file, stderr=log.file, cwd=Path(ours.root), env=env) as child:
            try:
                status = child.wait(PIP_SECONDS)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)  # pip's own children too
                if isinstance(error, subprocess.TimeoutExpired):
                    raise HostError(f"{argv[2]} did not end within {PIP_SECONDS:.0f} s", log=log.path) from error
                raise
        if status != 0:
            hint = "see that pip reaches its package index and that the disk has 300 MB, then run this again"
            raise HostError(f"{argv[2]} failed in {ours.path}", cause=log.first_error(), log=log.path, hint=hint)

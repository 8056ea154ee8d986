# SPDX-License-Identifier: GPL-2.0-only
"""One call of the program, from its words to its exit status."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import os
import signal
import sys
from types import FrameType

from harness import bootstrap, cli
from harness.errors import HarnessError, RequestError

#: The signals that asked us to stop, in the order they came.
signals: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, as an exception, so that it unwinds every context manager just as Ctrl-C does."""


def main(words: list[str]) -> int:
    """Do what ``words`` ask for and return the exit status: the one place where it is decided."""
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell ignores it, as after `&`
        signal.signal(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text, and terminals know less
    args = argparse.Namespace()
    try:
        # Parsed before anything is installed: a wrong word, like --help, costs nothing.
        args = cli.parse(words)
        verb, install = args.verb or "", not getattr(args, "no_install", False)
        wanted = {"build": cli.builds(args), "boot": cli.boots(args)}
        bootstrap.prepare(words, verb, needed=verb in cli.NEEDS_HOST, install=install, **wanted)
        status = cli.main(args)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
        print("interrupted", file=sys.stderr)
    except Exception as error:  # noqa: BLE001
        status = report(error, debug="--debug" in words)
        if answer := getattr(args, "failed", None):  # stdout is read by a program
            answer(error)
    # What there is now is what was imported. To look through it for garbage would take the interpreter 60 ms.
    gc.freeze()
    # pytest swallows the exception and returns a status of its own; the signal is what the caller has to see.
    return 128 + signals[0] if signals else status


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Unwind at SIGINT, SIGTERM or SIGHUP. A second SIGTERM does not disturb the clean-up that the first began."""
    again = number in signals
    signals.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if not again:
        raise Terminated


def report(error: Exception, *, debug: bool) -> int:
    """Tell the reader about ``error`` on stderr and return the exit status for it."""
    if isinstance(error, BrokenPipeError):  # `nullfs-harness … | head`: nobody is left to read it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if debug:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("harness"):
        error = HarnessError(
            f"the Python package {error.name} is not installed for {sys.executable}",
            hint="python3 -m pip install -e . in the clone; `python3 -m harness run` sets up a .venv by itself",
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        what = f"no file can have the name {str(error.filename)[:60]}…"
        error = RequestError(what, cause=error.strerror or "", hint="are there blanks missing in the command?")
    if not isinstance(error, HarnessError):
        error = HarnessError(
            "a mistake in the harness itself",
            cause=f"{type(error).__name__}: {error}",
            hint="the same command with --debug shows where",
        )
    print(f"error: {error}", file=sys.stderr)
    return error.exit_status

# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``compare``: from the user's words to kernels with results, and what they say side by side."""

from __future__ import annotations

import argparse
import string
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from harness import apply, base, columns, compare, git, reply, runner, session, source, tree, versus
from harness.cache import writing
from harness.compare import Column, Comparison, Kind
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, EXIT_HOST, EXIT_OK, RequestError
from harness.results import Run
from harness.series import Series
from harness.spec import TreeSpec, parse_spec

ITEMS = "an item is a kernel, a tree, a patch series, or a file of `run --json` (FILE@KERNEL if it has several)"
WRITES = "`run --json FILE` writes one"
#: Seconds for a question to git.
ASKING = 30.0


@dataclass(frozen=True)
class Item:
    """What is compared, one of these: results, a series, a tree; else it is a kernel's SPEC."""

    letter: str
    words: str
    run: Run | None = None
    series: Series | None = None
    tree: TreeSpec | None = None


def main(args: argparse.Namespace) -> int:
    """Compare ``args.items``. Returns the exit status: 1 if anything got worse. Raises RequestError, HostError."""
    runner.writable(args.json, args.mail)
    if args.mail and args.mail.exists():
        raise RequestError(f"{args.mail} is there already", hint="name another file for --mail, or remove this one")
    deadline = Deadline.after(session.FETCH)
    items = [item(*each, args, deadline) for each in lettered(args.items)]
    comparison = compared(items, args, deadline)
    runner.say("\n" + versus.text(comparison, every=args.all))
    if args.json:
        runner.write(args.json, comparison.to_json())
    if args.mail:
        _mail(args.mail, comparison, items[-1].series)
    return EXIT_CHECK_FAILED if comparison.worse else EXIT_HOST if comparison.unknown else EXIT_OK


def _mail(path: Path, comparison: Comparison, series: Series | None) -> None:
    """Write the reply. Raises HostError if that cannot be done."""
    deadline = Deadline.after(ASKING)
    name, address = (git.configured(f"user.{what}", deadline) for what in ("name", "email"))
    who = (name, address) if name and address else reply.NOBODY
    made = reply.letter(comparison, who, series.head if series else b"", datetime.now().astimezone())
    with writing(path), path.open("xb") as file:
        file.write(made.data)
    runner.say(f"the mail is in {path}; it is not sent. To send it as it is: git send-email {path}")
    if who == reply.NOBODY:
        runner.say("its sender has to be filled in: git config has no user.name or no user.email")


def lettered(words: Sequence[str]) -> list[tuple[str, str]]:
    """Each item with its letter. Raises RequestError for one alone, and for one that is there twice."""
    if len(words) < 2:
        raise RequestError(f"{words[0]} alone cannot be compared", hint="give two items or more")
    if len(words) > len(string.ascii_uppercase):
        raise RequestError(f"{len(words)} items are too many to compare", hint="26 are the most")
    found = list(zip(string.ascii_uppercase, words, strict=False))
    first: dict[object, str] = {}
    for letter, word in found:
        path, _, which = word.rpartition("@")
        key = (tree.named(path or word).resolve(), which if path else "")
        if key in first:
            raise RequestError(f"{first[key]} and {letter} are both {word}", hint="give each item once")
        first[key] = letter
    return found


def item(letter: str, words: str, args: argparse.Namespace, deadline: Deadline) -> Item:
    """What an item's words mean; results and series are read. Raises RequestError if they mean nothing, HostError."""
    path, _, which = words.rpartition("@") if not tree.named(words).exists() else (words, "", "")
    file = tree.named(path or words)
    if is_json(file):
        return Item(letter, words, run=picked(read(file), file, which, args))
    if source.is_series(words):
        if not args.tree:
            hint = "--tree TREE, which is a directory, DIRECTORY@REVISION, a .tar.xz, or debian:VERSION"
            raise RequestError(f"{words} is a patch series, and there is no tree to apply it to", hint=hint)
        return Item(letter, words, series=source.read(words, deadline))
    spec = parse_spec(words)
    return Item(letter, words, tree=spec if isinstance(spec, TreeSpec) else None)


def is_json(path: Path) -> bool:
    """Whether a path is meant as a file of results: no kernel begins with a brace."""
    if path.suffix == ".json" or not path.is_file():
        return path.suffix == ".json"
    with suppress(OSError), path.open("rb") as file:  # else it is told of as a kernel
        return file.read(64).lstrip().startswith(b"{")
    return False


def read(path: Path) -> Run:
    """The results in a file. Raises RequestError if there are none."""
    if path.is_fifo():  # which may never end
        raise RequestError(f"{path} is no file", hint=WRITES)
    try:
        run = Run.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(f"{path} does not exist", hint=ITEMS) from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error), hint=WRITES) from error
    except ValueError as error:
        raise RequestError(f"{path} is no file of results", cause=str(error), hint=WRITES) from error
    if not run.results:
        raise RequestError(f"{path} has no results in it: no check ran", hint=WRITES)
    return run


def picked(run: Run, path: Path, which: str, args: argparse.Namespace) -> Run:
    """The kernels and checks of ``run`` that are meant, a kernel for each architecture. Raises RequestError."""
    kernels = [
        one
        for one in run.kernels
        if which in ("", one.label, one.name, one.release, one.arch) and (not args.arch or one.arch in args.arch)
    ]
    labels = [one.label for one in run.kernels]
    if not kernels:
        wanted = " ".join(filter(None, (which, *args.arch)))
        raise RequestError(f"{path} has no kernel {wanted}", hint=f"there are: {', '.join(labels)}")
    if len({one.arch for one in kernels}) < len(kernels):
        raise RequestError(
            f"{path} has several kernels of one architecture",
            hint=f"add one to its name: {' or '.join(f'{path}@{label}' for label in labels)}",
        )
    results = [one for one in run.results if not args.check or one.check in args.check]
    if idle := [one.label for one in kernels if one.label not in {result.kernel for result in results}]:
        wanted = f" of {', '.join(args.check)}" if args.check else ""
        raise RequestError(f"{path} has no result{wanted} for {idle[0]}", hint=WRITES)
    return replace(run, kernels=kernels, results=results)


def compared(items: Sequence[Item], args: argparse.Namespace, deadline: Deadline) -> Comparison:
    """The comparison of ``items``, those without results being checked now. Raises RequestError, HostError."""
    evidence = args.evidence or session.new_evidence()
    found = [column for each in items for column in columns_of(each, args, evidence / each.letter, deadline)]
    comparison = compare.compare(found)
    if not comparison.pairs:
        raise RequestError(
            "nothing to compare: no two items have a kernel of the same architecture",
            hint="; ".join(f"{column.letter} has {column.name} for {column.arch}" for column in found),
        )
    for pair in comparison.pairs:
        if min(pair.stages) == 2 and all(change.kind in (Kind.NEW, Kind.GONE) for change in pair.changes):
            raise RequestError(
                f"nothing to compare: {pair.before} and {pair.after} have no check in common ({pair.arch})",
                hint="run them again with the same --check",
            )
    return comparison


def columns_of(which: Item, args: argparse.Namespace, evidence: Path, deadline: Deadline) -> list[Column]:
    """The columns of one item. Raises RequestError, HostError."""
    letter, words = which.letter, which.words
    if which.run:
        return columns.known(letter, words, which.run)
    runner.say(f"{letter}: {words}")
    if which.tree:
        return columns.built(letter, columns.standing(base.seen(which.tree, deadline)), "", args, evidence)
    if which.series:
        done = apply.applied(which.series, args.tree, apply.wish(args), deadline, runner.say)
        return columns.built(letter, done, words, args, evidence)
    return columns.booted(letter, words, args, evidence)

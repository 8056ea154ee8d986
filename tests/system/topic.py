# SPDX-License-Identifier: GPL-2.0-only
"""Series for toy trees whose builds hand out real kernels, as they are sent. No tests here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import toy

#: A patch: its subject, the kernel that it has built, a line of C.
Row = tuple[str, str, str]
AUTHOR = "Toy Author <toy@toy.example>"


def commit(tree: Path, subject: str) -> None:
    """All that was changed."""
    toy.git(tree, "add", "--all")
    toy.git(tree, "commit", "--quiet", f"--message={subject}")


def base_of(path: Path, image: Path) -> Path:
    """A toy repository that hands out ``image``."""
    tree = toy.boots(toy.checkout(path), image)
    commit(tree, "base")
    return tree


def sent(tree: Path, images: Path, rows: Sequence[Row], *words: str) -> str:
    """A series on top of ``tree`` as an mbox, its cover letter first; the repository has no trace of it."""
    toy.git(tree, "checkout", "--quiet", "-b", "topic")
    for subject, image, line in rows:
        toy.boots(tree, images / image)
        toy.change(tree, line)
        commit(tree, subject)
    thread = toy.git(tree, "format-patch", "--cover-letter", "--thread", "--stdout", *words, "main")
    toy.git(tree, "checkout", "--quiet", "main")
    toy.git(tree, "branch", "--quiet", "-D", "topic")
    # The toy's author has no address, of which a message id could be made.
    thread = thread.replace("From: toy <toy>", f"From: {AUTHOR}").replace(".git.toy>", "@toy.example>")
    return thread.replace("*** SUBJECT HERE ***", "toy: a series").replace("*** BLURB HERE ***", "What it is for.")

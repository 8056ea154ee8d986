# SPDX-License-Identifier: GPL-2.0-only
"""Trees that are another but for a few files, made as git objects in the cache: nothing is checked out for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from harness.deadline import Deadline
from harness.tree import Tree

#: A directory, by its path from the top ("." is the top) and which of the variants it is of.
Place = tuple[PurePosixPath, int]


def made(tree: Tree, changes: Sequence[Mapping[str, str]], deadline: Deadline) -> list[Tree]:
    """One tree for each of ``changes``: files that ``tree`` has, with the text that they get.

    Raises GitError, HostError.
    """
    repository = tree.repository
    #: What is new in each directory: names and their objects.
    fresh: dict[Place, dict[str, str]] = {}
    for n, files in enumerate(changes):
        for file, text in files.items():
            given = text.encode(errors="surrogateescape")
            oid = repository.git("hash-object", "-w", "--stdin", deadline=deadline, given=given, writes=True).strip()
            path = PurePosixPath(file)
            fresh.setdefault((path.parent, n), {})[path.name] = oid
            for above in path.parents:
                fresh.setdefault((above, n), {})
    listings = _listings(tree, {path for path, _ in fresh}, deadline)
    depths = sorted({len(path.parts) for path, _ in fresh}, reverse=True)
    tops: dict[int, str] = {}
    for depth in depths:
        places = [place for place in fresh if len(place[0].parts) == depth]
        given = "\n".join(_changed(listings[path], fresh[path, n]) for path, n in places).encode()
        words = ("mktree", "--missing", "--batch")  # what has not changed may be borrowed
        oids = repository.git(*words, deadline=deadline, given=given, writes=True).split()
        for (path, n), oid in zip(places, oids, strict=True):
            if path.parts:
                fresh[path.parent, n][path.name] = oid
            else:
                tops[n] = oid
    return [replace(tree, oid=tops.get(n, tree.oid), described="") for n in range(len(changes))]


def _listings(tree: Tree, paths: Iterable[PurePosixPath], deadline: Deadline) -> dict[PurePosixPath, list[str]]:
    names = {path: f"{tree.oid}:{path}" if path.parts else tree.oid for path in paths}
    return {path: tree.repository.git("ls-tree", name, deadline=deadline).splitlines() for path, name in names.items()}


def _changed(listing: list[str], fresh: Mapping[str, str]) -> str:
    """What git-mktree(1) makes the directory of; its lines are as git-ls-tree(1) prints them, strange names quoted."""
    lines = []
    for line in listing:
        facts, _, name = line.partition("\t")
        mode, kind, oid = facts.split()
        lines.append(f"{mode} {kind} {fresh.get(name, oid)}\t{name}\n")
    return "".join(lines)

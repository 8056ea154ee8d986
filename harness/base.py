# SPDX-License-Identifier: GPL-2.0-only
"""Which tree a series is for: what was asked for, what its cover letter says, or what its index lines fit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness import build, cache, debian, tree, worktree
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.git import Checkout, GitError, Repository
from harness.series import Series
from harness.spec import TreeSpec, parse_tree
from harness.tree import Tree

#: Seconds for a look through a repository's history.
SEARCH = 30.0
#: Refs, the newest ones, and commits that are looked at.
REFS = 3000
COMMITS = 20000
#: Seconds before a series was sent in which its base is looked for.
WINDOW = 200 * 24 * 3600


@dataclass(frozen=True)
class Base:
    """``why``: how the tree was found, in words."""

    tree: Tree
    why: str


def seen(wanted: TreeSpec, deadline: Deadline) -> Tree:
    """The tree that is asked for, as it is now; Debian's is fetched. Raises RequestError, HostError."""
    return replace(tree.snapshot(str(_path(wanted, deadline) or wanted.spec), deadline), spec=wanted.spec)


def home(spec: str, deadline: Deadline) -> Path:
    """Where in the cache the tree of that TREE is, whatever its revision. Raises RequestError, HostError."""
    wanted = parse_tree(spec)
    return tree.opened(_path(wanted, deadline) or tree.split(spec)[0], deadline)[1]


def _path(wanted: TreeSpec, deadline: Deadline) -> Path | None:
    """Where Debian's archive is, if it is that."""
    if not wanted.source:
        return None
    release = debian.fetch(wanted.source, build.default_arch({}), debian.SOURCE, deadline)
    (archive,) = release.glob("usr/src/linux-source-*.tar.xz")
    return archive


def find(series: Series, spec: str, revision: str, deadline: Deadline) -> Base:
    """The tree to apply ``series`` to: ``revision`` of ``spec``, else where it fits. Raises RequestError, HostError."""
    wanted = parse_tree(spec)
    path, named = (Path(), "") if wanted.source else tree.split(spec)
    checkout = None if wanted.source else tree.opened(path, deadline)[0]
    if revision and named and revision != named:
        raise RequestError(f"--base {revision} contradicts {spec}", hint=f"give {path} and --base, or leave --base out")
    if checkout is None:
        if revision:
            raise RequestError(
                f"{spec} is no git repository, so it has no revision {revision}", hint="leave --base out"
            )
        return _fitted(series, seen(wanted, deadline), "the only one there is, for it is no git repository", deadline)
    if revision or named:
        why = "as --base says" if revision else "as TREE says"
        return _fitted(series, tree.snapshot(spec, deadline, revision), why, deadline)
    if commit := _commit(checkout, series.base_commit, deadline):
        return _fitted(series, tree.snapshot(spec, deadline, commit), "the base-commit that the series names", deadline)
    return _tried(series, spec, checkout, deadline)


def _tried(series: Series, spec: str, checkout: Checkout, deadline: Deadline) -> Base:
    """The checkout as it lies there, or a bare repository's HEAD, unless another commit fits and that does not."""
    lying = tree.snapshot(spec, deadline, "HEAD" if checkout.top is None else "")
    where = "its HEAD" if checkout.top is None else "as it lies there"
    if not (blobs := _blobs(series)) or fits(series, lying, deadline) == (len(blobs), len(blobs)):
        return _fitted(series, lying, where, deadline)
    if commit := _searched(series, lying, checkout, deadline):
        why = "the newest commit found that has the blobs of the index lines"
        return _fitted(series, tree.snapshot(spec, deadline, commit), why, deadline)
    lacks = f"its base-commit {series.base_commit[:12]} is not there, and " if series.base_commit else ""
    return _fitted(series, lying, f"{where}, by trying: {lacks}no commit found has those blobs", deadline)


def _fitted(series: Series, found: Tree, why: str, deadline: Deadline) -> Base:
    same, of = fits(series, found, deadline)
    return Base(found, f"{why}; {same} of {of} files are those that the index lines name" if of else why)


def _blobs(series: Series) -> dict[str, str]:
    """Which blob the series expects at which path, as far as it says so."""
    return {path: blob for path, blob in worktree.first(series).items() if blob.strip("0")}


def fits(series: Series, found: Tree, deadline: Deadline) -> tuple[int, int]:
    """How many of the files that the series changes are in the tree as its index lines say, and of how many."""
    blobs = _blobs(series)
    entries = worktree.listed(found, list(blobs), deadline) if blobs else ()
    return sum(entry.oid.startswith(blobs[entry.path]) for entry in entries), len(blobs)


def _commit(checkout: Checkout, name: str, deadline: Deadline) -> str:
    """The commit with that id, abbreviated, if the repository has it."""
    return _short(checkout, name, deadline) if re.fullmatch(r"[0-9a-f]{7,64}", name) else ""


def _short(checkout: Checkout, revision: str, deadline: Deadline) -> str:
    """The commit's id, abbreviated; empty if there is none."""
    with suppress(GitError):
        words = ("rev-parse", "--verify", "--quiet", "--short=12", f"{revision}^{{commit}}")
        return checkout.git(*words, deadline=deadline).strip()
    return ""


def _searched(series: Series, lying: Tree, checkout: Checkout, deadline: Deadline) -> str:
    """The newest ref, else the newest commit, whose files are as the index lines say; empty if none is found in time.

    What was found is kept for as long as the refs are what they are.
    """
    names = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end) %(refname:short)"
    refs = checkout.git("for-each-ref", "--sort=-creatordate", f"--format={names}", deadline=deadline).splitlines()
    head = _short(checkout, "HEAD", deadline)
    key = hashlib.sha256(json.dumps([series.key, series.sent, head, refs]).encode()).hexdigest()[:32]
    known = lying.home / "series" / "bases.json"
    with suppress(OSError, ValueError, AttributeError):
        if (commit := json.loads(known.read_text()).get(key)) is not None:
            return str(commit)
    found = ""
    with suppress(HostError, GitError):  # it took too long, or the history is not all there
        tips = [f"{head or 'HEAD'} HEAD", *refs[:REFS]]
        found = _looked(series, tips, lying.repository, checkout, deadline.within(SEARCH))
    cache.write(known, json.dumps({key: found}).encode())
    return found


def _looked(series: Series, refs: list[str], repository: Repository, checkout: Checkout, deadline: Deadline) -> str:
    blobs = _blobs(series)
    named = {commit: name for commit, _, name in reversed([ref.partition(" ") for ref in refs])}
    tips = list(dict.fromkeys(ref.partition(" ")[0] for ref in refs))
    if commit := _matching(repository, tips, blobs, deadline):
        return named[commit] if named[commit] != "HEAD" else commit
    window = [f"--since={series.sent - WINDOW}", f"--until={series.sent}"] if series.sent else []
    words = ["--literal-pathspecs", "log", "--all", "--full-history", f"--max-count={COMMITS}", *window]
    listing = checkout.git(*words, "--format=%H %P", "--", *blobs, deadline=deadline)
    # What is before a change is newer than all that was after the change before it.
    commits = list(dict.fromkeys(word for line in listing.splitlines() for word in reversed(line.split())))
    if commit := _matching(repository, commits, blobs, deadline):
        return _short(checkout, commit, deadline)
    return ""


def _matching(repository: Repository, commits: Sequence[str], blobs: dict[str, str], deadline: Deadline) -> str:
    """The first of ``commits`` that has all those blobs; empty if none has. Raises GitError, HostError."""
    left = list(commits)
    for path, blob in blobs.items():
        if not left or "\n" in path:
            continue
        asked = "".join(f"{commit}:{path}\n" for commit in left).encode(errors="surrogateescape")
        words = ("cat-file", "--batch-check=%(objectname)")
        found = repository.git(*words, deadline=deadline, given=asked).splitlines()
        left = [commit for commit, oid in zip(left, found, strict=True) if oid.startswith(blob)]
    return left[0] if left else ""

# SPDX-License-Identifier: GPL-2.0-only
"""Applies a series to a tree, patch by patch, as ``git am -3`` does, in the cache; each step is a tree of its own."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import base, byhand, cache, damage, paths, records, repair, tree, worktree
from harness.deadline import Deadline
from harness.errors import HostError, RequestError, TreeError
from harness.git import GitError
from harness.records import BY_HAND, IN_TREE, LEFT_OUT, Done, Record
from harness.repair import Repaired, Unmendable
from harness.series import Patch, Series
from harness.tree import Tree
from harness.worktree import Worktree

OFFSET = re.compile(r"^Hunk #\d+ succeeded at \d+ .*\(offset (-?\d+) lines?\)\.$", re.MULTILINE)
UNREAD = re.compile("corrupt|No valid patches|without full index line")
#: Patches after one that does not apply, up to which those that are in the tree already are looked for.
AHEAD = 40


@dataclass(frozen=True)
class Wish:
    """How a series is to be applied: see the options in ``verbs``."""

    base: str = ""
    repair: bool = False
    skip: bool = False
    go_on: bool = False


@dataclass(frozen=True)
class Step:
    """The tree with the first ``n`` patches on it; ``patch`` is the last of them, None for the base."""

    n: int
    patch: Patch | None
    tree: Tree
    #: "as it stands", "up to 1104 lines off", "3-way merge", "already applied", "by hand"; nothing for the base.
    how: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """A series on a tree. ``why``: how the base was found, in words. ``steps``: the base first."""

    series: Series
    base: Tree
    why: str
    steps: tuple[Step, ...]
    #: What of it is run on the host when a kernel is built: "3/5 scripts/x.sh".
    on_host: tuple[str, ...]


def wish(args: argparse.Namespace) -> Wish:
    """What the options of ``verbs.applying`` ask for."""
    return Wish(args.base or "", args.repair_whitespace, args.skip_applied, getattr(args, "go_on", False))


def applied(series: Series, spec: str, wish: Wish, deadline: Deadline, say: Callable[[str], None]) -> Applied:
    """``series`` on the tree that ``spec`` means, or on the revision of it that it is for.

    Done once for the same mails and the same tree; the user's files are only read. ``say`` is told how each patch
    went. Raises RequestError if one does not apply: what was resolved by hand is taken once ``wish.go_on`` is set,
    and stays known. Raises HostError.
    """
    for patch in series.patches:
        if not patch.changes:
            raise RequestError(f"{patch} has no patch in it", hint="leave that mail out of the series")
    paths.demand(series)
    if not wish.repair and (damages := [each for patch in series.patches for each in damage.found(patch)]):
        raise damage.refused(damages)
    record = records.begun(base.home(spec, deadline), series) if wish.go_on else None
    if record is None:
        found = base.find(series, spec, wish.base, deadline)
        record = Record(series.key, found.tree, found.why, wish.repair)
    job = _Job(series, spec, wish, record, deadline, say)
    say(f"base: {job.base.spec} ({job.base.short}), {record.why}")
    if warning := paths.warning(series):
        say(warning)
    with cache.locked(deadline, "series", job.place.name):
        try:
            return job.all()
        except GitError as error:
            hint = f"rm -rf {job.base.home}; nothing is lost by it but time"
            raise HostError(f"{series.name} cannot be applied", cause=f"{error}: {error.cause}", hint=hint) from error


def forget(series: Series, spec: str, deadline: Deadline) -> int:
    """Forget what was begun, and what was resolved by hand, on any revision of that tree; how many that were.

    Raises RequestError, HostError.
    """
    return records.forget(base.home(spec, deadline), series, deadline)


@dataclass
class _Job:
    """One series on one tree."""

    series: Series
    spec: str
    wish: Wish
    record: Record
    deadline: Deadline
    say: Callable[[str], None]

    @property
    def base(self) -> Tree:
        return self.record.base

    @property
    def place(self) -> Path:
        """What there is only as long as not all patches are applied."""
        return self.record.file.with_suffix("")

    @property
    def work(self) -> Worktree:
        return Worktree(self.place / "tree", self.base)

    @property
    def patches(self) -> Sequence[Patch]:
        return self.series.patches

    def all(self) -> Applied:
        """All steps: those that are known, and those that are not."""
        known = records.read(self.record.file)
        if known and (known.whole or self.work.top.is_dir()):
            self.record = known
        elif self.wish.go_on:
            hint = f"without --continue it is begun: {byhand.PROGRAM} {self.series.spec} {self.spec}"
            raise RequestError(f"nothing of {self.series.name} waits to be gone on with", hint=hint)
        record = self.record
        record.skip |= self.wish.skip
        for step in range(1, len(record.done)):
            self._tell(step)
        if not record.whole:
            self._go()
        there = [n for n, done in enumerate(record.done) if done.how == IN_TREE]
        if there and not self.wish.skip and not record.by_hand:
            raise self._in_tree(there[0], len(there))
        steps: list[Step] = [Step(0, None, self.base, "")]
        for n, (patch, done) in enumerate(zip(self.patches, record.done[1:], strict=True), start=1):
            steps.append(Step(n, patch, self._tree(n, steps[-1].tree, patch, done.oid), done.how, tuple(done.notes)))
        return Applied(self.series, self.base, record.why, tuple(steps), paths.on_host(self.series))

    def _tree(self, n: int, before: Tree, patch: Patch, oid: str) -> Tree:
        spec = f"{self.base.spec} + {self.series.name}, {n}/{len(self.patches)}"
        if not {*tree.MARKS} & {*patch.files}:
            return replace(before, spec=spec, oid=oid, described="")
        return tree.finished(self.base.home, spec, oid, "", self.deadline)

    def _tell(self, step: int) -> None:
        done = self.record.done[step]
        self.say("\n  ".join([f"{self.patches[step - 1]}: {done.how}", *done.notes]))

    def _go(self) -> None:
        record = self.record
        if not record.done:
            self._begin()
        elif record.stopped:
            self._resolve()
        else:  # it was killed
            self.work.reset(record.done[-1].commit, self.deadline)
        while (n := len(record.done)) <= len(self.patches):
            record.done += self._next(n)
            record.write()
            for step in range(n, len(record.done)):
                self._tell(step)
        commits = [done.commit for done in record.done]
        fresh = [commit for at, commit in enumerate(commits) if at and commit != commits[at - 1]]
        oids = dict(zip(fresh, self.work.grown(fresh, self.deadline), strict=True))
        for done in record.done:
            done.oid = oids.get(done.commit, self.base.oid)
        record.write()
        shutil.rmtree(self.place, ignore_errors=True)

    def _begin(self) -> None:
        entries = worktree.needed(self.base, self.series, self.deadline)
        paths.demand(self.series, [entry.path for entry in entries if entry.mode == paths.LINK])
        first = self.work.make(entries, self.deadline)
        worktree.lend(self.base, self.series, self.deadline)
        self.record.done, self.record.stopped = [Done(first, "", [])], []
        self.record.write()

    def _resolve(self) -> None:
        n, head = len(self.record.done), self.record.done[-1].commit
        if not self.wish.go_on:
            what, cause, hint = self.record.stopped
            raise TreeError(what, cause=cause, hint=hint)
        made = byhand.resolved(self.work, self.patches[n - 1], head, self.deadline)
        self.record.done.append(Done(made, BY_HAND if made != head else LEFT_OUT, []))
        self.record.stopped = []
        self.record.write()
        self._tell(n)
        self.work.reset(made, self.deadline)

    def _next(self, n: int) -> list[Done]:
        """Apply patch ``n``; it, and those after it that are in the tree already as it is."""
        patch, head = self.patches[n - 1], self.record.done[-1].commit
        try:
            patch, notes = self._mended(patch) if self.record.repair else (patch, [])
        except Unmendable as error:
            raise self._in_part(error) from error
        diff = self.work.extracted(patch, self.place, self.deadline)
        checked = self.work.tried("apply", "--check", "--cached", "--verbose", diff, deadline=self.deadline)
        fits = checked.returncode == 0
        if not fits and (there := self._there(n, patch)):
            if not self.record.skip:
                raise self._in_tree(n, there)
            return [Done(head, IN_TREE, []) for _ in range(there)]
        wrong = [] if fits else repair.differs(patch, self.work.text)
        done = self.work.am(diff, self.deadline)
        if done.returncode == 0:
            made = self.work.head(self.deadline)
            if made == head:
                if not self.record.skip:
                    raise self._in_tree(n, 1)
                return [Done(head, IN_TREE, [])]
            return [Done(made, _offset(checked.stderr) if fits else "3-way merge", notes)]
        raise damage.refused(wrong) if wrong else self._stop(n, checked.stderr, done.stdout + done.stderr)

    def _mended(self, patch: Patch) -> tuple[Patch, list[str]]:
        """A patch, mended by the tree if something is wrong with it; and what was wrong, and what was guessed."""
        wrong = damage.found(patch) or repair.differs(patch, self.work.text)
        if not wrong:
            return patch, []
        mended = repair.repaired(patch, self.work.text)
        return mended.patch, [*(f"mended: {each.kind.words}" for each in wrong), *_told(mended)]

    def _in_part(self, error: Unmendable) -> RequestError:
        """Apply what of a patch could be mended, and leave the rest beside the files, for somebody's hand."""
        rest = error.rest.patch
        self.say("\n  ".join([f"{rest}: mended in part", *_told(error.rest)]))
        if any(change.hunks for change in rest.changes):
            mended = self.work.extracted(rest, self.place, self.deadline)
            self.work.git("apply", "--index", "--whitespace=nowarn", mended, deadline=self.deadline)
        for file, text in error.left.items():
            self.work.reject(file, text)
        hint = byhand.left(self.work, self.series.spec, self.spec)
        self.record.stopped = [error.what, error.cause, hint]
        self.record.write()
        return RequestError(error.what, cause=error.cause, hint=hint)

    def _there(self, n: int, patch: Patch) -> int:
        """How many patches, from ``n`` on, are in the tree already; that one as it was mended."""
        last = len(self.patches)
        for end in [last, *range(min(last - 1, n + AHEAD), n - 1, -1)]:
            those = reversed([patch, *self.patches[n:end]])
            if self.work.has((self.work.extracted(each, self.place, self.deadline) for each in those), self.deadline):
                return int(end) - n + 1
        return 0

    def _in_tree(self, n: int, count: int) -> RequestError:
        what = "all of it" if count == len(self.patches) else f"{self.patches[n - 1]}"
        if 1 < count < len(self.patches):
            what += f", and what follows as far as {self.patches[n + count - 2]},"
        return TreeError(
            f"{self.series.name}: {what} is already applied in {self.base.spec} ({self.base.short})",
            cause="git can take it off again, which it could not if it were not there",
            hint="leave out what is there: --skip-applied; or apply it to the tree before it: --base REV",
        )

    def _stop(self, n: int, checked: str, said: str) -> RequestError:
        """Keep what is known of a patch that does not apply, and the worktree as git has left it."""
        patch = self.patches[n - 1]
        if "Patch failed at" not in said or UNREAD.search(checked):
            complaints = [line for line in (checked + said).splitlines() if line.startswith(("error:", "fatal:"))]
            hint = "bring it anew; --repair-whitespace mends what only lost its white space"
            return RequestError(f"{patch} cannot be read as a patch", cause=next(iter(complaints), said), hint=hint)
        cause = byhand.INDENT.join(byhand.why(self.work, patch, said, self.deadline))
        what = f"{patch} does not apply to {self.base.spec} ({self.base.short})"
        what += f" with the {n - 1} before it" if n > 1 else ""
        merged = "CONFLICT" in said
        hint = byhand.commands(self.work, self.series.spec, self.spec, merged=merged, repair=self.record.repair)
        self.record.stopped = [what, cause, hint]
        self.record.write()
        return TreeError(what, cause=cause, hint=hint)


def _told(mended: Repaired) -> list[str]:
    """What was guessed, and what is proved."""
    proved = [f"{file}: byte by byte as it was sent, by its index line" for file in mended.proved]
    return [*(f"guessed: {each}" for each in mended.guesses), *proved]


def _offset(said: str) -> str:
    """How far off its place a patch went, by what ``git apply --verbose`` said."""
    off = max((abs(int(match[1])) for match in OFFSET.finditer(said)), default=0)
    return f"up to {off} line{'s' * (off != 1)} off" if off else "as it stands"

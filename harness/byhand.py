# SPDX-License-Identifier: GPL-2.0-only
"""What people do about a patch that does not apply: what they are told, and what they have made of it."""

from __future__ import annotations

import shlex

from harness import misfit
from harness.deadline import Deadline
from harness.diff import Change, unquote
from harness.errors import RequestError
from harness.git import GitError
from harness.series import Patch
from harness.worktree import Worktree

#: Before the second line of a cause, and of a hint, as errors print them.
INDENT = "\n         "
PROGRAM = "python3 -m harness series apply"


def why(work: Worktree, patch: Patch, said: str, deadline: Deadline) -> list[str]:
    """Why a patch does not apply, a line each; ``said``: what git am said. Raises HostError."""
    lines = []
    for change in patch.changes:
        text = work.read(change.old or change.new or "", deadline)
        gone = change.old is not None and text is None
        lines += misfit.change(change, text, work.alike(change.old, deadline) if gone and change.old else {})
    if conflicts := [line for line in said.splitlines() if line.startswith("CONFLICT")]:
        return [*lines, *(f"3-way merge: {line}" for line in conflicts)]
    if lacking := _lacking(work, patch.changes, deadline):
        return [*lines, f"no 3-way merge: {lacking}"]
    # What git saw and we did not.
    return lines or [line for line in said.splitlines() if line.startswith(("error:", "fatal:"))]


def _lacking(work: Worktree, changes: list[Change], deadline: Deadline) -> str:
    """Which blobs git lacks for a 3-way merge; empty if it has all."""
    for change in changes:
        if change.old is not None and change.hunks and not change.old_blob:
            return f"the patch does not say which blob {change.old} was (no index line)"
        if change.old_blob.strip("0"):
            known = work.tried("cat-file", "-e", f"{change.old_blob}^{{blob}}", deadline=deadline)
            if known.returncode:
                return f"the blob {change.old_blob} that {change.old} was made from is not in this repository"
    return ""


def commands(work: Worktree, series: str, tree: str, *, merged: bool, repair: bool) -> str:
    """What to type to resolve it and go on; ``merged``: git has left a merge with conflicts; ``repair``: as asked."""
    lines = [f"cd {shlex.quote(str(work.top))}", "git am --show-current-patch=diff"]
    if merged:
        lines.append("git diff      # resolve what is between <<<<<<< and >>>>>>>")
    else:
        lines.append("git apply --reject .git/rebase-apply/patch      # what fits; the rest goes to FILE.rej")
    lines += ["git add FILE…      # once it is as it should be; `git am --skip` leaves the patch out"]
    return INDENT.join([*lines, _again(series, tree, repair=repair)])


def left(work: Worktree, series: str, tree: str) -> str:
    """What to type where all of a patch is applied but what could not be mended."""
    lines = [
        f"cd {shlex.quote(str(work.top))}",
        "git diff --cached      # what could be mended; the rest is in FILE.rej",
    ]
    lines += ["git add FILE…      # once it is as it should be; `git reset --hard` leaves the patch out"]
    return INDENT.join([*lines, _again(series, tree, repair=True)])


def _again(series: str, tree: str, *, repair: bool) -> str:
    """What goes on. A damaged mail is refused anew unless it is asked to be mended."""
    words = f"{shlex.quote(series)} {shlex.quote(tree)}{' --repair-whitespace' * repair}"
    return f"cd - && {PROGRAM} {words} --continue      # or --abort"


def resolved(work: Worktree, patch: Patch, head: str, deadline: Deadline) -> str:
    """The commit, upon ``head``, of what people made of a patch; ``head`` itself if they left it out.

    Raises RequestError if it is not resolved, HostError.
    """
    try:
        return _resolved(work, patch, head, deadline)
    except GitError as error:
        hint = f"look there: cd {work.top} && git status; or begin anew with --abort"
        raise RequestError(f"{patch} cannot be gone on with", cause=error.cause, hint=hint) from error


def _resolved(work: Worktree, patch: Patch, head: str, deadline: Deadline) -> str:
    def refuse(what: str, hint: str = "") -> RequestError:
        return RequestError(f"{patch} is not resolved: {what}", hint=hint or f"cd {work.top} && git status")

    stages: dict[str, set[str]] = {}
    for line in work.git("ls-files", "--unmerged", deadline=deadline).splitlines():
        facts, _, name = line.partition("\t")
        stages.setdefault(unquote(name), set()).add(facts.split()[2])
    for name, known in stages.items():
        # With all three there was a conflict inside the file, and its ends are looked for below.
        if known != {"1", "2", "3"}:
            raise refuse(f"{name} is changed on one side and gone on the other", f"cd {work.top}; git add or git rm it")
    for line in work.git("ls-files", "--others", "--exclude-standard", deadline=deadline).splitlines():
        if (name := unquote(line)) not in patch.files:
            raise refuse(f"{name} is new, and not added", f"cd {work.top}; git add {shlex.quote(name)}, or remove it")
        work.git("--literal-pathspecs", "add", "--force", "--", name, deadline=deadline)
    work.git("add", "--update", deadline=deadline)
    made = work.git("write-tree", deadline=deadline).strip()
    if line := work.markers(head, made, deadline):
        raise refuse(f"a conflict is left at {line}")
    if made == work.git("rev-parse", f"{head}^{{tree}}", deadline=deadline).strip():
        if work.stopped:
            raise refuse("nothing is changed", f"cd {work.top}; `git am --skip` leaves the patch out")
        return head
    return work.commit(str(patch), head, deadline)

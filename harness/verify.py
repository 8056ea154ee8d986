# SPDX-License-Identifier: GPL-2.0-only
"""Whether a series is what was sent: its patches against what a manifest in patches/ knows of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from harness import damage, diff, manifest
from harness.manifest import Fact, Manifest
from harness.series import Patch, Series


@dataclass(frozen=True)
class Finding:
    """What is not as the manifest has it. ``kind``: "missing", "extra", "out of order" or "altered"."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def patch_ids(patches: Sequence[Patch]) -> list[str]:
    """What ``git patch-id --stable`` says of each; empty for one that changes nothing.

    git itself counts the lines of a hunk, and is mistaken of a mail that lost some blank ones.
    """
    return [diff.patch_id(patch.text) for patch in patches]


def known(series: Series) -> Manifest | None:
    """The manifest of a series: that of its message ids, else of its change-id and revision, else of its subjects.

    By subjects it is the one that has the most of them, and not less than half of all.
    """
    every = [manifest.read(name) for name in manifest.names()]
    ids = {series.message_id, *(patch.message_id for patch in series.patches)} - {""}
    for each in every:
        if ids & {each.cover, *(fact.message_id for fact in each.patches)}:
            return each
    if family := [each for each in every if each.change_id and each.change_id == series.change_id]:
        return next((each for each in family if each.revision == series.revision), None)
    subjects = {patch.subject for patch in series.patches}

    def common(each: Manifest) -> tuple[float, bool]:
        theirs = {fact.subject for fact in each.patches}
        return len(subjects & theirs) / len(subjects | theirs), each.revision == series.revision

    best = max(every, key=common)
    return best if common(best)[0] >= 0.5 else None


def pairs(patches: Sequence[Patch], facts: Sequence[Fact], ids: Sequence[str]) -> list[tuple[Patch, Fact]]:
    """Which patch is which of the manifest's: the one with its subject, else with its patch-id, else in its place."""
    found: list[tuple[Patch, Fact]] = []

    def rest() -> tuple[list[tuple[Patch, str]], list[Fact]]:
        have, had = {patch.n for patch, _ in found}, {fact.n for _, fact in found}
        left = [(patch, its) for patch, its in zip(patches, ids, strict=True) if patch.n not in have]
        return left, [fact for fact in facts if fact.n not in had]

    for same in (
        lambda patch, _, fact: patch.subject == fact.subject,
        lambda _, its, fact: bool(its) and its == fact.patch_id,
        lambda patch, _, fact: patch.n == fact.n and set(patch.files) == set(fact.files),
    ):
        left, right = rest()
        for patch, its in left:
            if fact := next((fact for fact in right if same(patch, its, fact)), None):
                right.remove(fact)
                found.append((patch, fact))
    return sorted(found, key=lambda pair: pair[0].n)


def compared(series: Series, known: Manifest, ids: Sequence[str]) -> list[Finding]:
    """All that is not as the manifest has it; ``ids``: the patch-ids of the series."""
    matched = pairs(series.patches, known.patches, ids)
    by_number = dict(zip((patch.n for patch in series.patches), ids, strict=True))
    have, had = {patch.n for patch, _ in matched}, {fact.n for _, fact in matched}
    found = [Finding("missing", f"{fact.n}/{fact.of} {fact.subject}") for fact in known.patches if fact.n not in had]
    found += [Finding("extra", str(patch)) for patch in series.patches if patch.n not in have]
    stay = _rising([fact.n for _, fact in matched])
    moved = [pair for number, pair in enumerate(matched) if number not in stay]
    found += [Finding("out of order", f"{fact.n}/{fact.of} {fact.subject} is {patch.n}") for patch, fact in moved]
    for patch, fact in matched:
        if how := _altered(patch, fact, by_number[patch.n]):
            found.append(Finding("altered", f"{fact.n}/{fact.of} {fact.subject}: {'; '.join(how)}"))
    return found


def _altered(patch: Patch, fact: Fact, patch_id: str) -> list[str]:
    """In what a patch is not the one that the manifest knows."""
    found = [f"its subject is {patch.subject!r}"] if patch.subject != fact.subject else []
    if fact.files and set(patch.files) != set(fact.files):
        more = ", ".join(sorted(set(patch.files) - set(fact.files)))
        less = ", ".join(sorted(set(fact.files) - set(patch.files)))
        found += [f"it changes {more} too"] * bool(more) + [f"it does not change {less}"] * bool(less)
    damages = [each.kind.words for each in damage.found(patch)]
    if fact.patch_id and fact.patch_id != patch_id:
        return [*found, *damages, f"its patch-id is {patch_id or 'none'}, not {fact.patch_id}"]
    if fact.patch_id and damages:
        damages = [f"{', '.join(damages)}; all else is as it was"]
    return found + damages


def _rising(numbers: Sequence[int]) -> set[int]:
    """The places in ``numbers`` of one of the longest rising sequences in it."""
    tops: list[int] = []
    at: list[int] = []
    before: list[int] = []
    for place, number in enumerate(numbers):
        length = bisect_left(tops, number)
        tops[length : length + 1] = [number]
        before.append(at[length - 1] if length else -1)
        at[length : length + 1] = [place]
    place, found = at[-1] if at else -1, set[int]()
    while place >= 0:
        found.add(place)
        place = before[place]
    return found

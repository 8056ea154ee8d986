# SPDX-License-Identifier: GPL-2.0-only
"""A patch series in plain words: what it is, and whether it is what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from harness import damage, diff, paths
from harness.manifest import Manifest
from harness.series import Patch, Series
from harness.verify import Finding


def shown(series: Series, ids: Sequence[str], known: Manifest | None) -> Iterator[str]:
    """A series, one fact a line; ``ids``: the patch-ids of its patches."""
    yield series.title
    sent = f"{datetime.fromtimestamp(series.sent, UTC):%Y-%m-%d %H:%M:%S} UTC" if series.sent else ""
    for name, value in (
        ("revision", str(series.revision)),
        ("patches", str(len(series.patches))),
        ("files", str(len({file for patch in series.patches for file in patch.files}))),
        ("lines", _lines(series.patches)),
        ("author", series.author),
        ("date", sent),
        ("message id", series.message_id),
        ("change-id", series.change_id),
        ("base-commit", series.base_commit),
        ("manifest", known.name if known else "none"),
        *(("note", note) for note in (*series.notes, paths.warning(series))),
    ):
        if value:
            yield f"  {name + ':':<12} {value}"
    for patch, patch_id in zip(series.patches, ids, strict=True):
        yield ""
        yield str(patch)
        yield f"  {'files:':<12} {', '.join(patch.files) or 'none'}"
        yield f"  {'lines:':<12} {_lines([patch])}"
        yield f"  {'patch-id:':<12} {patch_id or 'none'}"
        for each in damage.found(patch):
            yield f"  {'damaged:':<12} {str(each).removeprefix(f'{patch}: ')}"


def _lines(patches: Sequence[Patch]) -> str:
    changes = [change for patch in patches for change in patch.changes]
    letters = Counter(line[:1] for _, hunk in diff.hunks(changes) for line in hunk.lines)
    binary = sum(change.binary for change in changes)
    return f"+{letters['+']} -{letters['-']}{f', binary files: {binary}' if binary else ''}"


def verified(series: Series, known: Manifest, findings: Sequence[Finding]) -> Iterator[str]:
    """What is not as ``known`` has it, and at last whether it is whole, and whether it is intact."""
    yield from map(str, findings)
    kinds = Counter(finding.kind for finding in findings)
    altered = kinds.pop("altered", 0)
    wrong = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    all_there = f"all {len(known.patches)} patches are there, in their order"
    whole = f"not whole ({wrong})" if wrong else f"whole ({all_there})"
    ids, files = all(fact.patch_id for fact in known.patches), any(fact.files for fact in known.patches)
    by = "patch-ids" if ids else "subjects and files" if files else "subjects"
    intact = f"not intact ({altered} altered)" if altered else f"intact (by {by})"
    none = kinds["missing"] == len(known.patches)
    yield f"{series.name} against {known.name}: {'nothing of it is there' if none else f'{whole}, {intact}'}"

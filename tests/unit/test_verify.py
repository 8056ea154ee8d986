# SPDX-License-Identifier: GPL-2.0-only
"""What is not as a manifest has it is named, and the manifest is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mails import CHANGE, formatted, repository
from trees import git, own_cache, soon

from harness import manifest, resources, source, verify
from harness.damage import Kind
from harness.manifest import Fact, Manifest
from harness.series import Patch, Series
from harness.verify import compared, known, patch_ids

__all__ = ["own_cache"]


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("user") / "repository")[0]


@pytest.fixture
def series(top: Path, own_cache: Path) -> Series:
    del own_cache
    return source.read(f"{top}@base..topic", soon())


@pytest.fixture
def ids(series: Series) -> list[str]:
    return patch_ids(series.patches)


@pytest.fixture
def facts(series: Series, ids: list[str]) -> tuple[Fact, ...]:
    return tuple(
        Fact("toy", patch.n, 7, patch.subject, f"{patch.n}@x", files=patch.files, patch_id=its)
        for patch, its in zip(series.patches, ids, strict=True)
    )


def told(series: Series, facts: tuple[Fact, ...], ids: list[str]) -> list[str]:
    patches = tuple(replace(patch, n=n) for n, patch in enumerate(series.patches, start=1))
    return list(map(str, compared(replace(series, patches=patches), Manifest("toy", "toy", patches=facts), ids)))


def test_patch_ids_are_those_of_git(top: Path, series: Series, ids: list[str], tmp_path: Path) -> None:
    for patch, found in zip(series.patches, ids, strict=True):
        file = tmp_path / str(patch.n)
        file.write_bytes(formatted(top, f"topic~{8 - patch.n}..topic~{7 - patch.n}"))
        assert git(top, "-c", f"alias.x=!git patch-id --stable <{file}", "x").partition(" ")[0] == found
    assert len(set(ids)) == 7
    assert patch_ids([Patch(1, 1, "none", b"Subject: none\n\nnothing\n")]) == [""]


def test_an_intact_series(series: Series, facts: tuple[Fact, ...], ids: list[str]) -> None:
    assert told(series, facts, ids) == []
    # What nobody knows is not compared.
    assert told(series, tuple(replace(fact, patch_id="", files=()) for fact in facts), ids) == []


def test_what_is_missing_extra_or_moved(series: Series, facts: tuple[Fact, ...], ids: list[str]) -> None:
    def changed(order: str) -> list[str]:
        places = [int(letter) - 1 for letter in order]
        patches = tuple(series.patches[place] for place in places)
        return told(replace(series, patches=patches), facts, [ids[place] for place in places])

    names = {fact.n: f"{fact.n}/7 {fact.subject}" for fact in facts}
    assert changed("124567") == [f"missing: {names[3]}"]
    assert changed("2134567") == [f"out of order: {names[2]} is 1"]
    assert changed("1245367") == [f"out of order: {names[3]} is 5"]
    assert changed("7123456") == [f"out of order: {names[7]} is 1"]
    assert changed("4567123") == [f"out of order: {names[n]} is {n + 4}" for n in (1, 2, 3)]
    assert [each.partition(":")[0] for each in changed("7654321")] == ["out of order"] * 6
    assert changed("12345673") == [f"extra: 8/7 {series.patches[2].subject}"]
    few = told(series, facts[:5], ids)
    assert few == [f"extra: {names[6]}", f"extra: {names[7]}"]


def test_what_is_altered(series: Series, facts: tuple[Fact, ...], ids: list[str]) -> None:
    def altered(n: int, change: Callable[[bytes], bytes], subject: str = "") -> list[str]:
        patches = list(series.patches)
        old = patches[n - 1]
        patches[n - 1] = Patch(n, 7, subject or old.subject, change(old.mail))
        return told(replace(series, patches=tuple(patches)), facts, patch_ids(patches))

    def damaged(old: bytes, new: bytes) -> Series:
        first, *others = series.patches
        return replace(series, patches=(replace(first, mail=first.mail.replace(old, new)), *others))

    unknown = tuple(replace(fact, patch_id="", files=()) for fact in facts)
    [line] = altered(1, lambda mail: mail.replace(b"+line twenty", b"+line number twenty"))
    assert line.startswith(f"altered: 1/7 {facts[0].subject}: its patch-id is ")
    assert line.endswith(f", not {ids[0]}")
    [line] = altered(1, lambda mail: mail.replace(b"\n line", b"\nline"))
    assert line == f"altered: 1/7 {facts[0].subject}: {Kind.BLANK.words}; all else is as it was"
    [line] = told(damaged(b"\n line", b"\nline"), unknown, ids)
    assert line == f"altered: 1/7 {facts[0].subject}: {Kind.BLANK.words}"
    [line] = altered(5, lambda mail: mail, subject="another")
    assert line == f"altered: 5/7 {facts[4].subject}: its subject is 'another'"
    [line] = altered(6, lambda mail: mail.replace(b"latin.c", b"greek.c"))
    assert "it changes greek.c too; it does not change latin.c; its patch-id is" in line
    # Neither its subject nor its id is the same, but its place and its files are.
    [line] = altered(1, lambda mail: mail.replace(b"+line twenty", b"+line number twenty"), subject="another")
    assert "its subject is 'another'; its patch-id is" in line
    # What was said about it besides is nobody's concern.
    assert altered(1, lambda mail: mail.replace(b"\n---\n", b"\nTested-by: Me <me@x>\n---\n")) == []


@pytest.fixture
def patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory patches/ of the test's own."""
    monkeypatch.setattr(resources, "directory", tmp_path.joinpath)
    manifest.read.cache_clear()
    yield tmp_path / "patches"
    manifest.read.cache_clear()


def put(patches: Path, name: str, text: str) -> None:
    (patches / name).mkdir(parents=True)
    (patches / name / "series.toml").write_text(f'title = "{name}"\n{text}')


def test_the_manifest_of_a_series(patches: Path, series: Series) -> None:
    for number in (1, 2):
        put(patches, f"v{number}", f'revision = {number}\ncover = "{number}@x"\nchange_id = "{CHANGE}"\n')
    put(patches, "sent", 'message_id = "s-{n}@x"\n[[patch]]\n[[patch]]\n')
    rows = "".join(f'[[patch]]\nsubject = "{patch.subject}"\n' for patch in series.patches)
    put(patches, "merged", rows)
    put(patches, "again", f"revision = 1\n{rows}")

    def found(**facts: object) -> str:
        its = known(replace(series, **facts))  # type: ignore[arg-type]
        return its.name if its else ""

    assert found(message_id="2@x") == "v2"
    assert found(change_id=CHANGE) == "v1"
    # It says itself that it is a revision that nobody knows here.
    assert found(change_id=CHANGE, revision=3) == ""
    first = series.patches[0]
    assert found(patches=(replace(first, message_id="s-2@x"),)) == "sent"
    assert (found(), found(revision=2)) == ("again", "again")
    assert found(patches=series.patches[:4]) == "again"
    assert found(patches=series.patches[:3]) == ""
    assert verify.known(replace(series, patches=(replace(first, subject="new"),))) is None

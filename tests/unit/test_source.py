# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a series comes from, real git-am makes of it exactly the commits that it was made of."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from mails import (
    ANN,
    BOB,
    Letter,
    applied,
    commits,
    formatted,
    mbox,
    patches,
    put,
    read,
    repository,
    same,
    sending,
    trees,
)
from trees import git, own_cache

from harness.errors import RequestError

pytestmark = pytest.mark.usefixtures("own_cache")
__all__ = ["own_cache"]

REVIEWED = f"Reviewed-by: {BOB}\n"
TESTED = "Tested-by: Tom Tester <tom@example.net>\n"
CODINGS = ("8bit", "quoted-printable", "base64")


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("user") / "repository")[0]


@pytest.mark.parametrize("wire", [False, True], ids=["lf", "crlf"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_thread_becomes_its_commits(top: Path, tmp_path: Path, coding: str, wire: bool) -> None:  # noqa: FBT001
    series = read(put(tmp_path / "box", mbox(sending(top, "base..topic", codings=[coding]), wire=wire)))
    same(series, top, tmp_path / "am")
    assert (series.title, series.revision, series.author) == ("toy: all kinds of changes", 1, ANN)
    assert (series.message_id, series.change_id) == ("toy-v1-0@example.org", "20261101-toy-series-0123456789ab")
    assert series.base_commit == git(top, "rev-parse", "base")
    assert [patch.message_id for patch in series.patches] == [f"toy-v1-{n}@example.org" for n in range(1, 8)]
    assert series.patches[1].subject == git(top, "log", "-1", "--format=%s", "topic~5")
    assert series.patches[1].files == ("Zürich/a b.c",)
    assert series.notes == ()


@pytest.mark.parametrize("coding", ["base64", "quoted-printable"])
def test_lines_that_end_in_what_is_encoded_as_on_the_wire(top: Path, tmp_path: Path, coding: str) -> None:
    letters = sending(top, "base..topic", codings=[coding])
    ended = [replace(letter, body=letter.body.replace(b"\n", b"\r\n")) for letter in letters]
    series = read(put(tmp_path / "box", mbox(ended)))
    same(series, top, tmp_path / "am")
    assert series.change_id == "20261101-toy-series-0123456789ab"


def test_the_order_of_the_box_and_the_threading_do_not_matter(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "base..topic", codings=CODINGS, deep=True)
    letters += [letter.answer(REVIEWED) for letter in letters]
    keys = set()
    for number in range(3):
        some = sorted(letters, key=lambda each: hashlib.sha256(f"{number}{each.id}".encode()).digest())
        series = read(put(tmp_path / str(number), mbox(some)))
        keys.add(series.key)
    assert len(keys) == 1
    assert trees(applied(top, "base", series, tmp_path / "am")) == trees(commits(top, "base..topic"))


def test_other_boxes(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "base..topic", codings=CODINGS)
    key = read(put(tmp_path / "box", mbox(letters))).key
    for number, letter in enumerate(letters):
        put(tmp_path / f"dir/{('cur', 'new')[number % 2]}/{number}:2,S", letter.raw.replace(b"\n", b"\r\n"))
    (tmp_path / "dir/tmp").mkdir()
    assert read(tmp_path / "dir").key == key
    assert read(put(tmp_path / "box.gz", gzip.compress(mbox(letters)))).key == key
    parts = b"".join(gzip.compress(mbox(some)) for some in (letters[:1], letters[1:]))
    assert read(put(tmp_path / "parts.gz", parts)).key == key
    with pytest.raises(RequestError, match=r"cut\.gz cannot be unpacked"):
        read(put(tmp_path / "cut.gz", gzip.compress(mbox(letters))[:-100]))
    unsigned = sending(top, "base..topic", words=["--no-signature"])
    same(read(put(tmp_path / "unsigned", mbox(unsigned))), top, tmp_path / "am-unsigned")
    # Without a cover letter; without threading; one mail.
    assert read(put(tmp_path / "few", mbox(letters[1:]))).key == key
    assert read(put(tmp_path / "loose", mbox(replace(letter, parents=()) for letter in letters))).key == key
    one = sending(top, "topic~1..topic", cover=False)[0]
    single = read(put(tmp_path / "one.eml", replace(one, subject="[PATCH] plain: gone").raw))
    same(single, top, tmp_path / "am", "topic~1..topic")
    assert (single.title, single.message_id) == ("plain: gone", "toy-v1-1@example.org")


@pytest.mark.parametrize("words", [(), ("--cover-letter",), ("--no-numbered",), ("--no-signature",)])
def test_what_git_writes_without_ids(top: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    series = read(put(tmp_path / "box", formatted(top, "base..topic", *words)))
    same(series, top, tmp_path / "am")
    assert {series.message_id, *(patch.message_id for patch in series.patches)} == {""}
    assert series.title == ("*** SUBJECT HERE ***" if "--cover-letter" in words else "plain: write out a number")


def test_answers_give_their_trailers_and_nothing_else(top: Path, tmp_path: Path) -> None:
    cover, *letters = sending(top, "base..topic")
    bare = letters[0].body.decode()
    box = [
        *(cover, *letters, cover.answer(TESTED, "Tom Tester <tom@example.net>")),
        letters[0].answer(f"{letters[0].quoted()}\n\nFine.\n\n{REVIEWED}"),
        # A quoted patch without a mark, with and without Re:.
        letters[1].answer(f"Look at this:\n\n{bare}\n"),
        replace(letters[2].answer(f"{letters[2].body.decode()}\nNo.\n"), subject=letters[2].subject),
        letters[3].answer("Acked-by: Eve <eve@example.org>\n"),
        letters[4].answer("What about dos?\n"),
        letters[4].answer("What about dos?\n").answer(REVIEWED),
    ]
    series = read(put(tmp_path / "box", mbox(box)))
    lines = applied(top, "base", series, tmp_path / "am")
    assert trees(lines) == trees(commits(top, "base..topic"))
    assert [TESTED in line for line in lines] == [True] * 7
    assert [number for number, line in enumerate(lines, start=1) if REVIEWED in line] == [1, 5]
    assert "Eve" not in "".join(lines)
    assert [patch.message_id for patch in series.patches] == [letter.id for letter in letters]
    assert f"added from the answers: {TESTED.strip()} (7 times)" in series.notes
    assert f"added from the answers: {REVIEWED.strip()} (2 times)" in series.notes
    assert any(note.startswith("left out: Acked-by: Eve") and BOB in note for note in series.notes)


def two_revisions(top: Path, parents: tuple[str, ...] = ()) -> tuple[list[Letter], list[Letter]]:
    first = sending(top, "base..topic~3", codings=CODINGS)
    return first, sending(top, "base..topic", revision=2, at=1, parents=parents, title="toy: all kinds, again")


@pytest.mark.parametrize("threaded", [False, True])
def test_two_revisions(top: Path, tmp_path: Path, threaded: bool) -> None:  # noqa: FBT001
    first, second = two_revisions(top, ("toy-v1-0@example.org",) if threaded else ())
    answers = [first[1].answer(REVIEWED), second[3].answer(TESTED, "Tom Tester <tom@example.net>")]
    box = put(tmp_path / "box", mbox([*second, *first, *answers]))
    newest = read(box)
    assert (newest.revision, newest.title, len(newest.patches)) == (2, "toy: all kinds, again", 7)
    assert f"{box} has v1, v2 of it; this is v2" in newest.notes
    lines = applied(top, "base", newest, tmp_path / "am")
    assert trees(lines) == trees(commits(top, "base..topic"))
    # What was said of a patch that is the same now goes on with it; b4 sees to that.
    assert [REVIEWED in line for line in lines] == [True] + [False] * 6
    assert [TESTED in line for line in lines] == [number == 2 for number in range(7)]
    for which in ("v1", "toy-v1-0@example.org", "<toy-v1-2@example.org>", answers[0].id):
        older = read(box, which)
        assert (older.revision, len(older.patches)) == (1, 4)
    assert trees(applied(top, "base", older, tmp_path / "older")) == trees(commits(top, "base..topic~3"))
    for which in ("v2", "toy-v2-7@example.org", answers[1].id):
        assert read(box, which).key == newest.key


def test_a_patch_that_was_sent_again(top: Path, tmp_path: Path) -> None:
    cover, *letters = sending(top, "base..topic", codings=CODINGS)
    again = replace(letters[1], id="again@example.org", sent=letters[-1].sent + 60)
    tag = again.subject.replace("[PATCH", "[PATCH RESEND")
    wrong = replace(letters[1], body=letters[1].body.replace("größer */".encode(), b"*/"))
    for name, old, new in (
        ("same", letters[1], again),
        ("tagged", letters[1], replace(again, subject=tag, parents=(cover.id, letters[1].id))),
        ("alone", letters[1], replace(again, parents=())),
        ("other", wrong, again),
    ):
        box = [cover, letters[0], new, old, *letters[2:], old.answer(REVIEWED)]
        series = read(put(tmp_path / name, mbox(box)))
        lines = applied(top, "base", series, tmp_path / f"am-{name}")
        assert trees(lines) == trees(commits(top, "base..topic"))
        assert series.patches[1].message_id == "again@example.org"
        assert "sent more than once: 2/7; the latest counts" in series.notes
        # It was said of another patch.
        assert [REVIEWED in line for line in lines] == [number == 1 and name != "other" for number in range(7)]


def test_a_series_that_was_sent_again(top: Path, tmp_path: Path) -> None:
    first = sending(top, "base..topic", codings=CODINGS)
    second = sending(top, "base..topic", tag="again", at=1, prefix="PATCH RESEND")
    box = put(tmp_path / "box", mbox([*first, *second]))
    series = read(box)
    assert series.message_id == "again-v1-0@example.org"
    assert [patch.message_id for patch in series.patches] == [f"again-v1-{n}@example.org" for n in range(1, 8)]
    assert read(box, "toy-v1-3@example.org").patches[0].message_id == "toy-v1-1@example.org"
    same(series, top, tmp_path / "am")


def test_the_revision_is_in_the_cover_letter_only(top: Path, tmp_path: Path) -> None:
    first, second = two_revisions(top, ("toy-v1-0@example.org",))
    bare = [replace(each, subject=each.subject.replace(" v2", "")) for each in second[1:]]
    stat = second[0].body.replace(b"\n---\n", b"\n---\n 2 files changed, 3 insertions(+), 1 deletion(-)\n")
    for number, box in enumerate(([second[0], *bare], [*first, replace(second[0], body=stat), *bare])):
        series = read(put(tmp_path / str(number), mbox(box)))
        assert series.revision == 2
        same(series, top, tmp_path / f"am-{number}")


def test_a_patch_that_alone_has_a_new_revision(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "base..topic")
    [(subject, body)] = patches(top, "topic~7..topic~6")
    better = body.replace(b"line twenty", b"line number twenty")
    new = Letter("new@example.org", f"[PATCH v2 1/7] {subject}", better, parents=(letters[0].id, letters[1].id))
    box = put(tmp_path / "box", mbox([*letters, replace(new, sent=letters[-1].sent + 60)]))
    series = read(box)
    assert [patch.message_id for patch in series.patches] == ["new@example.org"] + [x.id for x in letters[2:]]
    assert series.revision == 2
    assert any("partial reroll" in note for note in series.notes)
    assert read(box, "v1").patches[0].message_id == "toy-v1-1@example.org"


def test_other_mails_in_the_thread_are_left_alone(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "base..topic", codings=CODINGS)
    [(subject, body)] = patches(top, "topic~1..topic")
    other = Letter("fix@example.com", f"[PATCH] {subject}", body, BOB, (letters[0].id, letters[3].id))
    box = put(tmp_path / "box", mbox([*letters, other]))
    same(read(box, letters[0].id), top, tmp_path / "am")
    assert len(read(box, "fix@example.com").patches) == 1
    with pytest.raises(RequestError, match="2 series are in"):
        read(box)


def test_a_mail_in_another_character_set(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "topic~6..topic~5")
    recoded = [replace(each, body=each.body.decode().encode("latin-1"), charset="iso-8859-1") for each in letters]
    same(read(put(tmp_path / "box", mbox(recoded))), top, tmp_path / "am", "topic~6..topic~5")


def test_hidden_characters_are_told(top: Path, tmp_path: Path) -> None:
    letters = sending(top, "topic~7..topic~6")
    hidden = letters[1].body.replace(b"line twenty", "line \N{RIGHT-TO-LEFT OVERRIDE}twenty".encode())
    series = read(put(tmp_path / "box", mbox([letters[0], replace(letters[1], body=hidden)])))
    [note] = series.notes
    assert "control characters" in note
    assert "RIGHT-TO-LEFT OVERRIDE" in note
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" in series.patches[0].text


def test_nothing_of_the_users_configuration_counts(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = sending(top, "base..topic")
    box = put(tmp_path / "box", mbox([*letters, letters[1].answer(REVIEWED)]))
    key = read(box).key
    settings = "[b4]\n\tattestation-policy = hardfail\n\ttrailer-order = nothing*\n\tsave-maildirs = yes\n"
    settings += f"\ttrailers-ignore-from = {BOB}\n\tmidmask = http://127.0.0.1:9/%s\n"
    put(tmp_path / "home/.gitconfig", settings.encode())
    put(top / ".b4-config", settings.encode())
    monkeypatch.chdir(top)
    monkeypatch.setenv("GIT_DIR", str(top / ".git"))
    try:
        assert read(box).key == key
    finally:
        (top / ".b4-config").unlink()

# SPDX-License-Identifier: GPL-2.0-only
"""Which mails, and which series, are in a box."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mails import ANN, BOB, CHANGE, NOON, Letter, mbox

from harness import mail
from harness.errors import RequestError
from harness.mail import Subject
from harness.mailbox import Mailbox

DIFF = b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[PATCH] a: b", Subject("a: b", 1, 0, 0, counted=False, patch=True, reply=False)),
        ("[PATCH v2 03/11] [a] b", Subject("b", 2, 3, 11, counted=True, patch=True, reply=False)),
        ("[RFC PATCHv3, 0/4]  x", Subject("x", 3, 0, 4, counted=True, patch=True, reply=False)),
        ("[PATCH net-next V4 1/1] x [y]", Subject("x [y]", 4, 1, 1, counted=True, patch=True, reply=False)),
        ("[lists] [PATCH RESEND 2/3] x", Subject("x", 1, 2, 3, counted=True, patch=True, reply=False)),
        ("Re: [PATCH v2 1/2] x", Subject("x", 2, 1, 2, counted=True, patch=True, reply=True)),
        ("AW: [PATCH] x", Subject("x", 1, 0, 0, counted=False, patch=True, reply=True)),
        ("Vs: [PATCH] x", Subject("x", 1, 0, 0, counted=False, patch=True, reply=True)),
        ("btrfs: 1/2 of it", Subject("btrfs: 1/2 of it", 1, 0, 0, counted=False, patch=False, reply=False)),
        ("", Subject("", 1, 0, 0, counted=False, patch=False, reply=False)),
        ("[PATCH", Subject("[PATCH", 1, 0, 0, counted=False, patch=False, reply=False)),
    ],
)
def test_what_a_subject_says(line: str, expected: Subject) -> None:
    assert Subject.of_line(line) == expected


def test_where_mails_begin() -> None:
    one = Letter("1@x", "one", b"From a to b\n\nFrom here on\n>From there\nFrom me Thu Jan  1 00:00:00 1970\n").raw
    two = Letter("2@x", "two", b"From: nobody\n").raw
    box = mbox([one, two])
    assert [each.raw.rstrip(b"\n") for each in mail.split(box)] == [one.rstrip(b"\n"), two.rstrip(b"\n")]
    # The same where nothing was quoted, except for what looks like the line before a mail and is none.
    bare = b"".join(b"From ann@x Thu Jan  1 00:00:00 1970\n" + raw + b"\n" for raw in (one, two))
    found = mail.split(bare)
    assert [each.field("Subject") for each in found] == ["one", "two"]
    assert found[0].body.startswith(b"From a to b\n\nFrom here on\n")
    for begin in (b"From - Fri Nov 20 18:00:00 2026\n", b"From a b@c Fri Nov 20 18:00 +0100 2026\r\n"):
        assert [each.id for each in mail.split(begin + two + b"\n" + begin + one)] == ["2@x", "1@x"]
    # A mail alone, and one before a box.
    assert [each.id for each in mail.split(b"\n" + two)] == ["2@x"]
    assert [each.id for each in mail.split(two + b"\n" + mbox([one]))] == ["2@x", "1@x"]
    assert mail.split(b"no mail\n\nFrom here\n") == []
    assert mail.split(b"") == []


def test_a_patch_in_a_part_of_a_mail() -> None:
    parts = (
        'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="xx"\n\n--xx\nContent-Type: text/plain\n\nHello\n'
        "--xx\nContent-Type: text/x-patch\nContent-Transfer-Encoding: base64\n\n"
        "ZGlmZiAtLWdpdCBhL2YgYi9mCi0tLSBhL2YKKysrIGIvZgo=\n--xx--\n"
    )
    [found] = mail.split(f"From: {ANN}\nSubject: [PATCH] f\nMessage-Id: <1@x>\n{parts}".encode())
    assert found.is_patch
    assert found.diff == b"diff --git a/f b/f\n--- a/f\n+++ b/f\n"


def test_headers_that_nobody_can_read() -> None:
    raw = b"From: =?utf-8?b?!!?= <a@x>\nSubject: [PATCH] \xff\xfe\nDate: never\nMessage-ID: <1@x>\nReferences: <\n\nx\n"
    [found] = mail.split(raw)
    assert (found.id, found.sent, found.parents, found.address) == ("1@x", 0, (), "a@x")
    assert found.subject.patch
    for charset in ("no-such", "idna", "a\0b"):
        unknown = Letter("1@x", "s", b"\xff", charset=charset).raw
        assert mail.split(unknown)[0].text == "\N{REPLACEMENT CHARACTER}"
    assert Subject.of_line(f"[PATCH v{'9' * 5000}] x").text == "x"
    [late] = mail.split(b"Date: Fri, 31 Dec 9999 23:59:59 -1200\n\n")
    assert late.sent == 0


def letter(name: str, subject: str, parents: tuple[str, ...] = (), author: str = ANN, at: int = 0) -> Letter:
    return Letter(f"{name}@x", subject, DIFF, author, tuple(f"{each}@x" for each in parents), NOON + at)


def box(*letters: Letter) -> Mailbox:
    return Mailbox(mail.split(mbox(letters)), "box")


def names(found: Mailbox) -> list[list[str]]:
    """The ids of the first mail of each revision of each series."""
    return sorted([posting.first.id.partition("@")[0] for posting in each] for each in found.series)


def test_what_belongs_together() -> None:
    shallow = [letter(f"s{n}", f"[PATCH {n}/2] s{n}", ("none",)) for n in (1, 2)]
    deep = [letter("d1", "[PATCH v2 1/2] d"), letter("d2", "[PATCH v2 2/2] e", ("d1",))]
    assert names(box(*shallow)) == [["s1"]]
    assert names(box(*deep)) == [["d1"]]
    # Of two series whose cover letters are missing, neither is the other's.
    other = [letter(f"o{n}", f"[PATCH {n}/2] o{n}", ("else",)) for n in (1, 2)]
    assert names(box(*shallow, *other, *deep)) == [["d1"], ["o1"], ["s1"]]
    # Nor of two without any threading.
    loose = [letter(f"l{n}", f"[PATCH {n}/2] l{n}") for n in (1, 2)]
    theirs = [letter(f"t{n}", f"[PATCH {n}/2] t{n}", author=BOB) for n in (1, 2)]
    assert names(box(*loose, *theirs)) == [["l1"], ["t1"]]
    assert names(box(loose[0], theirs[1])) == [["l1"]]
    # Revisions: by their titles, their threading, their change-id.
    later = letter("n1", "[PATCH v2 1/1] s", ("s1",))
    assert names(box(*shallow, later)) == [["n1", "s1"]]
    assert names(box(*shallow, replace(later, author=BOB))) == [["n1"], ["s1"]]
    again = letter("t", "[PATCH v3] d")
    assert names(box(*deep, again)) == [["d1", "t"]]
    covers = [replace(letter(f"c{v}", f"[PATCH v{v} 0/1] {v}"), body=f"change-id: {CHANGE}\n".encode()) for v in (1, 2)]
    both = [letter(f"p{v}", f"[PATCH v{v} 1/1] p{v}", (f"c{v}",)) for v in (1, 2)]
    assert names(box(*covers, *both)) == [["c1", "c2"]]
    assert names(box(*(replace(each, body=b"") for each in covers), *both)) == [["c1"], ["c2"]]


def test_what_is_the_same_mail_is_there_once() -> None:
    one = letter("1", "[PATCH] x")
    found = box(one, replace(one, headers="X-List: other"), one)
    assert len(found.chosen().thread) == 1


def test_two_patches_with_one_number() -> None:
    found = box(letter("1", "[PATCH 1/2] one"), letter("2", "[PATCH 2/2] two"), letter("3", "[PATCH 2/2] three", at=1))
    with pytest.raises(RequestError, match=r"two patches of box are 2/2(?s:.*)two(?s:.*)three"):
        found.chosen()


def test_mails_that_answer_in_a_circle() -> None:
    talk = [replace(letter(a, "Re: talk", (b,)), body=b"text\n") for a, b in (("a", "b"), ("b", "a"))]
    found = box(*talk, letter("1", "[PATCH] x"))
    with pytest.raises(RequestError, match="neither a patch nor the answer to one"):
        found.chosen("a@x")
    assert [each.id for each in found.chosen().thread] == ["1@x"]

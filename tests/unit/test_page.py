# SPDX-License-Identifier: GPL-2.0-only
"""A thread's web page, saved as text, has the mails that were sent; what replies quote is none."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import pytest
from mailed import COUNT, mails
from trees import git

from harness import diff, page

COVER = (
    "Pools have numbers.\n\n* not a heading\n\n---\nbase-commit: 0123456789abcdef0123456789abcdef01234567\n"
    "change-id: 20260102-pool-0123456789ab\n"
)


def shown(subject: str, body: str, who: str = "Some One") -> str:
    """A message as the page has it."""
    return (
        f"* {subject}\n2026-01-02  1:02 [PATCH v2 0/2] pool: numbers {who}\n"
        f"                   ` [PATCH v2 2/2] pool: more {who}\n  0 siblings, 1 reply; 4+ messages in thread\n"
        f"From: {who} @ 2026-01-02  1:02 UTC (permalink / raw)\n  To: linux-pool, Other One,\n\tThird One\n"
        f"  Cc: linux-kernel\n\n{body}\n\n^ permalink raw reply\t[flat|nested] 4+ messages in thread\n"
    )


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [mail.decode() for mail in mails(tmp_path_factory.mktemp("tree"))]


def thread(sent: list[str]) -> str:
    """A cover letter, two patches, and a reply that quotes all of one."""
    bodies = [mail.partition("\n\n")[2].rstrip("\n") for mail in sent[:2]]
    quoted = "\n".join(f"> {line}" for line in bodies[0].split("\n"))
    messages = (
        shown("[PATCH v2 0/2] pool: numbers", COVER),
        shown("[PATCH v2 1/2] pool: say who", bodies[0]),
        shown("Re: [PATCH v2 1/2] pool: say who", f"On Friday somebody wrote:\n{quoted}\n\nNo.", "Other One"),
        shown("[PATCH v2 2/2] pool: count", bodies[1], "Some Öne, II"),
    )
    return "public inbox\n\n" + "\n".join(messages) + "end of thread, other threads:[~2026-01-02  1:02 UTC]\n"


def test_every_message_but_the_replies_becomes_a_mail(sent: list[str]) -> None:
    found = [message_from_bytes(raw) for raw in page.mails(thread(sent).encode())]
    assert [mail["Subject"].split("] ")[1] for mail in found] == ["pool: numbers", "pool: say who", "pool: count"]
    assert all(mail["Date"] == "Fri, 02 Jan 2026 01:02:00 +0000" for mail in found)
    assert COVER.strip() in str(found[0].get_payload())
    # The address is where it was signed; a name is nobody's whose address is not there.
    assert [mail["From"] for mail in found][:2] == [
        "Some One <unknown@localhost.invalid>",
        "Some One <some@one.example>",
    ]


def test_a_patch_on_a_page_is_the_one_that_was_sent(sent: list[str]) -> None:
    found = page.mails(thread(sent).encode())
    assert [diff.patch_id(raw.decode()) for raw in found] == ["", *map(diff.patch_id, sent[:2])]


def test_git_takes_them(sent: list[str], tmp_path: Path) -> None:
    mails(tmp_path)
    git(tmp_path, "checkout", "-q", f"HEAD~{COUNT}")
    for number, raw in enumerate(page.mails(thread(sent).encode())[1:]):
        (tmp_path / f"{number}.mail").write_bytes(raw)
        git(tmp_path, "am", "-q", f"{number}.mail")
    assert git(tmp_path, "log", "-1", "--format=%an <%ae> %at %s") == (
        "Some Öne, II <unknown@localhost.invalid> 1767315720 pool: count"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_page_that_lost_its_white_space_is_one(sent: list[str], end: str) -> None:
    lines = [" ".join(line.split()) for line in thread(sent).split("\n")]
    found = page.mails(end.join(line for line in lines if line).encode())
    assert [diff.patch_id(raw.decode()) for raw in found] == ["", *map(diff.patch_id, sent[:2])]
    assert b"Third One" not in b"".join(found)


@pytest.mark.parametrize(
    ("right", "wrong"), [("2026-01-02 ", "2026-99-99 "), ("one.example", "öne.example"), ("One", "One\udcff")]
)
def test_what_no_mail_can_have_is_left_out(sent: list[str], right: str, wrong: str) -> None:
    found = page.mails(thread(sent).replace(right, wrong).encode("utf-8", "surrogateescape"))
    assert [diff.patch_id(raw.decode("utf-8", "surrogateescape")) for raw in found] == [
        "",
        *map(diff.patch_id, sent[:2]),
    ]


def test_anything_else_is_no_page(sent: list[str]) -> None:
    for text in ("", "* one\n* two\n", "From: me @ 2026-01-02  1:02 UTC (permalink / raw)\n", "".join(sent)):
        assert page.mails(text.encode()) == []

# SPDX-License-Identifier: GPL-2.0-only
"""A comparison as a mail: what python's own parser reads in it, and what a list demands of its lines."""

from __future__ import annotations

import email
import email.policy
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from harness import reply
from harness.compare import Column, Comparison, compare
from harness.results import KernelFacts, Result

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WHO = ("Some Tester", "tester@example.org")
HEAD = b"""\
From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <author@example.org>
To: linux-fsdevel@vger.example.org, Some Tester <tester@example.org>
Cc: "Doe, Jane" <jane@example.org>, =?utf-8?b?xYF1a2Fzeg==?= <l@example.org>,
 linux-kernel@vger.example.org, LINUX-FSDEVEL@vger.example.org
Subject: [RFC PATCH v2 00/23] fs,kthread: something that is
 long enough to be folded
Message-ID: <20260306-cover@example.org>
In-Reply-To: <20260303-first@example.org>
Date: Fri, 06 Mar 2026 00:30:00 +0100
"""
FACTS = KernelFacts("7.3-arm64", "7.3", "debian:7.3", "/Image", "arm64", "7.3", "isolated", "tcg")
RESULT = Result(
    *("root", "every root is a nullfs", "kthread-nullfs-v2/22", "isolated", FACTS.label, "pass", "pass"),
    ok=True,
    seconds=0.1,
    tail="".join(f"[    1.{n:06}] a line of the console\n" for n in range(30))
    + "[    2.0] nullfs-harness: mark 01234567",
    repeat="python3 -m harness run --kernel debian:7.3 --arch arm64 --expect isolated --check root",
)
QEMU = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"


def column(letter: str, *results: Result, arch: str = "arm64", **more: object) -> Column:
    facts = replace(FACTS, arch=arch, **more)  # type: ignore[arg-type]
    return Column(letter, f"/home/me/{letter}", arch, facts, results, harness="0.1", qemu=QEMU)


def failing(result: Result = RESULT, verdict: str = "fail", reason: str = "assert 1 == 2\n  more") -> Result:
    return replace(result, verdict=verdict, ok=False, reason=reason)


NOT_BUILT = Column("A", "tree", "x86_64", None, no_build="make failed")
GOOD = compare([column("A", failing()), column("B", RESULT)])
BAD = compare([column("A", RESULT), column("B", failing())])


def mail(comparison: Comparison, head: bytes = HEAD, who: tuple[str, str] = WHO) -> tuple[EmailMessage, str]:
    """What the parser makes of it, having found no fault, and its body."""
    data = reply.letter(comparison, who, head, NOW).data
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    assert not [value.defects for value in parsed.values() if value.defects]
    assert all(len(line) <= 998 for line in data.splitlines()), "RFC 5322, 2.1.1"
    return parsed, parsed.get_content()


def test_it_answers_the_cover_letter() -> None:
    parsed, _ = mail(GOOD)
    assert parsed["From"] == "Some Tester <tester@example.org>"
    assert parsed["Subject"] == "Re: [RFC PATCH v2 00/23] fs,kthread: something that is long enough to be folded"
    assert parsed["In-Reply-To"] == "<20260306-cover@example.org>"
    assert parsed["References"].split() == ["<20260303-first@example.org>", "<20260306-cover@example.org>"]
    assert [(one.display_name, one.addr_spec) for one in parsed["To"].addresses] == [
        ("Jörg Müller", "author@example.org")
    ]
    assert [(one.display_name, one.addr_spec) for one in parsed["Cc"].addresses] == [
        ("", "LINUX-FSDEVEL@vger.example.org"),
        ("Doe, Jane", "jane@example.org"),
        ("Łukasz", "l@example.org"),
        ("", "linux-kernel@vger.example.org"),
    ]
    assert parsed["Date"].datetime == NOW
    assert parsed["Message-ID"] is None, "it has not been sent"


def test_without_a_series_it_answers_nothing() -> None:
    parsed, _ = mail(compare([column("A", RESULT, name="7.2"), column("B", RESULT)]), b"")
    assert parsed["Subject"] == "nullfs-harness: 7.3 against 7.2"
    assert parsed["In-Reply-To"] is parsed["References"] is parsed["To"] is parsed["Cc"] is None


def test_what_was_never_sent_is_no_parent() -> None:
    parsed, _ = mail(GOOD, b"From: A <a@example.org>\nSubject: Re: [PATCH] x\nReply-To: b@example.org\n")
    assert parsed["In-Reply-To"] is None
    assert (parsed["Subject"], parsed["To"]) == ("Re: [PATCH] x", "b@example.org")


@pytest.mark.parametrize("name", ["Zoë O'Neil", "Doe, Jane", 'The "Tester"', "张三", "Plain Name"])
def test_names_of_all_kinds(name: str) -> None:
    parsed, body = mail(GOOD, who=(name, "x@example.org"))
    assert parsed["From"].addresses[0].display_name == name
    assert f"Tested-by: {name} <x@example.org>\n" in body
    charset, coding = ("us-ascii", "7bit") if name.isascii() else ("utf-8", "8bit")
    assert (parsed.get_content_charset(), parsed["Content-Transfer-Encoding"]) == (charset, coding)


def test_nobodys_mail_goes_nowhere() -> None:
    parsed, body = mail(GOOD, who=reply.NOBODY)
    assert parsed["From"].addresses[0].domain.endswith(".invalid")
    assert "Tested-by: FILL IN YOUR NAME" in body


def test_a_header_cannot_be_smuggled_in() -> None:
    head = b"From: a@example.org\nSubject: =?utf-8?q?x=0ABcc:_victim@example.org?=\nMessage-ID: <i@example.org>\n"
    parsed, _ = mail(GOOD, head)
    assert parsed["Bcc"] is None
    assert parsed["Subject"] == "Re: x Bcc: victim@example.org"


@pytest.mark.parametrize(
    ("comparison", "tag"),
    [
        (GOOD, True),
        (compare([column("A", RESULT), column("B", RESULT)]), True),
        (compare([column("A", RESULT), column("B", RESULT, replace(RESULT, check="x", verdict="skip"))]), True),
        (BAD, False),
        (compare([column("A", failing()), column("B", failing())]), False),
        (compare([column("A", RESULT), column("B", replace(RESULT, verdict="skip"))]), False),
        (compare([column("A", RESULT), column("B", RESULT, failing(replace(RESULT, check="new")))]), False),
        (compare([column("A", RESULT), column("B", RESULT, boot_troubles=("warn: WARNING: x",))]), False),
        (compare([column("A", RESULT), column("B", failing(verdict="crash"), no_boot="panic")]), False),
        (compare([column("A", RESULT), Column("B", "tree", "arm64", None, no_build="make failed")]), False),
        (compare([column("A", RESULT), column("B", failing()), column("C", RESULT)]), False),
        (compare([column("A", RESULT), column("B", replace(RESULT, verdict="error"))]), False),
        (compare([column("A", RESULT), NOT_BUILT, column("B", RESULT), replace(NOT_BUILT, letter="B")]), False),
        (compare([column("A", RESULT), column("A", RESULT, arch="x86_64"), column("B", RESULT),
                  column("B", failing(), arch="x86_64")]), False),
    ],
)  # fmt: skip
def test_a_name_stands_only_for_what_passed(comparison: Comparison, *, tag: bool) -> None:
    _, body = mail(comparison)
    assert ("Tested-by: Some Tester <tester@example.org>\n" in body) is tag
    assert ("ested-by" in body) is tag


def test_what_was_tested_is_said() -> None:
    both = [column(letter, RESULT, arch=arch) for letter in "AB" for arch in ("x86_64", "arm64")]
    _, body = mail(compare(both))
    words = " ".join(body.split())
    assert "nullfs-harness 0.1, under tcg in QEMU 7.2.22 (x86_64) and under tcg in QEMU 7.2.22 (arm64):" in words
    assert "A: 7.3 (x86_64), debian:7.3" in words
    assert "x86_64 and arm64: B keeps all that A kept, and no more; 0 worse." in words
    assert "/home/me" not in body


def test_a_failure_has_its_transcript() -> None:
    _, body = mail(BAD)
    lines = body.splitlines()
    assert "  root   pass     fail" in lines
    at = lines.index("root: fail (arm64). The promise: every root is a nullfs.")
    assert lines[at + 1 : at + 5] == ["  assert 1 == 2", "    more", "  ...", "  [    1.000027] a line of the console"]
    assert lines[at + 7 :] == ["Once more, just this:", f"  {RESULT.repeat}"]
    assert "mark" not in body


def test_a_kernel_that_dies_has_more_to_say() -> None:
    both = [column(letter, RESULT, arch=arch) for letter in "A" for arch in ("x86_64", "arm64")]
    dead = [failing(replace(RESULT, check=check), "crash", "panic") for check in ("root", "fsid")]
    _, body = mail(compare([*both, *(column("B", *dead, arch=one.arch, no_boot="died: panic") for one in both)]))
    assert body.count("It does not boot (x86_64 and arm64):\n  died: panic\n  ...\n") == 1
    assert body.count("a line of the console") == reply.LINES
    assert "promise" not in body


def test_a_kernel_that_does_not_build_has_its_cause() -> None:
    _, body = mail(
        compare([column("A", RESULT), Column("B", "tree", "arm64", None, no_build="make failed\nfs/x.c:1: no")])
    )
    assert "B does not build for arm64:\n  make failed\n  fs/x.c:1: no\n" in body


def test_what_got_worse_comes_first_and_no_more_than_can_be_read() -> None:
    before = [replace(RESULT, check=f"c{n}", verdict="pass" if n == 7 else "fail") for n in range(8)]
    after = [failing(replace(RESULT, check=f"c{n}")) for n in range(8)]
    _, body = mail(compare([column("A", *before), column("B", *after)]))
    assert [line.partition(":")[0] for line in body.splitlines() if "The promise" in line] == [
        "c7",
        "c0",
        "c1",
        "c2",
        "c3",
    ]
    assert "Nor did these pass: c4, c5 and c6." in body


def test_lines_are_wrapped_and_what_is_quoted_is_cut() -> None:
    long = replace(
        failing(reason="x " * 200), promise="a promise with many words " * 10, tail="\x1b[31mred\t" + "y" * 500
    )
    comparison = compare([column("A", RESULT), column("B", long)])
    data = reply.letter(comparison, WHO, b"", NOW).data.decode()
    body = data.partition("\n\n")[2].splitlines()
    prose = [line for line in body if not line.startswith("  ")]
    assert max(map(len, prose)) <= 72
    assert max(map(len, body)) <= reply.LONGEST + 2
    assert "  ?[31mred" in data
    assert reply.prose("y" * 100) == "y" * 100
    assert [line for line in body if line != line.rstrip()] == []


def test_new_words_of_the_kernel_and_the_compiler() -> None:
    line = "warn: [    1.0] WARNING: fs/x.c:1 at y+0x0/0x1"
    comparison = compare(
        [column("A", RESULT, warnings=(), image_bytes=100),
         column("B", RESULT, boot_troubles=(line,), warnings=("fs/x.c:1:2: warning: unused",), image_bytes=150)]
    )  # fmt: skip
    _, body = mail(comparison)
    assert f"New on the console (B against A, arm64):\n  {line} (while booting)\n" in body
    assert "New from the compiler (B against A, arm64):\n  fs/x.c:1:2: warning: unused\n" in body
    assert "B against A, arm64: image: 100 bytes, then 150 (+50, +50.0%)." in body


def test_git_would_send_it(tmp_path: Path) -> None:
    where = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
    if not Path(where, "git-send-email").exists():
        pytest.skip("git send-email is not installed: apt-get install git-email")
    path = tmp_path / "mail"
    path.write_bytes(reply.letter(BAD, ("Zoë", "zoe@example.org"), HEAD, NOW).data)
    words = ["git", "send-email", "--dry-run", "--confirm=never", "--to=list@example.org", str(path)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "In-Reply-To: <20260306-cover@example.org>" in done.stdout

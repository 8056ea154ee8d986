# SPDX-License-Identifier: GPL-2.0-only
"""Revisions of a series side by side: applied, built, booted, checked, and the mail that answers the last one."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

import pytest
import toy
from program import Done, Program
from topic import AUTHOR, Row, base_of, commit, sent

#: One that the older kernel fails, one that it passes.
WORDS = ("--arch", "arm64", "--check", "root", "--check", "boot")
SHARED: Row = ("fs: one", "shared", "int one;")
ISOLATED: Row = ("fs: isolate", "isolated", "int two;")


@pytest.fixture
def tree(builder: Program, images: Path) -> Path:
    (builder.directory / "gitconfig").write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    return base_of(builder.directory / "tree", images / "shared")


def compared(builder: Program, tree: Path, *words: str | Path) -> Done:
    """``compare WORDS --tree TREE``, which leaves the user's files as they were."""
    before = toy.prints(tree)
    done = builder.compare(*words, "--tree", tree, *WORDS, GIT_CONFIG_GLOBAL="gitconfig", GIT_CONFIG_NOSYSTEM="1")
    assert toy.prints(tree) == before
    assert builder.left() == []
    assert "Traceback" not in done.text
    return done


def box(builder: Program, tree: Path, images: Path, name: str, *rows: Row, words: tuple[str, ...] = ()) -> Path:
    path = builder.directory / name
    path.write_text(sent(tree, images, rows, *words))
    return path


def letter(path: Path) -> tuple[EmailMessage, str]:
    parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed, parsed.get_content()


@pytest.mark.boots
def test_two_revisions_and_their_base(builder: Program, tree: Path, images: Path) -> None:
    one = box(builder, tree, images, "v1.mbox", SHARED)
    two = box(builder, tree, images, "v2.mbox", SHARED, ISOLATED, words=("-v2", "--to=list@example.org"))
    done = compared(builder, tree, tree, one, two, "--mail", "mail")
    assert done.status == 0, done
    assert done.out.splitlines()[-4:-1] == [
        "B keeps all that A kept, and no more; 0 worse.",
        "C keeps all that B kept, and 1 more; 0 worse.",
        "C keeps all that A kept, and 1 more; 0 worse.",
    ]
    parsed, body = letter(builder.directory / "mail")
    cover = email.message_from_string(two.read_text().partition("\n")[2])
    assert parsed["In-Reply-To"] == cover["Message-ID"]
    assert cover["Message-ID"] in parsed["References"]
    assert parsed["Subject"] == "Re: [PATCH v2 0/2] toy: a series"
    assert (parsed["To"], parsed["Cc"]) == (AUTHOR, "list@example.org")
    assert "C: 7.3.0-toy" in body
    assert body.splitlines()[-1] == "Tested-by: Tester <tester@example.org>"
    again = compared(builder, tree, tree, one, two)
    assert again.out.splitlines()[-1] == "C keeps all that A kept, and 1 more; 0 worse."
    assert "objects" not in again.out, "all of it is known"
    back = compared(builder, tree, two, f"{one}@v1", "--mail", "back")
    assert back.status == 1, back
    parsed, body = letter(builder.directory / "back")
    assert parsed["Subject"] == "Re: [PATCH 0/1] toy: a series"
    assert "ested-by" not in body
    assert "\n  assert 'tmpfs' == 'nullfs'\n" in body
    # What everybody has: the mails, and the commit.
    command = next(line.split() for line in body.splitlines() if line.endswith("--check root"))
    first = email.message_from_string(one.read_text().partition("\n")[2])["Message-ID"].strip("<>")
    assert command[command.index("--series") + 1] == first
    assert command[command.index("--kernel") + 1].startswith(str(tree))


def test_a_revision_that_does_not_build(builder: Program, tree: Path, images: Path) -> None:
    slip = box(builder, tree, images, "slip.mbox", ("fs: slip", "shared", "int wrong = nothing;"))
    done = compared(builder, tree, tree, slip, "--mail", "mail")
    assert done.status == 1, done
    assert "B does not build, A boots." in done.out.splitlines()
    _, body = letter(builder.directory / "mail")
    assert "\nB does not build for arm64:\n" in body
    assert "error: 'nothing' undeclared" in body
    assert body.splitlines()[-1].startswith(f"  python3 -m harness run --kernel {tree}")
    assert "ested-by" not in body


def test_a_revision_that_does_not_apply(builder: Program, tree: Path, images: Path) -> None:
    one = box(builder, tree, images, "one.mbox", SHARED)
    toy.change(tree, "int other;")
    commit(tree, "in between")
    done = compared(builder, tree, tree, one, "--base", "main")
    assert done.status == 2, done
    assert "error: 1/1 fs: one does not apply to " in done.err


@pytest.mark.parametrize("words", ["kthread-nullfs-v2", "one.mbox", "20260306-some-series@example.org", "main..topic"])
def test_a_series_without_a_tree(builder: Program, tree: Path, images: Path, words: str) -> None:
    box(builder, tree, images, "one.mbox", SHARED)
    done = builder.compare(tree, words, *WORDS)
    assert done.status == 2, done
    assert f"{words} is a patch series, and there is no tree to apply it to" in done.text
    assert "next: --tree TREE" in done.text

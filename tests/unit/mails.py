# SPDX-License-Identifier: GPL-2.0-only
"""A repository with commits of every kind, the mails that would be sent of them, and mailboxes with such. No tests."""

from __future__ import annotations

import base64
import quopri
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.header import Header
from email.utils import formatdate
from pathlib import Path

from trees import git, soon

from harness import source
from harness.series import Series

ANN = "Ann Author <ann@example.org>"
BOB = "Bob Reviewer <bob@example.com>"
ZOE = "Zoë Ünïcode <zoe@example.org>"
CHANGE = "20261101-toy-series-0123456789ab"
#: When the first mail of a box was sent; each of the others a minute after the one before.
NOON = 1790000000


def commit(top: Path, subject: str, body: str = "", author: str = ANN) -> str:
    """All that was changed, as one commit."""
    git(top, "add", "--all")
    git(top, "commit", "-q", "--author", author, "-m", f"{subject}\n\n{body}Signed-off-by: {author}\n")
    return git(top, "rev-parse", "HEAD")


def repository(top: Path) -> tuple[Path, str]:
    """A repository whose branch "topic" has seven commits on top of "base", and which commit that is."""
    top.mkdir()
    git(top, "init", "-q", "-b", "topic")
    git(top, "config", "core.autocrlf", "false")
    lines = [f"line {number} of it\n" for number in range(1, 41)]
    (top / "plain.c").write_text("".join(lines))
    (top / "dos.txt").write_bytes(b"one\r\ntwo\r\nthree\r\nfour\r\n")
    (top / "latin.c").write_bytes("/* Zürich */\nint zero;\n".encode("latin-1"))
    (top / "picture.bin").write_bytes(bytes(range(256)) * 4)
    (top / "tool.sh").write_text("#!/bin/sh\n- \n-- \necho tool\n" + "".join(lines))
    (top / "Zürich").mkdir()
    (top / "Zürich/a b.c").write_text("int é;\n")
    base = commit(top, "base")
    git(top, "tag", "base")
    (top / "plain.c").write_text("".join(lines).replace("line 20 ", "line twenty "))
    commit(top, "plain: write out a number", "From here on numbers are words.\n>From there on, too.\n\n")
    (top / "Zürich/a b.c").write_text("int é;\nint ß; /* größer */\n")
    commit(top, "Zürich: größer als zuvor, in einem Betreff, der länger ist als eine Zeile einer Mail", author=ZOE)
    (top / "picture.bin").write_bytes(bytes(reversed(range(256))) * 4)
    (top / "new.bin").write_bytes(b"\0\1\2\3" * 100)
    commit(top, "picture: turn it round")
    git(top, "mv", "tool.sh", "tools.sh")
    tool = (top / "tools.sh").read_text()
    (top / "tools.sh").write_text(tool.replace("-- \n", "").replace("line 30 ", "line thirty "))
    (top / "tools.sh").chmod(0o755)
    (top / "plain.c").chmod(0o755)
    commit(top, "tools: a new name and a new mode")
    (top / "dos.txt").write_bytes(b"one\r\nzwei\r\nthree\r\nfour\r\nfive\n")
    commit(top, "dos: two lines, with and without a return")
    (top / "latin.c").write_bytes("/* Zürich, Köln */\nint zero;\n".encode("latin-1"))
    commit(top, "latin: one more town")
    (top / "plain.c").unlink()
    (top / "added").write_text("no line end")
    commit(top, "plain: gone")
    return top, base


@dataclass(frozen=True)
class Letter:
    """A mail to be. ``parents``: the ids that it answers, the nearest last; ``coding``: of its body."""

    id: str
    subject: str
    body: bytes
    author: str = ANN
    parents: tuple[str, ...] = ()
    sent: int = NOON
    coding: str = "8bit"
    charset: str = "utf-8"
    headers: str = ""

    @property
    def raw(self) -> bytes:
        """As it is sent, its lines ended by LF."""
        name, _, address = self.author.rpartition(" ")
        fields = [f"From: {Header(name, 'utf-8').encode() if not name.isascii() else name} {address}"]
        subject = Header(self.subject, "utf-8", 76, "Subject").encode() if not self.subject.isascii() else self.subject
        fields += [f"Subject: {subject}", f"Date: {formatdate(self.sent)}"]
        fields += [f"Message-ID: <{self.id}>"] * bool(self.id)
        if self.parents:
            fields += [f"In-Reply-To: <{self.parents[-1]}>"]
            fields += ["References: " + "\n ".join(f"<{each}>" for each in self.parents)]
        fields += ["MIME-Version: 1.0", f'Content-Type: text/plain; charset="{self.charset}"']
        fields += [f"Content-Transfer-Encoding: {self.coding}", *filter(None, [self.headers])]
        body = self.body
        if self.coding == "base64":
            body = base64.encodebytes(body)
        if self.coding == "quoted-printable":
            body = b"\n".join(map(quopri.encodestring, body.split(b"\n")))
        return "\n".join(fields).encode() + b"\n\n" + body

    def answer(self, text: str, author: str = BOB, **others: object) -> Letter:
        """An answer to it."""
        parents = (*self.parents, self.id)
        name = f"re-{self.sent}-{author.partition(' ')[0]}@example.com"
        new = Letter(name, f"Re: {self.subject}", text.encode(), author, parents, self.sent + 30)
        return replace(new, **others)  # type: ignore[arg-type]

    def quoted(self) -> str:
        """Its body, as answers quote it."""
        return "".join(f"> {line}\n" for line in self.body.decode("utf-8", "replace").splitlines())


def formatted(top: Path, range_: str, *words: str) -> bytes:
    """What git writes of a range, as one mailbox whose mails have no ids."""
    argv = ["git", "-C", str(top), "format-patch", "--stdout", "--full-index", "--binary", *words, range_]
    return subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout


def patches(top: Path, range_: str, *words: str) -> list[tuple[str, bytes]]:
    """The subject and the body of the mail of each commit of a range, as git writes them for Ann to send."""
    data = formatted(top, range_, f"--from={ANN}", *words)
    found = []
    for raw in re.split(rb"^From [0-9a-f]{40} Mon Sep 17 00:00:00 2001\n", data, flags=re.MULTILINE)[1:]:
        body = raw.partition(b"\n\n")[2]
        found.append(body)
    subjects = git(top, "log", "--reverse", "--format=%s", range_).splitlines()
    return list(zip(subjects, found, strict=True))


def sending(
    top: Path, range_: str, *, revision: int = 1, tag: str = "toy", codings: Sequence[str] = ("8bit",), at: int = 0,
    parents: tuple[str, ...] = (), cover: bool = True, deep: bool = False, change: str = CHANGE,
    title: str = "toy: all kinds of changes", prefix: str = "PATCH", words: Sequence[str] = (),
) -> list[Letter]:  # fmt: skip
    """A series as it is sent: a cover letter, and its patches as answers to that, or each to the one before."""
    found = patches(top, range_, *words)
    base = git(top, "rev-parse", range_.partition("..")[0])
    of, v = len(found), f" v{revision}" * (revision > 1)
    text = f"This changes all kinds of things.\n\n---\n{ANN} ({of}):\n\nbase-commit: {base}\nchange-id: {change}\n"
    start = NOON + 10000 * at
    letters = []
    if cover:
        name = f"{tag}-v{revision}-0@example.org"
        letters.append(Letter(name, f"[{prefix}{v} 0/{of}] {title}", text.encode(), sent=start, parents=parents))
    for n, (subject, body) in enumerate(found, start=1):
        above = (*parents, *([letters[0].id] if letters else []))
        above += tuple(letter.id for letter in letters[1:]) if deep else ()
        name, counted = f"{tag}-v{revision}-{n}@example.org", f"[{prefix}{v} {n}/{of}] {subject}"
        coding = codings[(n - 1) % len(codings)]
        letters.append(Letter(name, counted, body, parents=above, sent=start + 60 * n, coding=coding))
    return letters


def mbox(letters: Iterable[Letter | bytes], *, wire: bool = False) -> bytes:
    """A mailbox as archives give it (mboxrd), its lines ended as on the wire or by LF."""
    parts = []
    for letter in letters:
        raw = letter.raw if isinstance(letter, Letter) else letter
        if wire:
            raw = raw.replace(b"\n", b"\r\n")
        raw = re.sub(rb"^(>*From )", rb">\1", raw, flags=re.MULTILINE)
        parts.append(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + raw + b"\n")
    return b"".join(parts)


def applied(top: Path, base: str, series: Series, where: Path) -> list[str]:
    """What real git-am makes of a series on ``base``: tree, author, and message of each commit."""
    git(top, "clone", "-q", "--shared", "--no-checkout", top, where)
    git(where, "config", "core.autocrlf", "false")
    git(where, "checkout", "-q", base)
    for patch in series.patches:
        (where / ".git/patch").write_bytes(patch.mail)
        git(where, "am", "-q", "--keep-cr", where / ".git/patch")
    return commits(where, f"{base}..HEAD")


def commits(top: Path, range_: str) -> list[str]:
    """Tree, author, and message of each commit."""
    return git(top, "log", "--reverse", "--format=%T %an <%ae>%n%B%x00", range_).split("\0\n")


def put(path: Path, data: bytes) -> Path:
    """A file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(path: Path | str, which: str = "") -> Series:
    """The series in a path."""
    return source.read(f"{path}@{which}" if which else str(path), soon())


def same(series: Series, top: Path, where: Path, range_: str = "base..topic") -> None:
    """Each patch of the series makes the tree, and has the author and the message, of its commit."""
    assert applied(top, range_.partition("..")[0], series, where) == commits(top, range_)
    assert [patch.n for patch in series.patches] == list(range(1, len(series.patches) + 1))
    assert {patch.of for patch in series.patches} == {len(series.patches)}


def trees(lines: list[str]) -> list[str]:
    """The trees of what commits() gives."""
    return [line.partition(" ")[0] for line in lines]

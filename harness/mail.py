# SPDX-License-Identifier: GPL-2.0-only
"""One mail of a mailbox: what its header says of the patch in it (git-format-patch(1)), and where mails begin and end.

Only enough is read to know what is there; b4 and git make of it what is applied.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
import re
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser, HeaderParser
from email.utils import mktime_tz, parseaddr, parsedate_tz
from functools import cached_property

#: What to type where a mail is missing.
THREAD = "`b4 mbox MESSAGE-ID` gets a whole thread as one mailbox"
#: The line before each mail of an mbox (mbox(5)): somebody, and a time as asctime(3) writes it.
FROM = re.compile(rb"From [^\n]*\d\d:\d\d[^\n]*\d{4}[^\n]*\n(?=[!-9;-~]+:)")
FIELD = re.compile(rb"[!-9;-~]+:[ \t\r\n]")
#: How that ends where git-format-patch(1) wrote it, which leaves all other lines as they are.
GIT = b" Mon Sep 17 00:00:00 2001\n"
#: A line of a body that looked like that one, and was changed for it (mboxrd).
QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
REPLY = re.compile(r"^(?:re|aw|fwd):\s*|^\w{2,3}:\s*(?=\[)", re.IGNORECASE)
BRACKETS = re.compile(r"^\s*\[([^]]*)\]\s*")
COUNTER = re.compile(r"(\d{1,4})/(\d{1,4})")
REVISION = re.compile(r"(?:patch)?v(\d{1,4})", re.IGNORECASE)
ID = re.compile(r"<([^<>\s]+)>")
DIFF = re.compile(rb"^(?:diff --git |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
CODING = re.compile(rb"^Content-Transfer-Encoding:.*$", re.MULTILINE | re.IGNORECASE)
ENCODED = ("quoted-printable", "base64")
#: Seconds since 1970 of no year that a calendar has: some 7900 years, before and after.
FOREVER = 250_000_000_000
#: That every line ends with CR and LF, as on the wire, is no part of a patch: its own lines would have another CR.
WIRE = re.compile(rb"^diff --git [^\n]*\r$", re.MULTILINE)


@dataclass(frozen=True)
class Subject:
    """A subject line without its [PATCH …], and what that says. ``n`` and ``of`` are 0 where nothing is counted."""

    text: str
    revision: int
    n: int
    of: int
    counted: bool
    patch: bool
    reply: bool

    @classmethod
    def of_line(cls, line: str) -> Subject:
        """What a subject line says; without a v2 it is the first revision."""
        reply = bool(REPLY.match(line))
        rest, revision, n, of, counted, patch = REPLY.sub("", line), 1, 0, 0, False, False
        while brackets := BRACKETS.match(rest):
            rest = rest[brackets.end() :]
            for word in re.split(r"[\s,;]+", brackets[1]):
                patch = patch or word.lower().startswith("patch")
                if number := COUNTER.fullmatch(word):
                    n, of, counted = int(number[1]), int(number[2]), True
                elif number := REVISION.fullmatch(word):
                    revision = int(number[1])
        return cls(rest.strip(), revision, n, of, counted, patch, reply)


@dataclass(frozen=True, eq=False)
class Mail:
    """A mail. ``raw``: header and body, without the From_ line before it, its lines ended by LF."""

    raw: bytes

    @cached_property
    def header(self) -> Message:
        """Its header."""
        text = self.raw.partition(b"\n\n")[0].decode("utf-8", "surrogateescape")
        return HeaderParser().parsestr(text + "\n\n")

    def field(self, name: str) -> str:
        """A field of the header, decoded and on one line; empty if it is not there."""
        value: object = self.header.get(name, "")
        with suppress(LookupError, ValueError, HeaderParseError):  # then nobody can read it
            value = make_header(decode_header(self.header.get(name, "")))
        return " ".join(str(value).split())

    @cached_property
    def subject(self) -> Subject:
        """What its subject line says."""
        return Subject.of_line(self.field("Subject"))

    @cached_property
    def id(self) -> str:
        """Its message id without <>, or one that is made of its content."""
        return self.sent_id or f"{hashlib.sha256(self.raw).hexdigest()[:32]}@nullfs-harness.invalid"

    @property
    def sent_id(self) -> str:
        """Its message id without <>; empty for what was never sent."""
        found = ID.search(str(self.header.get("Message-Id", "")))
        return found[1] if found else ""

    @cached_property
    def parents(self) -> tuple[str, ...]:
        """The ids of the mails that it answers, the nearest first."""
        nearest = ID.findall(str(self.header.get("In-Reply-To", "")))
        others = ID.findall(str(self.header.get("References", "")))
        return tuple(each for each in dict.fromkeys((*nearest, *reversed(others))) if each != self.id)

    @cached_property
    def author(self) -> str:
        """Who sent it: a name and an address."""
        return self.field("From")

    @property
    def address(self) -> str:
        """The address of who sent it."""
        return parseaddr(self.author)[1].lower()

    @cached_property
    def sent(self) -> int:
        """When, in seconds since 1970; 0 where it does not say."""
        try:
            date = parsedate_tz(self.field("Date"))
            sent = mktime_tz(date) if date else 0
            return sent if abs(sent) < FOREVER else 0
        except (ValueError, OverflowError):
            return 0

    @cached_property
    def body(self) -> bytes:
        """What was written, in its own character set: the part with a patch, else the first of plain text."""
        if self.header.get_content_maintype() != "multipart":
            return untwisted(self._decoded(self.raw.partition(b"\n\n")[2]))
        parts = [part for part in BytesParser().parsebytes(self.raw).walk() if not part.is_multipart()]
        texts = [part for part in parts if part.get_content_type() in ("text/plain", "text/x-patch", "text/x-diff")]
        bodies = [payload for part in texts if isinstance(payload := part.get_payload(decode=True), bytes)]
        return untwisted(next(filter(DIFF.search, reversed(bodies)), next(iter(bodies), b"")))

    @property
    def _coding(self) -> str:
        return str(self.header.get("Content-Transfer-Encoding", "")).strip().lower()

    def _decoded(self, body: bytes) -> bytes:
        if self._coding == "quoted-printable":
            return quopri.decodestring(body)
        with suppress(NotBase64):
            return base64.b64decode(body) if self._coding == "base64" else body
        return body

    @property
    def text(self) -> str:
        """What was written, as text."""
        try:
            return self.body.decode(self.header.get_content_charset() or "utf-8", "replace")
        except (LookupError, ValueError):  # some of Python's own, idna for one, do not know "replace"
            return self.body.decode("utf-8", "replace")

    @cached_property
    def has_diff(self) -> bool:
        """Whether there is a patch in it."""
        return b"GIT binary patch" in self.body or DIFF.search(self.body) is not None

    @property
    def diff(self) -> bytes:
        """All from its first changed file on, byte by byte as it was sent."""
        found = DIFF.search(self.body)
        return self.body[found.start() :] if found else b""

    @property
    def plain(self) -> bytes:
        """The mail with its body decoded; one of several parts as it is."""
        if self._coding not in ENCODED or self.header.get_content_maintype() == "multipart":
            return self.raw
        head = self.raw.partition(b"\n\n")[0]
        return CODING.sub(b"Content-Transfer-Encoding: 8bit", head) + b"\n\n" + self.body

    @cached_property
    def is_cover(self) -> bool:
        """Whether it is the 0/N of a series."""
        return self.subject.counted and self.subject.n == 0 and not self.subject.reply

    @cached_property
    def is_patch(self) -> bool:
        """Whether it is one patch, and no answer to one."""
        return not (self.subject.reply or self.is_cover) and self.has_diff

    def answering(self, others: Mapping[str, str]) -> Mail:
        """The same mail as an answer to other mails: by message ids, each with the one that takes its place."""
        head, blank, body = self.raw.partition(b"\n\n")
        for old, new in others.items():
            head = head.replace(f"<{old}>".encode(), f"<{new}>".encode())
        return Mail(head + blank + body)

    def __str__(self) -> str:
        return f"<{self.id}> {self.field('Subject')}"


def trailer(text: str, name: str) -> str:
    """The word after ``name:`` on a line of its own; empty if there is none."""
    found = re.search(rf"^{name}:[ \t]+(\S+)", text, re.MULTILINE) if f"{name}:" in text else None
    return found[1] if found else ""


def unwired(raw: bytes) -> bytes:
    """A mail with its lines ended by LF, if they were ended by CR and LF for the way."""
    return raw.replace(b"\r\n", b"\n") if raw.partition(b"\n")[0].endswith(b"\r") else raw


def untwisted(text: bytes) -> bytes:
    """The same of a body, which begins anyhow: a patch whose own lines end so has others that do not."""
    wired = b"\r\n" in text and (text.count(b"\r\n") == text.count(b"\n") or WIRE.search(text))
    return text.replace(b"\r\n", b"\n") if wired else text


def looks_like_one(data: bytes) -> bool:
    """Whether this begins with the header of a mail."""
    return FIELD.match(data.lstrip(b"\r\n")) is not None


def split(data: bytes) -> list[Mail]:
    """The mails in the text of a file, an mbox or a single mail; none if it is neither."""
    places = list(_places(data))
    if not places:
        return [Mail(unwired(data.lstrip(b"\r\n")))] if looks_like_one(data) else []
    mails = []
    if looks_like_one(first := data[: places[0][0]]):
        mails.append(Mail(unwired(first.lstrip(b"\r\n"))))
    ends = [*(start for start, _ in places[1:]), len(data)]
    for (_, start), end in zip(places, ends, strict=True):
        raw = unwired(data[start:end])
        quoted = b">From " in raw and not data.endswith(GIT, 0, start)
        mails.append(Mail(QUOTED.sub(rb"\1", raw) if quoted else raw))
    return mails


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each From_ line of an mbox begins, and where its mail does."""
    at = 0 if data.startswith(b"From ") else data.find(b"\nFrom ") + 1
    while at or data.startswith(b"From "):
        if line := FROM.match(data, at):
            yield at, line.end()
        following = data.find(b"\nFrom ", at)
        if following < 0:
            return
        at = following + 1

# SPDX-License-Identifier: GPL-2.0-only
"""A comparison as a mail to a list: plain text, ready to be read, corrected and sent by hand. Nothing is sent here."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.header import Header, decode_header, make_header
from email.parser import HeaderParser
from email.utils import format_datetime, formataddr, getaddresses

from harness import versus
from harness.compare import Column, Comparison, Kind
from harness.report import listed
from harness.results import Result

#: Columns of a line of prose (Documentation/process/email-clients.rst), and of a line that cannot be wrapped.
WIDTH = 72
LONGEST = 120
#: Transcripts in one mail; lines of a console in one, and where the kernel neither died nor complained.
TRANSCRIPTS = 5
LINES = 12
FEW = 3
#: Lines that are not of the kernel or the check: marks on the console, advice of pytest's.
OURS = re.compile(r"nullfs-harness: mark|^ *Use -v to get ")
#: Stands where git knows no name: everybody sees that it has to be filled in, and no mail can go there.
NOBODY = ("FILL IN YOUR NAME", "fill-in@your-address.invalid")
PROMISE = "Tested-by"


@dataclass(frozen=True)
class Letter:
    """What a mail is made of, each field of the header as it goes over the wire."""

    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def data(self) -> bytes:
        """The mail as a file (RFC 5322), its body in ASCII, or else in UTF-8 and 8 bits (RFC 2045)."""
        charset, coding = ("us-ascii", "7bit") if self.body.isascii() else ("utf-8", "8bit")
        fields = [
            *self.headers,
            ("MIME-Version", "1.0"),
            ("Content-Type", f"text/plain; charset={charset}"),
            ("Content-Transfer-Encoding", coding),
        ]
        head = "".join(f"{name}: {value}\n" for name, value in fields)
        return head.encode("ascii", "replace") + b"\n" + self.body.encode("utf-8", "replace")


def letter(comparison: Comparison, who: tuple[str, str], head: bytes, now: datetime) -> Letter:
    """The reply to the mail with the header ``head``, or a mail of its own if that is empty.

    ``who`` is the name and the address of the one who sends it.
    """
    return Letter(tuple(_headers(comparison, who, head, now)), body(comparison, who))


def _headers(comparison: Comparison, who: tuple[str, str], head: bytes, now: datetime) -> Iterator[tuple[str, str]]:
    yield "From", _address(who)
    yield "Date", format_datetime(now)
    if not head:
        names = dict.fromkeys(column.name for column in (comparison.columns[0], *comparison.last))
        yield "Subject", _encoded(f"nullfs-harness: {' against '.join(reversed(names))}")
        return
    asked = HeaderParser().parsestr(head.decode("utf-8", "surrogateescape"))
    fields = {name: [str(value) for value in asked.get_all(name, [])] for name in ("Reply-To", "From", "To", "Cc")}
    to = getaddresses(fields["Reply-To"] or fields["From"])
    known = {address.lower() for _, address in (*to, who)}
    copies = {address.lower(): (name, address) for name, address in getaddresses(fields["To"] + fields["Cc"])}
    for name, some in (("To", to), ("Cc", [pair for key, pair in copies.items() if key and key not in known])):
        if some:
            yield name, ",\n ".join(_address((_decoded(its), address)) for its, address in some)
    subject = _decoded(str(asked.get("Subject", "")))
    yield "Subject", _encoded(subject if subject.lower().startswith("re:") else f"Re: {subject}")
    if answered := str(asked.get("Message-Id", "")).strip():
        yield "In-Reply-To", answered
        above = str(asked.get("References", "") or asked.get("In-Reply-To", "")).split()
        yield "References", "\n ".join(dict.fromkeys((*above, answered)))


def _decoded(value: str) -> str:
    """A field on one line, its encoded words read (RFC 2047)."""
    try:
        value = str(make_header(decode_header(value)))
    except (LookupError, ValueError):  # then nobody can read it
        value = value.encode("ascii", "replace").decode()
    return " ".join(value.split())


def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8").encode()


def _address(who: tuple[str, str]) -> str:
    name, address = who
    return formataddr((name, address.encode("ascii", "replace").decode()))


def tested(comparison: Comparison) -> bool:
    """Whether one may put one's name to it: all that was tried passed on the last kernels, and nothing got worse."""
    results = [result for column in comparison.last for result in column.results]
    fine = {result.verdict for result in results} <= {"pass", "skip"} and any(one.verdict == "pass" for one in results)
    return fine and not comparison.worse and all(column.stage == 2 for column in comparison.last)


def body(comparison: Comparison, who: tuple[str, str]) -> str:
    """What is said, prose in WIDTH columns."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("harness"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "cut": cut}
    chosen, more = transcripts(comparison)
    arches = dict.fromkeys(column.arch for column in comparison.columns)
    return environment.get_template("reply.txt.j2").render(
        comparison=comparison,
        harness=listed(column.harness for column in comparison.last),
        ways=listed(ways(comparison.last)),
        closing=versus.closing(comparison),
        tables=[lines for arch in arches if (lines := table(comparison, arch))],
        remarks=list(remarks(comparison)),
        skipped=skipped(comparison.last),
        unbuilt=[column for column in comparison.last if column.no_build],
        chosen=chosen,
        more=listed(more),
        tag=f"{PROMISE}: {who[0]} <{who[1]}>" if tested(comparison) else "",
    )


def remarks(comparison: Comparison) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is to be said beside the checks: a sentence, and the tools' own words that belong to it."""
    for pair in (*comparison.pairs, *comparison.ends):
        where = f"{pair.after} against {pair.before}, {pair.arch}"
        told = (
            []
            if pair in comparison.ends
            else [
                ("New on the console", pair.lines_new),
                ("No longer on the console", pair.lines_gone),
                ("New from the compiler", pair.warnings_new or ()),
            ]
        )
        yield from ((f"{what} ({where}):", lines) for what, lines in told if lines)
        if said := list(versus.facts(pair)):
            yield f"{where}: {'; '.join(said)}.", ()


def prose(text: str) -> str:
    """A paragraph, wrapped; words longer than a line stay whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def cut(line: str) -> str:
    """A line of somebody else's words: what cannot be printed is marked, what is too long is cut."""
    line = "".join(char if char.isprintable() else "?" for char in line.expandtabs().rstrip())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."


def ways(columns: Iterable[Column]) -> list[str]:
    """What the kernels ran in: "under tcg in QEMU 7.2.22 (arm64)"."""
    found = []
    for column in columns:
        if column.facts and column.facts.accel:
            version = re.search(r"\d[\d.]*", column.qemu)
            found.append(f"under {column.facts.accel} in QEMU {version[0] if version else ''} ({column.arch})")
    return found


def table(comparison: Comparison, arch: str) -> list[str]:
    """The checks that differ between the kernels of an architecture: a line each, after one that says what is what."""
    columns = [column for column in comparison.columns if column.arch == arch]
    verdicts = [{result.check: result.verdict for result in column.results} for column in columns]
    rows = [check for check in versus.rows(comparison, every=False) if len({each.get(check) for each in verdicts}) > 1]
    if not rows:
        return []
    lines = [[arch, *(column.letter for column in columns)]]
    lines += [[check, *(each.get(check, "-") for each in verdicts)] for check in rows]
    width = max(len(line[0]) for line in lines)
    return ["".join((line[0].ljust(width), *(f"  {word:<7}" for word in line[1:]))).rstrip() for line in lines]


def skipped(columns: Iterable[Column]) -> str:
    """The checks that were not tried on the last kernels."""
    names = dict.fromkeys(one.check for column in columns for one in column.results if one.verdict == "skip")
    return listed(names) if names else ""


@dataclass(frozen=True)
class Transcript:
    """What did not pass, on which architectures, with the evidence of the first of them."""

    first: Result
    arches: tuple[str, ...]
    #: Why the kernel did not boot: then no check could be tried.
    fault: str
    #: Tries it once more.
    again: str

    @property
    def headline(self) -> str:
        """What it is about."""
        where = listed(self.arches)
        if self.fault:
            return f"It does not boot ({where}):"
        return f"{self.first.check}: {self.first.verdict} ({where}). The promise: {self.first.promise}."

    @property
    def cause(self) -> list[str]:
        """The first cause."""
        return [self.fault] if self.fault else _theirs([*self.first.troubles, *self.first.reason.splitlines()])[:LINES]

    @property
    def console(self) -> list[str]:
        """The last lines of the console."""
        quiet = self.first.verdict == "fail" and not self.first.troubles and not self.fault
        return _theirs(self.first.tail.splitlines())[-(FEW if quiet else LINES) :]


def _theirs(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip() and not OURS.search(line)]


def transcripts(comparison: Comparison) -> tuple[list[Transcript], list[str]]:
    """What did not pass on the last kernels, what got worse first: some in full, and the names of the others."""
    changes = [change for pair in (*comparison.pairs, *comparison.ends) for change in pair.of(Kind.WORSE)]
    worse = {change.check for change in changes}
    found: dict[str, list[tuple[Column, Result]]] = {}
    for column in comparison.last:
        for result in column.results:
            if result.verdict not in ("pass", "skip"):
                found.setdefault(column.fault or result.check, []).append((column, result))
    some = [
        Transcript(
            first,
            tuple(dict.fromkeys(column.arch for column, _ in group)),
            column.fault,
            # A path in somebody's cache is of no use to others.
            f"{column.command} --check {first.check}" if column.command else first.repeat,
        )
        for group in found.values()
        for column, first in group[:1]
    ]
    some.sort(key=lambda one: not (one.fault or one.first.check in worse))
    return some[:TRANSCRIPTS], [one.first.check for one in some[TRANSCRIPTS:]]

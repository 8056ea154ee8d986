# SPDX-License-Identifier: GPL-2.0-only
"""Patches that are files, one each: what git-format-patch(1) writes, and what a quilt(1) series lists.

Nobody answered these, so nothing has to be put together: they are taken as they are, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import mail
from harness.errors import RequestError
from harness.mail import Mail

SUFFIXES = (".patch", ".diff")
#: The name of quilt's list.
SERIES = "series"
RIGHTS = "ls -ld shows who may read it"
#: A comment of it, to the end of the line.
COMMENT = re.compile(r"(?:^|\s)#.*")
#: Bytes that a patch, or a mailbox, may have.
MOST = 256 << 20
#: Where the changes begin in what has no mail around it.
DIFF = re.compile(rb"^(?:diff -|Index: |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
#: Who is said to have written what does not say.
NOBODY = "nobody <nobody@localhost>"


@dataclass(frozen=True)
class Files:
    """Patches in their order, with what came with them."""

    patches: tuple[Mail, ...]
    cover: Mail | None = None
    notes: tuple[str, ...] = ()


def content(path: Path) -> bytes:
    """What is in a file. Raises RequestError if it cannot be read, is none or is too big."""
    try:
        if not path.is_file():
            what = f"{path} is no file" if path.exists() else f"{path} does not exist"
            raise RequestError(what, hint="a series is a mailbox, a patch, or a directory of patches")
        if (size := path.stat().st_size) > MOST:
            raise RequestError(
                f"{path} is too big: {size >> 20} MB, and more than {MOST >> 20} MB are not read",
                hint="take one thread out of it, or get one with `b4 mbox MESSAGE-ID`",
            )
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error), hint=RIGHTS) from error


def listed(path: Path) -> list[Path]:
    """What is in a directory, sorted by name. Raises RequestError if it cannot be read."""
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error), hint=RIGHTS) from error


def directory(path: Path, which: str = "") -> Files:
    """The patches in a directory, of the revision ``which`` ("v2") or the newest. Raises RequestError."""
    files = [file for file in listed(path) if file.suffix in SUFFIXES]
    if not files:
        raise RequestError(
            f"no patches are in {path}",
            cause=f"there is no file *{' or *'.join(SUFFIXES)}, no {SERIES} of quilt's, and it is no maildir",
            hint=f"of a git repository say which commits: {path}@BASE..TOPIC",
        )
    return ordered([_one(file) for file in files], str(path), which)


def _one(file: Path) -> Mail:
    data = content(file)
    mails = mail.split(data)
    if len(mails) > 1:
        raise RequestError(f"{file} has {len(mails)} mails in it", hint="name it by itself: a mailbox is a series")
    return mails[0] if mails and mails[0].field("From") and mails[0].field("Subject") else made(data, file)


def ordered(mails: Iterable[Mail], where: str, which: str = "") -> Files:
    """Patches that were never sent, one behind the other: in the order of their numbers, if they have some.

    Raises RequestError if one of them is missing, or if there is no patch.
    """
    mails = list(mails)
    have = sorted({each.subject.revision for each in mails if each.is_patch})
    if not have:
        heads = ", ".join(repr(each.field("Subject")) for each in mails[:3])
        raise RequestError(f"no patch is in {where}", cause=f"nothing is changed by {heads}", hint=mail.THREAD)
    revision = int(which[1:]) if re.fullmatch(r"v\d+", which) else have[-1]
    if which and (revision not in have or which != f"v{revision}"):
        cause = f"it has {', '.join(f'v{each}' for each in have)}"
        raise RequestError(f"{where} has no revision {which}", cause=cause, hint=f"{where}@v{have[-1]}")
    some = [each for each in mails if each.subject.revision == revision]
    cover = next((each for each in some if each.is_cover), None)
    patches = [each for each in some if each.is_patch]
    notes = [f"{where} has {', '.join(f'v{each}' for each in have)}; this is v{revision}"] if len(have) > 1 else []
    if others := [repr(each.field("Subject")) for each in some if not (each.is_patch or each.is_cover)]:
        notes.append(f"no patch, and left out: {', '.join(others)}")
    if all(each.subject.counted for each in patches):
        patches.sort(key=lambda each: each.subject.n)
        of = max(each.subject.of for each in patches)
        whole([each.subject.n for each in patches], of, where, f"{where}@v{have[0]}" if revision != have[0] else "")
    return Files(tuple(patches), cover, tuple(notes))


def whole(numbers: list[int], of: int, where: str, other: str = "") -> None:
    """Raise RequestError unless the patches ``numbers`` are 1 to ``of``; ``other``: what could be taken instead."""
    missing = [number for number in range(1, of + 1) if number not in numbers]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    names = ", ".join(f"{number}/{of}" for number in missing or twice)
    if missing:
        hint = f"there is {other} as well" if other else mail.THREAD
        what = "patches" if len(missing) > 1 else "patch"
        raise RequestError(f"the series in {where} is not complete: {what} {names} missing", hint=hint)
    if twice:
        raise RequestError(f"{where} has more than one patch {names}", hint="leave the wrong one out")


def quilt(series: Path) -> Files:
    """The patches that a quilt series lists, applied with -p1. Raises RequestError."""
    files = []
    for number, line in enumerate(content(series).decode("utf-8", "replace").splitlines(), start=1):
        words = COMMENT.sub("", line).split()
        if not words:
            continue
        name, *options = words
        where = f"line {number} of {series}"
        if options not in ([], ["-p1"], ["-p", "1"]):
            hint = "git-am takes a patch with -p1, as it is sent: make one such of it (`quilt refresh -p1`)"
            raise RequestError(f"{name} is to be applied with {' '.join(options)}", cause=where, hint=hint)
        file = series.parent / name
        if not file.resolve().is_relative_to(series.parent.resolve()):
            raise RequestError(f"{name} lies outside of {series.parent}", cause=where, hint="copy it there")
        if not file.is_file():
            cause = f"{where} names it; {file} is no file"
            raise RequestError(
                f"the patch {name} is missing", cause=cause, hint="put it there, or take it off the list"
            )
        files.append(_one(file))
    if not files:
        raise RequestError(f"no patches are listed in {series}", hint="one name a line, see quilt(1)")
    if empty := next((each for each in files if not each.is_patch and not DIFF.search(each.body)), None):
        what = f"there is no patch in {empty.field('Subject')!r}, which {series} lists"
        raise RequestError(what, hint="take it off the list (`quilt delete`)")
    return Files(tuple(files))


def made(data: bytes, file: Path) -> Mail:
    """A mail around a patch that has none: what it says of itself, else its first line, else its name.

    Its description may have fields as Debian's do (DEP-3).
    """
    text = mail.untwisted(data)
    found = DIFF.search(text)
    start = found.start() if found else len(text)
    header, rest = Mail(b""), text[:start].decode("utf-8", "replace").strip("\n")
    if mail.looks_like_one(rest.encode()):
        top, _, rest = rest.partition("\n\n")
        header = Mail(top.encode() + b"\n\n")
        subject, _, more = str(header.header.get("Subject") or header.header.get("Description", "")).partition("\n")
        rest = "\n".join(filter(None, ("\n".join(map(str.strip, more.split("\n"))), rest)))
    else:
        subject, _, rest = rest.partition("\n")
    author = next((who for name in ("From", "Author") if "@" in (who := header.field(name))), NOBODY)
    date = header.field("Date") or "Thu, 01 Jan 1970 00:00:00 +0000"
    fields = f"From: {author}\nDate: {date}\nSubject: [PATCH] {' '.join(subject.split()) or file.stem}\n"
    fields += 'Content-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n'
    return Mail(f"{fields}\n{rest.strip()}\n---\n".encode("utf-8", "surrogateescape") + text[start:])

# SPDX-License-Identifier: GPL-2.0-only
"""What mailers, archives and people do to a patch on its way. Each takes a mail of git's, as text. No tests here."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable

Damager = Callable[[str], str]


def lines_of(mail: str, change: Callable[[str], str | None]) -> str:
    """The mail with each line of its diff changed, or left out where that is None; not the signature."""
    start, end = mail.index("diff --git"), mail.rindex("\n-- \n")
    changed = [change(line) for line in mail[start:end].split("\n")]
    return mail[:start] + "\n".join(line for line in changed if line is not None) + mail[end:]


def page(mail: str) -> str:
    """As the text of a web page: no blank at either end of a line, one for many, no blank line."""
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in mail.split("\n")]
    head, blank, _ = mail.partition("\n\n")
    return head + blank + "\n".join(line for line in lines[head.count("\n") + 1 :] if line) + "\n"


def led(mail: str) -> str:
    """Leading blanks and tabs gone; what is behind the + and - stays."""
    return lines_of(mail, lambda line: line.lstrip(" \t"))


def collapsed(mail: str) -> str:
    """One blank for many, first letters stay."""
    return lines_of(mail, lambda line: re.sub(r"[ \t]+", " ", line))


def dropped(mail: str) -> str:
    """No blank lines."""
    return lines_of(mail, lambda line: line if line.strip() else None)


def expanded(mail: str) -> str:
    """Tabs as blanks, up to the columns that they show as."""
    return lines_of(mail, lambda line: line[:1] + line[1:].expandtabs(8))


def shifted(mail: str) -> str:
    """The same, but with the first letter counted: what is copied from a terminal."""
    return lines_of(mail, lambda line: line.expandtabs(8))


def four(mail: str) -> str:
    """Each tab as four blanks."""
    return lines_of(mail, lambda line: line.replace("\t", "    "))


def cut(mail: str) -> str:
    """Nothing at the end of lines."""
    return lines_of(mail, lambda line: line.rstrip(" \t"))


def wrapped(width: int) -> Damager:
    """Broken where there is no room for the next word; headers of files as well."""

    def broken(line: str) -> str:
        room = width - (len(line.expandtabs(8)) - len(line))
        if len(line) <= room:
            return line
        lead = line[: len(line) - len(line[1:].lstrip())]
        kept = {"break_long_words": False, "break_on_hyphens": False, "replace_whitespace": False}
        parts = textwrap.wrap(line[len(lead) :], max(room - len(lead), 1), drop_whitespace=True, **kept)  # type: ignore[arg-type]
        return lead + "\n".join(parts)

    return lambda mail: lines_of(mail, broken)


def named(mail: str) -> str:
    """Names of files, and only they, broken off their lines: as with very long ones."""
    return re.sub(r"^(diff --git|---|\+\+\+|diff --git \S+) (?=[ab]/)", r"\1\n", mail, flags=re.MULTILINE)


def flowed(mail: str) -> str:
    """As RFC 3676 wants it: a blank more before what begins with one, lines broken behind a blank."""

    def stuffed(line: str) -> str:
        line = " " + line if line.startswith(" ") else line
        place = line.rfind(" ", 8, 72)
        rest = line[place + 1 :]
        if len(line.expandtabs(8)) <= 78 or place < 0 or rest.startswith(" "):
            return line.rstrip(" ") if not line.strip() else line
        return f"{line[: place + 1]}\n{rest}"

    head, blank, body = mail.partition("\n\n")
    return f"{head}\nContent-Type: text/plain; charset=UTF-8; format=flowed{blank}{lines_of(body, stuffed)}"


def escaped(mail: str) -> str:
    """As HTML."""
    head, blank, body = mail.partition("\n\n")
    return head + blank + html.escape(body, quote=False)


def truncated(mail: str) -> str:
    """The last lines are gone, in the middle of the last hunk."""
    body = mail[: mail.rindex("\n-- \n")].split("\n")
    last = max(number for number, line in enumerate(body) if line.startswith("@@ "))
    return "\n".join(body[: (last + len(body)) // 2 + 1]) + "\n"

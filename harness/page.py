# SPDX-License-Identifier: GPL-2.0-only
"""A thread as a web page of public-inbox shows it, saved as text: what lore.kernel.org has at MESSAGE-ID/t/.

Such a text has no message ids, and mostly lost its white space too: see damage.py and repair.py.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, formataddr

#: What stands over each message, then its place in the thread, who sent it, and what is under it (public-inbox:
#: View.pm). A reply's subject is here too.
HEADING = re.compile(r"^\* (\S.*?)\s*$")
SENDER = re.compile(r"^From: (.+?) @ (\d{4}-\d\d-\d\d) +(\d\d?:\d\d) UTC \(permalink / raw\)\s*$")
END = re.compile(r"^\^ permalink raw reply")
RECIPIENTS = re.compile(r"^\s*\+?(?:To|Cc): ")
REPLY = re.compile(r"^re:", re.IGNORECASE)
#: For an author whose address is nowhere in the text, for git-am(1) wants one (RFC 2606).
NOBODY = "unknown@localhost.invalid"


def mails(data: bytes) -> list[bytes]:
    """The mails on such a page but the replies, as git-am(1) takes them; none if it is no such page."""
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    found = []
    subject, at = "", 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if heading := HEADING.match(line):
            subject = heading[1]
        elif subject and (sender := SENDER.match(line)):
            end = next((number for number in range(at, len(lines)) if END.match(lines[number])), len(lines))
            # The recipients may take several lines: one goes on behind a comma.
            while at < end and (RECIPIENTS.match(lines[at]) or lines[at - 1].rstrip().endswith(",")):
                at += 1
            if not REPLY.match(subject):
                found.append(_mail(subject, sender, "\n".join(lines[at:end]).strip("\n")))
            subject, at = "", end
    return found


def _mail(subject: str, sender: re.Match[str], body: str) -> bytes:
    who, day, time = sender.groups()
    signed = re.search(rf"^[\w-]+-by: {re.escape(who)} <([!-;=?-~]+@[!-;=?-~]+)>", body, re.MULTILINE)
    try:
        date = format_datetime(datetime.strptime(f"{day} {time}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC))
    except ValueError:  # no such day: git-am(1) takes the present one
        date = ""
    name = who.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    fields = (
        ("From", formataddr((name, signed[1] if signed else NOBODY))),
        *((("Date", date),) if date else ()),
        ("Subject", subject),
        ("Content-Type", 'text/plain; charset="utf-8"'),
        ("Content-Transfer-Encoding", "8bit"),
    )
    head = "".join(f"{name}: {value}\n" for name, value in fields)
    return f"{head}\n{body}\n".encode("utf-8", "surrogateescape")

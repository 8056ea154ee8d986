# SPDX-License-Identifier: GPL-2.0-only
"""b4(5) makes of a thread what git-am(1) takes: the patches in their order, decoded, with the trailers of the answers.

For mails that are here it gets nothing of the user's configuration and no network; to fetch some it gets both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

from harness import cache, git, mail, process
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.mail import Mail

#: Before each mail of an mbox that is made for b4, and of the one that comes back.
FROM = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n"
LIKE_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
#: Said to every b4 that has all it needs: signatures would be looked up in the DNS.
SETTINGS = ("b4.attestation-policy=off", "b4.save-maildirs=no")
#: What b4 says when a patch has characters that show other text than there is; then it gives nothing.
HIDDEN = "suspicious unicode control characters"
#: Seconds that an archive may take to answer; b4 itself gives up after 35 s for each host.
PATIENCE = 120.0
#: The ways in which b4 says that an archive answered, and has it not.
NOT_THERE = ("error: 404", "No messages found")


def am(thread: Iterable[Mail], revision: int, where: str, deadline: Deadline) -> tuple[list[Mail], list[str]]:
    """The patches of a revision as git-am(1) takes them, and what their reader should know.

    ``thread``: mails of one series; ``revision``: 0 if they are all of one; ``where``: what they are called in
    messages. Raises RequestError, HostError.
    """
    with cache.scratch("b4") as scratch, cache.writing(scratch):
        box = scratch / "thread.mbox"
        box.write_bytes(b"".join(map(_written, thread)))
        words: list[str | Path] = ["--offline-mode", *_settings(), "am", "-m", box, "-o", "-"]
        words += ["-v", str(revision)] if revision else []
        done = _run(words, scratch, deadline, git.environment())
        notes = []
        if done.returncode and HIDDEN in done.stderr:
            notes = [f"b4: {HIDDEN}: {_hidden(done.stderr)}"]
            words.append("--allow-unicode-control-chars")
            done = _run(words, scratch, deadline, git.environment())
    if done.returncode:
        raise RequestError(f"b4 cannot make a series of {where}", cause=_complaint(done), hint=mail.THREAD)
    # Its own From_ lines are told from others by the field that it writes first.
    mails = [_read(text) for text in re.split(r"^From git@z .*\n(?=Subject: )", done.stdout, flags=re.MULTILINE)[1:]]
    return mails, notes + _notes(done.stderr)


def _settings() -> list[str]:
    return [word for setting in SETTINGS for word in ("-c", setting)]


def _run(words: list[str | Path], scratch: Path, deadline: Deadline, env: Mapping[str, str]) -> CompletedProcess[str]:
    """B4 in an empty directory, with a cache in ours; no repository that we happen to be in is looked at."""
    own = cache.directory("b4")
    env = {**env, "XDG_CACHE_HOME": str(own / "cache"), "XDG_DATA_HOME": str(own / "data")}
    env |= {"GIT_CEILING_DIRECTORIES": str(scratch.parent), "TMPDIR": str(scratch), "PYTHONWARNINGS": "ignore"}
    return process.run([sys.executable, "-m", "b4.command", *words], deadline, cwd=scratch, env=env)


def _written(each: Mail) -> bytes:
    """A mail in the mbox for b4, which splits it at any line that begins with From."""
    named = each.plain if each.sent_id else b"Message-Id: <%s>\n" % each.id.encode() + each.plain
    return FROM + LIKE_FROM.sub(rb">\1", named).rstrip(b"\n") + b"\n\n"


def _read(text: str) -> Mail:
    """A mail that came back, with the lines that were marked for the way."""
    return Mail(mail.QUOTED.sub(rb"\1", text.encode()))


def _notes(said: str) -> list[str]:
    """What of b4's words concerns the reader."""
    added = re.findall(r"^ +\+ (\S.*)$", said, re.MULTILINE)
    ignored = re.findall(r"^ +! Trailer: (.*)\n +Msg From: (.*)$", said, re.MULTILINE)
    notes = [
        f"added from the answers: {text}{f' ({count} times)' if count > 1 else ''}"
        for text, count in {text: added.count(text) for text in added}.items()
    ]
    notes += [f"left out: {text}, for it was sent by {who}" for text, who in dict.fromkeys(ignored)]
    if partial := re.search(r"WARNING: (v\d+ is a partial reroll from previous revisions)", said):
        notes.append(f"{partial[1]}: what was not sent again is as it was before")
    return notes


def _hidden(said: str) -> str:
    return "; ".join(re.findall(r"^ +((?:Subject|Line|Char): .*)$", said, re.MULTILINE))


def _complaint(done: CompletedProcess[str]) -> str:
    """The first cause in what b4 said: the last line, after a traceback and after what it does."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    bad = [line for line in lines if re.match(r"CRITICAL|ERROR|Could not|No |Unable|\w*(?:Error|Exception)\b", line)]
    return next(iter(bad or lines[-1:]), f"exit status {done.returncode}")


def fetched(name: str, deadline: Deadline) -> list[Mail]:
    """The thread with a message id or behind a link to an archive. Raises RequestError if it is not there, HostError.

    Which archive it is asked for is up to the user's own configuration of b4.
    """
    again = process.pasteable(["b4", "mbox", "-n", "thread.mbox", name])
    hint = f"where there is a network: `{again}`; then name thread.mbox here"
    env = {key: value for key, value in os.environ.items() if key not in git.PLACES}
    with cache.scratch("b4") as scratch, cache.writing(scratch):
        box = scratch / "thread.mbox"
        words: list[str | Path] = ["-n", "-c", "b4.save-maildirs=no", "mbox", "-o", scratch, "-n", box.name, name]
        done = _run(words, scratch, deadline.within(PATIENCE), env)
        if box.is_file() and (found := mail.split(box.read_bytes())):
            return found
    cause = _complaint(done)
    if any(words in done.stderr for words in NOT_THERE):
        raise RequestError(f"b4 finds no message {name}", cause=cause, hint="is it spelled right, and is it public?")
    raise HostError(f"b4 cannot fetch {name}", cause=cause, hint=hint)

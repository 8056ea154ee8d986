# SPDX-License-Identifier: GPL-2.0-only
"""Series made by the real git format-patch out of a user's repository, for the tests of what applies them."""

from __future__ import annotations

import email
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from trees import git, put, seen, soon

from harness import apply
from harness.apply import Applied, Wish
from harness.errors import RequestError
from harness.series import Patch, Series


def commit(top: Path, files: Mapping[str, str | None], subject: str = "change") -> str:
    """A commit with these files changed, or, None, removed; its id."""
    for name, text in files.items():
        if text is None:
            (top / name).unlink()
            with suppress(OSError):  # there is more in it
                (top / name).parent.rmdir()
        else:
            put(top, {name: text})
    git(top, "add", "--all")
    git(top, "commit", "-q", "--allow-empty", "-m", subject)
    return git(top, "rev-parse", "HEAD")


def mails(top: Path, revisions: str, *words: str) -> list[bytes]:
    """Each commit of a range as git-format-patch(1) writes it, without the From_ line at its top."""
    out = Path(tempfile.mkdtemp(dir=top.parent))
    git(top, "format-patch", "-q", "--always", "-o", out, *words, revisions)
    found = [path.read_bytes().partition(b"\n")[2] for path in sorted(out.iterdir())]
    shutil.rmtree(out)
    return found


def series(top: Path, revisions: str, *words: str, **facts: Any) -> Series:  # noqa: ANN401
    """The commits of a range as a series."""
    return made(*mails(top, revisions, *words), **facts)


def made(*texts: bytes, **facts: Any) -> Series:  # noqa: ANN401
    """A series of these mails."""
    patches = []
    for n, text in enumerate(texts, start=1):
        subject = str(make_header(decode_header(email.message_from_bytes(text)["subject"])))
        patches.append(Patch(n, len(texts), " ".join(subject.partition("] ")[2].split()), text))
    return Series("a.mbox", "toys", 1, tuple(patches), **facts)


def applied(what: Series, spec: Path | str, *users: Path, said: list[str] | None = None, **wish: Any) -> Applied:  # noqa: ANN401
    """The series on that tree; what is below ``users`` is as it was, whatever comes of it."""
    before = [seen(user) for user in users]
    try:
        return apply.applied(what, str(spec), Wish(**wish), soon(), (said if said is not None else []).append)
    finally:
        for user, files in zip(users, before, strict=True):
            now = seen(user)
            changed = {path for path in now.keys() | files if now.get(path) != files.get(path)}
            assert not changed, changed


def hows(found: Applied) -> list[str]:
    """How each patch went."""
    return [step.how for step in found.steps[1:]]


#: Files of 60 lines, each unlike the others.
LINES = "".join(f"int line_{number};\n" for number in range(60))
OTHERS = LINES.replace("line", "other")


def topic(top: Path) -> str:
    """Three commits on a file each, the second of which also makes one; the id of the commit before them."""
    base = commit(top, {"fs/a.c": LINES, "fs/b.c": OTHERS, "fs/idle.c": "int idle;\n"}, "files")
    text = LINES.replace("line_10;", "changed_10;")
    commit(top, {"fs/a.c": text}, "one")
    commit(top, {"fs/a.c": text.replace("line_40;", "x;"), "fs/c.c": "int c;\n"}, "two")
    commit(top, {"fs/b.c": OTHERS.replace("other_20;", "third;")}, "three")
    return base


def reference(top: Path, base: str, what: Series) -> list[str]:
    """The trees that the user's own git am -3 makes of the series on that commit, in a clone."""
    clone = top.parent / "clone"
    git(top, "clone", "-q", "--shared", top, clone)
    git(clone, "checkout", "-q", git(top, "rev-parse", base))
    found = []
    for patch in what.patches:
        (top.parent / "mail").write_bytes(patch.mail)
        git(clone, "am", "-q", "-3", "--keep-cr", top.parent / "mail")
        found.append(git(clone, "rev-parse", "HEAD^{tree}"))
    shutil.rmtree(clone)
    return found


def refused(what: Series, spec: Path | str, *users: Path, **wish: Any) -> RequestError:  # noqa: ANN401
    """What is said of a series that cannot be applied; the user's files are as they were."""
    with pytest.raises(RequestError) as caught:
        applied(what, spec, *users, **wish)
    return caught.value


def place(error: RequestError) -> Path:
    """The worktree that the error names."""
    return Path(shlex.split(re.findall(r"cd (/\S+)", error.hint)[0])[0])


def conflicting(top: Path) -> Series:
    """The topic, on a tree whose lines are others where its first two patches change them; their blobs are known."""
    what = series(top, f"{topic(top)}..")
    git(top, "reset", "-q", "--hard", "HEAD~3")
    commit(top, {"fs/a.c": LINES.replace("line_10;", "theirs;").replace("line_40;", "theirs_40;")})
    return what


def drifted(top: Path) -> Series:
    """The same for a tree without git: no blob is known."""
    what = conflicting(top)
    shutil.copytree(top, top.parent / "plain", ignore=shutil.ignore_patterns(".git"))
    return what

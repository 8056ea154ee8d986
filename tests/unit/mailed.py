# SPDX-License-Identifier: GPL-2.0-only
"""Patches as real git makes them: those of tests/pool, in the kernel's style, and odd ones. No tests here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from trees import git

from harness.series import Patch

#: A small library in the kernel's style, and patches to it.
POOL = Path(__file__).resolve().parents[1] / "pool"
#: How many of those there are.
COUNT = len(list(POOL.glob("*.patch")))
FILES = {f"lib/{name}": (POOL / name).read_text() for name in ("pool.c", "pool.h", "Makefile")} | {
    "lib/crlf.txt": "".join(f"line {n}\r\n" for n in range(20)),
    "lib/end.txt": "one\ntwo\nthree",
    "lib/run.sh": "#!/bin/sh\nset -e\n\necho run\n",
    "lib/list.rst": "List\n====\n\n- one\n- two\n\n  more of two\n\n+ plus\n+ plus plus\n\n" * 3,
}
Edit = Callable[[str], str]

#: Subject, file and what becomes of it: what a reader may take for damage, or for something else than it is.
ODDITIES: tuple[tuple[str, str, Edit], ...] = (
    (
        "lines that look like headers",
        "lib/list.rst",
        lambda text: text.replace("- one\n- two\n", "- one\n-- \n--- a\n+++ b\n@@ -1 +1 @@\n", 1),
    ),
    ("the headers go again", "lib/list.rst", lambda text: text.replace("-- \n--- a\n+++ b\n", "- two\n", 1)),
    ("another end", "lib/end.txt", lambda text: text + " and a half"),
    ("an end of line at the end", "lib/end.txt", lambda text: text + "\n"),
    ("carriage returns", "lib/crlf.txt", lambda text: text.replace("line 7\r\n", "line seven\r\nand a half\r\n")),
    (
        "blanks at the end of lines",
        "lib/run.sh",
        lambda text: text.replace("echo run\n", "echo run \t\n \n\t\necho ran  \n"),
    ),
    ("blanks gone again", "lib/run.sh", lambda text: text.replace(" \t\n \n\t\n", "\n")),
    ("entities", "lib/page.html", lambda _: "<p>a &lt; b &amp;&amp; c -&gt; d</p>\n"),
    ("only entities", "lib/page.html", lambda text: text + "a &lt; b\n"),
    ("no indentation", "lib/flat.c", lambda _: 'extern "C" {\nint a(void);\nint b(void);\n}\n'),
    ("a form feed and latin-1", "lib/odd.c", lambda _: "int a;\n\f\nint b; /* \udce4\u00a0\u2028 */\n"),
)


def mails(top: Path, *, odd: bool = False) -> list[bytes]:
    """A mail of git format-patch for each patch of tests/pool, in a repository at ``top``; the odd ones as well."""
    put(top, FILES)
    git(top, "init", "-q", "-b", "main")
    commit(top, "the tree")
    git(top, "am", "-q", *sorted(POOL.glob("*.patch")))
    for subject, name, edit in ODDITIES if odd else ():
        put(top, {name: edit(text(top / name))})
        commit(top, subject)
    return formatted(top, "--reverse", "HEAD", "--not", first(top))


def strange(top: Path) -> list[bytes]:
    """More mails of the repository at ``top``: a mode, renames, binary files, links, files that come and go."""
    start = git(top, "rev-parse", "HEAD")
    (top / "lib/end.txt").chmod(0o755)
    commit(top, "a mode")
    git(top, "mv", "lib/list.rst", "lib/listed.rst")
    commit(top, "a name")
    git(top, "mv", "lib/listed.rst", "lib/a name with blanks.rst")
    put(
        top,
        {"lib/a name with blanks.rst": "new\n" + text(top / "lib/a name with blanks.rst"), "lib/Zürich.c": "int a;\n"},
    )
    (top / "lib/end.txt").chmod(0o644)
    (top / "lib/a.bin").write_bytes(bytes(range(256)) * 9)
    commit(top, "a name, a mode and a binary file")
    (top / "lib/a.bin").write_bytes(bytes(range(255)) * 8)
    (top / "lib/b.bin").write_bytes(bytes(99))
    commit(top, "two binary files")
    (top / "lib/a.bin").unlink()
    (top / "lib/link").symlink_to("pool.c")
    put(top, {"lib/empty": "", "lib/nothing": ""})
    commit(top, "a link, and nothing")
    git(top, "rm", "-q", "lib/empty", "lib/run.sh")
    commit(top, "files that go")
    return formatted(top, "--reverse", f"{start}..HEAD")


def first(top: Path) -> str:
    """The commit without a parent."""
    return git(top, "rev-list", "--max-parents=0", "HEAD")


def formatted(top: Path, *revisions: str) -> list[bytes]:
    """A mail for each commit."""
    commits = git(top, "rev-list", *revisions).split()
    found = []
    for commit_id in commits:
        mail = git(top, "format-patch", "-1", "--stdout", "--binary", commit_id)
        found.append((mail.partition("\n")[2] + "\n\n").encode("utf-8", "surrogateescape"))
    return found


def put(top: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` as they are."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape"))


def text(path: Path) -> str:
    """What is in it; nothing if it is not there."""
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def commit(top: Path, subject: str) -> None:
    git(top, "add", "--all")
    git(top, "commit", "-q", "-m", f"{subject}\n\nWhy: it is so.\n\nSigned-off-by: Some One <some@one.example>")


def patch(mail: bytes, n: int = 1, of: int = 1) -> Patch:
    """What a reader makes of a mail."""
    subject = next(line for line in mail.decode(errors="replace").split("\n") if line.startswith("Subject: "))
    return Patch(n, of, subject.partition("] ")[2], mail, f"{n}.{of}@pool.example")

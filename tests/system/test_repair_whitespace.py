# SPDX-License-Identifier: GPL-2.0-only
"""``series apply`` on mails that lost white space: refused before anything is done, or mended by the tree, and told."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from program import Done, Program

CHECKED = "\tif (!knullfs) {\n\t\tknullfs = &nullfs_fs_type;\n\t\treturn -1;\n\t}\n\n"
MORE = "\nint nullfs_was_mounted(void)\n{\n\treturn knullfs ? mount_nullfs() : 0;\n}\n"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A checkout of the toy tree."""
    return toy.checkout(tmp_path / "tree")


def edited(tree: Path, old: str, new: str) -> None:
    file = tree / toy.FILE
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.fixture
def box(user: Path, tmp_path: Path) -> Path:
    """Two patches in an mbox; the checkout has no trace of them."""
    toy.git(user, "checkout", "--quiet", "-b", "topic")
    edited(user, "\tknullfs = 0;\n", f"{CHECKED}\tknullfs = 0;\n")
    toy.git(user, "commit", "--quiet", "--all", "--message=fs: look before you mount")
    with (user / toy.FILE).open("a") as file:
        file.write(MORE)
    toy.git(user, "commit", "--quiet", "--all", "--message=fs: say whether it is mounted")
    thread = toy.git(user, "format-patch", "--stdout", "--thread", "main")
    toy.git(user, "checkout", "--quiet", "main")
    toy.git(user, "branch", "--quiet", "-D", "topic")
    path = tmp_path / "intact.mbx"
    path.write_text(
        thread.replace("From: toy <toy>", "From: A Toy <toy@toy.example>").replace(".git.toy>", "@toy.example>")
    )
    return path


def changed(box: Path, name: str, change: Callable[[str], str | None]) -> Path:
    """The same box, with its diffs changed line by line."""
    inside, out = False, []
    for line in box.read_text().split("\n"):
        inside = line.startswith("diff --git") or (inside and not line.startswith("-- "))
        out.append(change(line) if inside else line)
    path = box.with_name(name)
    path.write_text("\n".join(line for line in out if line is not None))
    return path


def lost(line: str) -> str | None:
    """As web pages have it."""
    return re.sub(r"\s+", " ", line).strip() or None


def blanks(line: str) -> str:
    """As terminals have it."""
    return line.expandtabs(8)


def page(box: Path) -> Path:
    """A thread's web page as text, with a reply that quotes all of it."""
    text = ""
    for mail in re.split(r"^From [0-9a-f]{40} .*\n", box.read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = mail.partition("\n\n")
        subject = re.findall(r"^Subject: (.*)$", head, re.MULTILINE)[0]
        for prefix, quote in (("", ""), ("Re: ", "> ")):
            text += f"* {prefix}{subject}\n0 siblings, 1 reply; 4+ messages in thread\n"
            text += "From: A Toy @ 2026-01-02 3:04 UTC (permalink / raw)\nTo: linux-toy\n"
            text += "".join(f"{quote}{lost(line)}\n" for line in body.split("\n") if lost(line))
            text += "^ permalink raw reply [flat|nested] 4+ messages in thread\n"
    path = box.with_name("page.txt")
    path.write_text(text)
    return path


def applied(program: Program, series: Path, tree: Path | str, *more: str) -> Done:
    """``series apply`` to its end; the user's files are as they were."""
    mine = Path(str(tree).partition("@")[0])
    before = toy.prints(mine)
    with program.applying(series, tree, *more) as running:
        done = running.end()
    assert toy.prints(mine) == before
    assert program.left() == []
    assert "Traceback" not in done.text
    return done


def made(done: Done) -> str:
    """The tree object that came of it."""
    assert done.status == 0, done
    [oid] = re.findall(r"^all 2 patches are applied, in the cache: tree (\w+) of ", done.out, re.MULTILINE)
    return str(oid)


def test_refused_before_anything_is_applied(builder: Program, user: Path, box: Path) -> None:
    done = applied(builder, changed(box, "lost.mbx", lost), user)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: 2 patches are damaged: 1/2, 2/2\n")
    assert (
        "cause: 1/2 fs: look before you mount: context lines have lost the blank before them: fs/namespace.c, hunk"
        in done.text
    )
    assert "next: --repair-whitespace mends it" in done.text
    assert re.search(r"b4 am \S+@toy\.example$", done.err.strip())
    assert not list(builder.cache.glob("trees/*/series/*"))


@pytest.mark.parametrize("kind", ["mails", "page"])
def test_mended_as_it_was_sent(builder: Program, user: Path, box: Path, kind: str) -> None:
    """The same tree to the bit, and what was guessed, if only for lack of proof."""
    intact = made(applied(builder, box, user))
    damaged = page(box) if kind == "page" else changed(box, "lost.mbx", lost)
    for _ in range(2):
        done = applied(builder, damaged, user, "--repair-whitespace")
        assert made(done) == intact
        assert done.out.count("\n  mended: context lines have lost the blank before them\n") == 2
        assert done.out.count("\n  fs/namespace.c: byte by byte as it was sent, by its index line\n") == 2
        assert "guessed" not in done.out
        assert "--repair-whitespace" in done.out.splitlines()[-1]


def test_what_is_not_proved_is_called_guessed(builder: Program, user: Path, box: Path) -> None:
    intact = made(applied(builder, box, user))
    damaged = changed(box, "lost.mbx", lambda line: None if line.startswith("index ") else lost(line))
    done = applied(builder, damaged, user, "--repair-whitespace")
    assert made(done) == intact
    assert "\n  guessed: fs/namespace.c:10-13: white space guessed\n" in done.out


def test_tabs_are_put_back(builder: Program, user: Path, box: Path) -> None:
    """The mail looks well, so only the tree tells."""
    intact = made(applied(builder, box, user))
    damaged = changed(box, "blanks.mbx", blanks)
    done = applied(builder, damaged, user)
    assert done.status == 2
    assert "error: patch 1/2 is spaced otherwise than the tree" in done.text
    assert "cause: 1/2 fs: look before you mount: tabs have become blanks: fs/namespace.c, hunk 1, line" in done.text
    assert made(applied(builder, damaged, user, "--repair-whitespace")) == intact


def test_what_cannot_be_mended_is_left_to_hands(builder: Program, user: Path, box: Path) -> None:
    """One of two hunks is for another text. The commands that are printed are typed as they stand."""
    both = box.with_name("both.mbx")
    toy.git(user, "checkout", "--quiet", "-b", "topic")
    edited(user, "\tknullfs = 0;\n", f"{CHECKED}\tknullfs = 0;\n")
    toy.change(user, "int more;", "init/main.c")
    toy.git(user, "commit", "--quiet", "--all", "--message=fs: both")
    both.write_text(toy.git(user, "format-patch", "--stdout", "main"))
    toy.git(user, "checkout", "--quiet", "main")
    toy.git(user, "branch", "--quiet", "-D", "topic")
    edited(user, "int *was = knullfs;", "int *is = knullfs;")
    edited(user, "return *was;", "return *is;")
    toy.git(user, "commit", "--quiet", "--all", "--message=fs: theirs")
    damaged = changed(both, "lost.mbx", lost)
    done = applied(builder, damaged, f"{user}@HEAD", "--repair-whitespace")
    assert done.status == 2, done
    assert "1/1 fs: both: mended in part\n" in done.out
    assert "error: patch 1/1 fs: both cannot be mended" in done.err
    assert "fs/namespace.c, hunk 1 (line" in done.err
    assert "is for another text; nearest is line" in done.text
    assert applied(builder, damaged, f"{user}@HEAD", "--repair-whitespace").err == done.err  # begun, and not begun anew
    lines = [line.removeprefix("  next:").strip().partition("  #")[0] for line in done.err.splitlines()[-4:]]
    top = Path(lines[0].removeprefix("cd "))
    assert "+ if (!knullfs) {" in (top / f"{toy.FILE}.rej").read_text()
    file = top / toy.FILE
    file.write_text(file.read_text().replace("\tknullfs = 0;\n", f"{CHECKED}\tknullfs = 0;\n"))
    again = lines[3].replace("python3", shlex.quote(sys.executable)) + " --no-install"
    given = [lines[0], f"{lines[1]} >{box.parent}/shown", f"git add {toy.FILE}", again]
    env = os.environ | {"NULLFS_HARNESS_CACHE": str(builder.cache), "PYTHONPATH": str(toy.TREE.parents[1])}
    typed = ["sh", "-ec", "\n".join(given)]
    rest = subprocess.run(
        typed, cwd=builder.directory, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert rest.returncode == 0, rest
    assert "1/1 fs: both: by hand\nthe one patch is applied" in rest.stdout
    assert "+int more;" in (box.parent / "shown").read_text()
    oid, where = re.findall(r"tree (\w+) of (\S+)$", rest.stdout, re.MULTILINE)[0]
    assert CHECKED in toy.git(Path(where), "show", f"{oid}:{toy.FILE}")
    assert "int more;" in toy.git(Path(where), "show", f"{oid}:init/main.c")

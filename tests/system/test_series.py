# SPDX-License-Identifier: GPL-2.0-only
"""`series show` and `series verify`: what they say, and what they say of input that is of no use."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from archive import serving
from mails import BOB, NOON, Letter, formatted, mbox, patches, repository, sending
from program import Done, Program
from trees import git, seen

from harness import manifest

#: Runs the program with no more address space than this.
MODEST = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); sys.argv[0] = 'harness'"
)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("user") / "repository")[0]


def series(program: Program, *words: str | Path, **variables: str) -> Done:
    return program.end(["-m", "harness", "series", words[0], "--no-install", *words[1:]], variables)


def show(program: Program, spec: str | Path, **variables: str) -> Done:
    return series(program, "show", spec, **variables)


def refused(done: Done, *words: str, status: int = 2) -> None:
    """It ended with that status; these words are in its message, and how to go on."""
    assert done.status == status, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "\n  next:  " in done.err, done
    for each in words:
        assert each in done.text, done


def test_what_is_shown(builder: Program, top: Path, tmp_path: Path) -> None:
    cover, *letters = sending(top, "base..topic", revision=2, codings=("base64",))
    box = tmp_path / "box"
    box.write_bytes(mbox([cover, *letters, letters[0].answer(f"Reviewed-by: {BOB}\n")]))
    done = show(builder, box)
    assert done.status == 0, done
    head, *rest = done.out.split("\n\n")
    assert head.splitlines() == [
        "toy: all kinds of changes",
        "  revision:    2",
        "  patches:     7",
        "  files:       9",
        "  lines:       +7 -45, binary files: 2",
        "  author:      Ann Author <ann@example.org>",
        "  date:        2026-09-21 14:13:20 UTC",
        "  message id:  toy-v2-0@example.org",
        "  change-id:   20261101-toy-series-0123456789ab",
        f"  base-commit: {git(top, 'rev-parse', 'base')}",
        "  manifest:    none",
        f"  note:        added from the answers: Reviewed-by: {BOB}",
        "  note:        this series runs code on the host at build time: 4/7 plain.c, 4/7 tools.sh",
    ]
    assert len(rest) == 7
    # git's own word for what it would have made of the commit itself.
    (tmp_path / "patch").write_bytes(formatted(top, "topic~4..topic~3"))
    patch_id = git(top, "-c", "alias.x=!git patch-id --stable <" + str(tmp_path / "patch"), "x").partition(" ")[0]
    assert rest[3].splitlines() == [
        "4/7 tools: a new name and a new mode",
        "  files:       plain.c, tool.sh, tools.sh",
        "  lines:       +1 -2",
        f"  patch-id:    {patch_id}",
    ]


def test_a_series_is_compared_with_its_manifest(builder: Program, tmp_path: Path) -> None:
    known = manifest.read("kthread-nullfs-7.3")
    top = tmp_path / "top"
    top.mkdir()
    git(top, "init", "-q")
    git(top, "commit", "-q", "--allow-empty", "-m", "base")
    for fact in known.patches:
        (top / str(fact.n)).write_text("x\n")
        git(top, "add", ".")
        git(top, "commit", "-q", "-m", fact.subject)
    whole = series(builder, "verify", f"{top}@HEAD~25..")
    assert whole.status == 0, whole
    assert whole.out == (
        "HEAD~25.. against kthread-nullfs-7.3: whole (all 25 patches are there, in their order), intact (by subjects)\n"
    )
    git(top, "format-patch", "--quiet", "--no-numbered", "-o", tmp_path / "dir", "HEAD~25..")
    sorted((tmp_path / "dir").iterdir())[2].rename(tmp_path / "dir/0030.patch")
    next((tmp_path / "dir").glob("0005*")).unlink()
    done = series(builder, "verify", tmp_path / "dir")
    assert done.status == 1, done
    assert done.out.splitlines() == [
        "missing: 5/25 fs: make userspace_init_fs a dynamically-initialized pointer",
        "out of order: 3/25 fs: add scoped_with_init_fs() is 24",
        f"{known.patches[0].subject} against {known.name}: not whole (1 missing, 1 out of order), intact (by subjects)",
    ]
    done = series(builder, "verify", tmp_path / "dir", "--against", "kthread-nullfs-v2")
    assert done.status == 1, done
    assert "altered: 1/23 fs: notice when init abandons fs sharing" in done.out
    refused(series(builder, "verify", f"{top}@HEAD~1.."), "no manifest is of", "--against NAME", "kthread-nullfs-v2")
    refused(series(builder, "verify", f"{top}@HEAD~1..", "--against", "nothing"), "no series 'nothing'")


def talk(number: int = 1, size: int = 100) -> Letter:
    text = b"Let us talk about it, for some time, and then again.\n" * (size // 50)
    return Letter(f"talk{number}@example.com", "Re: a question" if number % 2 else "a question", text, BOB)


def test_mailboxes_of_no_use(builder: Program, top: Path, tmp_path: Path) -> None:
    cover, *letters = sending(top, "base..topic")
    other = sending(top, "topic~1..topic", tag="other", change="20261102-other-0123456789ab", title="other: a series")
    box = tmp_path / "box"

    def tried(data: bytes, which: str = "") -> Done:
        box.write_bytes(data)
        return show(builder, f"{box}{which}")

    refused(tried(b""), f"{box} is empty", "b4 mbox MESSAGE-ID")
    refused(tried(b"\n\n"), f"{box} is empty")
    refused(tried(mbox([talk(1), talk(2)])), f"no patch is in {box}", "2 mails: 'a question'", "b4 mbox MESSAGE-ID")
    refused(tried(cover.raw.replace(b"Message-ID", b"X-ID")), f"no patch is in {box}", "'[PATCH 0/7] toy: all kinds")
    refused(tried(mbox([cover])), f"no patch is in {box}", "[PATCH 0/7]")
    refused(tried(b"int main;\n"), f"{box} is no mailbox, no mail and no patch", "'int main;")
    refused(tried(bytes(range(256))), f"{box} is no mailbox")
    refused(tried(mbox([cover, *letters[:2], *letters[3:]])), f"the series in {box} is not complete: patch 3/7 missing")
    refused(tried(mbox(letters[4:])), "patches 1/7, 2/7, 3/7, 4/7 missing")
    second = sending(top, "base..topic", revision=2, at=1)
    done = tried(mbox([cover, *letters, *second[:-1]]))
    refused(done, "patch 7/7 missing", "there is v1, <toy-v1-0@example.org> as well")
    both = mbox([cover, *letters, *other])
    refused(tried(both, "@v3"), "has no revision v3", "it has v1")
    refused(tried(both, "@nobody@example.org"), f"no mail <nobody@example.org> is in {box}")
    refused(tried(both, "@sometime"), "'sometime' names nothing in", "v2, or a message id")
    done = tried(both)
    refused(done, f"2 series are in {box}", "is v1 of 'other: a series', 1 patch, by Ann Author <ann@example.org>")
    # What it says to type is right.
    words = [line.partition(" is ")[0].rpartition(" ")[2] for line in done.err.splitlines() if " is v1 of " in line]
    titles = {show(builder, word).out.partition("\n")[0] for word in words}
    assert titles == {"toy: all kinds of changes", "other: a series"}


def test_fifty_megabytes_of_mail(builder: Program, top: Path, tmp_path: Path) -> None:
    [(_, body)] = patches(top, "topic~7..topic~6")
    others = []
    for number in range(0, 5000, 5):
        start = Letter(f"{number}@x", f"[PATCH v{number % 3 + 1} 1/1] other {number}", body, sent=NOON + number)
        others.append(start)
        others += [replace(start.answer("text of it\n" * 1100), id=f"{number + n}@x") for n in range(1, 5)]
    box = tmp_path / "box"
    box.write_bytes(mbox([*others, *sending(top, "base..topic")]))
    assert box.stat().st_size > 40 << 20

    def modestly(spec: str) -> Done:
        words = f"{MODEST}; runpy.run_module('harness', run_name='__main__')"
        return builder.end(["-c", words, "series", "show", "--no-install", spec], {})

    done = modestly(f"{box}@toy-v1-5@example.org")
    assert done.status == 0, done
    assert done.out.startswith("toy: all kinds of changes\n")
    refused(modestly(str(box)), f"1001 series are in {box}", "and 989 more")
    # One mail of that size, as a patch and as an answer; b4 would take hours.
    huge = b"+line of a file, which has many\n" * (50 << 15)
    box.write_bytes(mbox([Letter("1@x", "[PATCH] huge", body + huge)]))
    refused(modestly(str(box)), f"a patch in {box} is too big for b4", "50 MB", "PATH@BASE..TOPIC")
    small = Letter("1@x", "[PATCH] small", body)
    box.write_bytes(mbox([small, small.answer("a: b\n" * (10 << 20))]))
    assert "answers that are too long to look for trailers in: 1" in modestly(str(box)).out


def test_files_of_no_use(builder: Program, top: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(show(builder, empty), f"no patches are in {empty}", f"{empty}@BASE..TOPIC")
    refused(show(builder, tmp_path / "absent"), "no such patch series", "kthread-nullfs-v2")
    os.mkfifo(tmp_path / "fifo")
    refused(show(builder, tmp_path / "fifo"), f"{tmp_path / 'fifo'} is no file")
    git(top, "format-patch", "--quiet", "-o", tmp_path / "dir", "base..topic")
    next((tmp_path / "dir").glob("0002*")).unlink()
    refused(show(builder, tmp_path / "dir"), "not complete: patch 2/7 missing")
    (tmp_path / "dir/0002.patch").write_bytes(formatted(top, "base..topic~3"))
    refused(show(builder, tmp_path / "dir"), "0002.patch has 4 mails in it")
    quilt = tmp_path / "quilt"
    shutil.copytree(tmp_path / "dir", quilt)
    name = next(quilt.glob("0001*")).name
    (tmp_path / "outside.patch").write_text("x")
    for line, words in (
        ("absent.patch", ("the patch absent.patch is missing", "line 2 of")),
        (f"{name} -p0", (f"{name} is to be applied with -p0", "quilt refresh -p1")),
        (f"{name} -R", ("applied with -R",)),
        ("../outside.patch", ("../outside.patch lies outside of",)),
    ):
        (quilt / "series").write_text(f"# quilt\n{line}\n")
        refused(show(builder, quilt), *words)


def test_names_of_no_use(builder: Program, tmp_path: Path) -> None:
    refused(show(builder, "~nobody-has-that-name/x.mbx"), "no such patch series: ~nobody-has-that-name/x.mbx")
    refused(show(builder, "x" * 5000), "no file can have the name xxx", "File name too long")
    for name in (b"1.patch", b"\xff.diff"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"--- a/\xff\n+++ b/\xff\n@@ -1 +1 @@\n-a\n+b\n")
        done = show(builder, tmp_path / os.fsdecode(name), PYTHONIOENCODING="utf-8:strict")
        assert done.status == 0, done
        assert "\n  files:       \\udcff\n" in done.out


def test_ranges_of_no_use(builder: Program, top: Path, tmp_path: Path) -> None:
    before = seen(top)
    refused(show(builder, f"{top}@base..nowhere"), f"{top} has no revision 'nowhere'")
    refused(show(builder, f"{top}@base..base"), "no commits are in base..base")
    refused(show(builder, f"{tmp_path}@base..topic"), "is in no git repository")
    refused(show(builder, "base..topic"), "is in no git repository")
    assert seen(top) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(builder: Program, top: Path, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(mbox(sending(top, "base..topic")))
    box.chmod(0)
    (tmp_path / "dir").mkdir(mode=0)
    for name in ("box", "dir", "dir/box"):
        refused(show(builder, tmp_path / name), f"error: {tmp_path / name} cannot be read", "Permission denied")


def test_an_archive_of_no_use(builder: Program, tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    with serving(tmp_path) as archive:
        refused(show(builder, "<nobody@example.org>", **variables), "b4 finds no message nobody@example.org", "404")
        assert archive.asked
    refused(show(builder, "https://example.org/"), "there is no message id in")
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        (tmp_path / ".gitconfig").write_text(f"[b4]\n\tmidmask = http://127.0.0.1:{taken.getsockname()[1]}/%s\n")
        done = show(builder, "kthread-nullfs-v3", **variables)
    refused(done, "b4 cannot fetch 20260311-", "Connection refused", "b4 mbox -n thread.mbox 20260311-", status=3)
    assert show(builder, "kthread-nullfs-7.3").status == 2

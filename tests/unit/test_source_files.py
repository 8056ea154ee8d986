# SPDX-License-Identifier: GPL-2.0-only
"""A series that was never sent, as files or as commits: real git-am makes of it exactly the commits it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from mails import ANN, applied, commits, put, read, repository, same, trees
from trees import git, own_cache, seen

from harness.errors import RequestError

pytestmark = pytest.mark.usefixtures("own_cache")
__all__ = ["own_cache"]


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("user") / "repository")[0]


def test_files_of_patches(top: Path, tmp_path: Path) -> None:
    git(
        top,
        "format-patch",
        "--quiet",
        "--binary",
        "--cover-letter",
        "--base=base",
        "-o",
        tmp_path / "dir",
        "base..topic",
    )
    git(top, "format-patch", "--quiet", "--binary", "-v2", "-o", tmp_path / "dir", "base..topic~1")
    (tmp_path / "dir/notes.txt").write_text("mine")
    new = read(tmp_path / "dir")
    assert (new.revision, new.title) == (2, "plain: write out a number")
    assert new.notes == (f"{tmp_path / 'dir'} has v1, v2; this is v2",)
    same(new, top, tmp_path / "new", "base..topic~1")
    old = read(tmp_path / "dir", "v1")
    assert (old.title, old.base_commit) == ("*** SUBJECT HERE ***", git(top, "rev-parse", "base"))
    same(old, top, tmp_path / "old")


QUILT = """# the first line is a comment

{0}
{1} -p1
  {2}	# said of it: -p0
{3} -p 1 # more
{4}
{5}
sub/last.diff
"""


def test_a_quilt_series(top: Path, tmp_path: Path) -> None:
    git(top, "format-patch", "--quiet", "--binary", "-N", "-o", tmp_path, "base..topic")
    files = sorted(tmp_path.glob("*.patch"))
    for number, head in enumerate(
        (b"What it is about.\nAnd more.\n", b"", b"Description: many towns\n more\nAuthor: %s\n")
    ):
        file = files[(0, 3, 5)[number]]
        data = file.read_bytes()
        file.write_bytes((head % ANN.encode() if b"%" in head else head) + data[data.index(b"diff --git") :])
    last = put(tmp_path / "sub/last.diff", files.pop().read_bytes())
    names = [file.rename(file.with_name(f"z{9 - number}.patch")).name for number, file in enumerate(files)]
    put(tmp_path / "series", QUILT.format(*names).encode())
    series = read(tmp_path)
    lines = applied(top, "base", series, tmp_path / "am")
    assert trees(lines) == trees(commits(top, "base..topic"))
    assert [line.partition("\n")[2].strip() for line in (lines[0], lines[3], lines[5])] == [
        *("What it is about.\n\nAnd more.", "z6", "many towns\n\nmore")
    ]
    assert [line.partition("\n")[0].partition(" ")[2] for line in (lines[0], lines[5])] == [
        *("nobody <nobody@localhost>", ANN)
    ]
    assert read(tmp_path / "series").key == series.key
    assert last.is_file()


SETTINGS = {
    "diff.noprefix": "true",
    "diff.suppressBlankEmpty": "true",
    "diff.renames": "false",
    "diff.context": "0",
    "diff.external": "/bin/false",
    "format.attach": "true",
    "format.coverLetter": "true",
    "format.outputDirectory": "elsewhere",
    "format.signOff": "true",
    "format.subjectPrefix": "HELLO",
    "core.abbrev": "4",
    "core.quotePath": "false",
}


def test_a_range(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "a@v2..x"
    git(top, "clone", "-q", top, clone)
    for name, value in SETTINGS.items():
        git(clone, "config", name, value)
    put(clone / ".git/info/attributes", b"*.c -diff\n")
    before = seen(clone)
    series = read(clone, "origin/topic~7..topic")
    assert seen(clone) == before
    same(series, top, tmp_path / "am")
    assert (series.title, series.base_commit) == ("origin/topic~7..topic", git(top, "rev-parse", "base"))
    assert "index 0000000000000000000000000000000000000000.." in series.patches[6].text
    (clone / "deep").mkdir()
    monkeypatch.chdir(clone / "deep")
    for spec in ("base..", "base..HEAD", "base..topic@{0}"):
        assert read(spec).key == series.key
    assert read("HEAD~1..").title == "plain: gone"
    git(top, "clone", "-q", "--bare", top, tmp_path / "bare.git")
    assert read(tmp_path / "bare.git", "base..topic").key == series.key
    git(top, "clone", "-q", "--depth=5", f"file://{top}", tmp_path / "shallow")
    assert [patch.subject for patch in read(tmp_path / "shallow", "HEAD~2..").patches] == [
        "latin: one more town",
        "plain: gone",
    ]


def test_a_range_that_is_no_line(tmp_path: Path) -> None:
    top, _ = repository(tmp_path / "top")
    git(top, "commit", "-q", "--allow-empty", "-m", "nothing")
    git(top, "checkout", "-q", "-b", "side", "topic~6")
    put(top / "side", b"")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "aside")
    # What the base has besides is no part of it.
    series = read(top, "side..topic")
    assert (len(series.patches), series.base_commit) == (5, git(top, "rev-parse", "topic~6"))
    assert series.notes == ("commits that change nothing, and are left out: 1",)
    git(top, "merge", "-q", "-m", "both", "topic")
    with pytest.raises(RequestError, match=r"no line of patches(?s:.*)both is a merge"):
        read(top, "base..side")
    for range_, words in (
        ("base..base", "no commits are in"),
        ("topic~1..topic", "change nothing"),
        ("base...topic", "three dots"),
        ("base..nowhere", "has no revision 'nowhere'"),
        ("--all..topic", "has no revision '--all'"),
    ):
        with pytest.raises(RequestError, match=words):
            read(top, range_)

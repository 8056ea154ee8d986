# SPDX-License-Identifier: GPL-2.0-only
"""A patch that does not apply: what is told of it, and of what is there already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from topics import (
    LINES,
    OTHERS,
    applied,
    commit,
    conflicting,
    drifted,
    hows,
    made,
    mails,
    place,
    refused,
    series,
    topic,
)
from trees import git, own_cache, put, user

from harness.series import Series

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


def test_what_is_told_of_a_conflict(user: Path) -> None:
    error = refused(conflicting(user), f"{user}@HEAD", user)
    assert error.what.startswith(f"1/3 one does not apply to {user}@HEAD (")
    assert error.cause.split("\n") == [
        "fs/a.c: 1 of 1 hunks do not fit",
        "           @@ -8,7 +8,7 @@ int line_6;: nearest is line 8, where 6 of its 7 lines are the same",
        "         3-way merge: CONFLICT (content): Merge conflict in fs/a.c",
    ]
    top = place(error)
    assert "<<<<<<< HEAD\nint theirs;\n" in (top / "fs/a.c").read_text()
    assert "int changed_10;" in git(top, "am", "--show-current-patch=diff")
    assert error.hint.endswith(f"series apply a.mbox {user}@HEAD --continue      # or --abort")
    assert {path.name for path in (top / "fs").iterdir()} == {"a.c", "b.c"}
    assert str(refused(conflicting_again(user), f"{user}@HEAD", user)) == str(error)


def conflicting_again(top: Path) -> Series:
    return series(top, "HEAD~1..ORIG_HEAD")


def test_what_is_told_without_a_blob(user: Path, tmp_path: Path) -> None:
    error = refused(drifted(user), tmp_path / "plain", tmp_path / "plain")
    blob = git(user, "rev-parse", "--short", "HEAD~1:fs/a.c")
    told = f"no 3-way merge: the blob {blob} that fs/a.c was made from is not in this repository"
    assert told in error.cause
    top = place(error)
    before = (top / "fs/a.c").read_text()
    git(top, "apply", "--check", "--reverse", "--index", "/dev/null", "--allow-empty")
    assert (before, git(top, "status", "--short")) == ((tmp_path / "plain/fs/a.c").read_text(), "")


def test_what_of_a_patch_is_there_already(user: Path, tmp_path: Path) -> None:
    base = commit(user, {"fs/a.c": LINES, "fs/b.c": OTHERS})
    text = LINES.replace("line_10;", "ten;")
    commit(user, {"fs/a.c": text.replace("line_40;", "forty;"), "fs/b.c": OTHERS.replace("other_20;", "x;")})
    what = series(user, f"{base}..")
    put(tmp_path / "plain", {name: (user / name).read_text() for name in git(user, "ls-files").splitlines()})
    put(tmp_path / "plain", {"fs/a.c": "int first;\n" + text.replace("line_39;", "39;"), "fs/b.c": OTHERS})
    error = refused(what, tmp_path / "plain")
    assert error.cause.split("\n")[:3] == [
        "fs/a.c: 2 of 2 hunks do not fit",
        "           @@ -8,7 +8,7 @@ int line_6;: is there already, at line 9",
        "           @@ -38,7 +38,7 @@ int line_36;: nearest is line 39, where 6 of its 7 lines are the same",
    ]


def test_files_that_are_gone_or_there(user: Path, tmp_path: Path) -> None:
    base = commit(user, {"fs/a.c": LINES})
    commit(user, {"fs/a.c": LINES.replace("line_10;", "ten;"), "fs/new.c": "int new;\n"})
    what = series(user, f"{base}..")
    git(user, "reset", "-q", "--hard", base)
    commit(user, {"fs/a.c": None, "net/a.c": LINES + "int more;\n", "fs/new.c": "int another;\n"})
    shutil.copytree(user, tmp_path / "plain", ignore=shutil.ignore_patterns(".git"))
    error = refused(what, tmp_path / "plain")
    assert "fs/a.c is gone: perhaps renamed to net/a.c (100% of the lines are there)" in error.cause
    assert "fs/new.c: it is made by the patch, and is there already" in error.cause
    gone = series(user, "HEAD~1..HEAD")
    git(user, "reset", "-q", "--hard", "HEAD~1")
    git(user, "rm", "-q", "fs/a.c")
    git(user, "commit", "-qm", "gone")
    assert "fs/a.c is gone" in refused(gone, f"{user}@HEAD").cause


def whole(top: Path) -> Series:
    return series(top, f"{topic(top)}..")


def test_all_of_it_is_there_already(user: Path) -> None:
    what = whole(user)
    commit(user, {"fs/a.c": "int before;\n" * 20 + (user / "fs/a.c").read_text()})
    error = refused(what, f"{user}@HEAD", user)
    assert "all of it is already applied in" in error.what
    assert "--skip-applied" in error.hint
    for _ in range(2):
        found = applied(what, f"{user}@HEAD", user, skip=True)
        assert hows(found) == ["already applied"] * 3
        assert {step.tree.oid for step in found.steps} == {git(user, "rev-parse", "HEAD^{tree}")}
    assert "all of it is already applied in" in refused(what, f"{user}@HEAD", user).what


def test_some_of_it_is_there_already(user: Path) -> None:
    what = whole(user)
    error = refused(what, f"{user}@HEAD~1", user)
    assert "1/3 one, and what follows as far as 2/3 two, is already applied in" in error.what
    found = applied(what, f"{user}@HEAD~1", user, skip=True)
    assert hows(found) == ["already applied", "already applied", "as it stands"]
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")


def test_one_in_the_middle_is_there_already(user: Path) -> None:
    what = whole(user)
    git(user, "checkout", "-q", "-b", "other", "HEAD~3")
    commit(user, {"fs/a.c": LINES.replace("line_40;", "x;"), "fs/c.c": "int c;\n"})
    assert "2/3 two is already applied in" in refused(what, f"{user}@HEAD", user).what
    found = applied(what, f"{user}@HEAD", user, skip=True)
    assert hows(found) == ["as it stands", "already applied", "as it stands"]
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "master^{tree}")


def test_what_a_merge_finds_there_already(user: Path) -> None:
    """Git cannot take it off again, for what is beside it has changed; and has nothing to merge."""
    base = commit(user, {"fs/a.c": LINES})
    tip = commit(user, {"fs/a.c": LINES.replace("line_10;", "ten;")})
    what = series(user, f"{base}..{tip}")
    commit(user, {"fs/a.c": LINES.replace("line_10;", "ten;").replace("line_12;", "twelve;")})
    assert "is already applied in" in refused(what, f"{user}@HEAD", user).what
    assert hows(applied(what, f"{user}@HEAD", user, skip=True)) == ["already applied"]


def test_a_patch_that_git_cannot_read(user: Path) -> None:
    """What is damaged is refused before anything is done; this nobody reckons with."""
    base = topic(user)
    (user / "logo").write_bytes(bytes(range(250)))
    commit(user, {}, "logo")
    texts = mails(user, f"{base}..")
    texts[3] = texts[3].replace(b"\nz", b"\n~")
    error = refused(made(*texts), f"{user}@{base}", user)
    assert error.what == "4/4 logo cannot be read as a patch"
    assert "corrupt binary patch" in error.cause
    texts = mails(user, f"{base}..")
    texts[2] = texts[2][: texts[2].index(b" int other_21;")]
    error = refused(made(*texts), f"{user}@{base}", user)
    assert error.what == "patch 3/4 is damaged"

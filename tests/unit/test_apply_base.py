# SPDX-License-Identifier: GPL-2.0-only
"""harness/base.py: which tree a series is for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from topics import LINES, OTHERS, applied, commit, made, mails, series, topic
from trees import checkout, git, own_cache, put, soon, user, write

from harness import base
from harness.base import Base
from harness.errors import RequestError
from harness.series import Series

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


def find(what: Series, spec: Path | str, revision: str = "") -> Base:
    return base.find(what, str(spec), revision, soon())


def oid(top: Path, revision: str) -> str:
    return git(top, "rev-parse", f"{revision}^{{tree}}")


def later(top: Path, count: int = 3) -> str:
    """More commits on what the series touches; the last one's id."""
    for number in range(count):
        found = commit(top, {"fs/a.c": f"int later_{number};\n"}, f"later {number}")
    return found


def test_the_base_commit_of_the_cover_letter(user: Path) -> None:
    start = topic(user)
    later(user)
    found = find(series(user, f"{start}..HEAD~3", base_commit=start), user)
    assert found.tree.oid == oid(user, start)
    assert found.tree.spec == f"{user}@{start[:12]}"
    assert found.tree.short == start[:12]
    words = "2 of 2 files are those that the index lines name"
    assert found.why == f"the base-commit that the series names; {words}"
    assert find(series(user, f"{start}..HEAD~3", base_commit=start[:9]), user).tree == found.tree


@pytest.mark.parametrize("commit", ["--all", "HEAD", "0" * 40, "no-such", "refs/heads/master"])
def test_a_base_commit_that_is_none(user: Path, commit: str) -> None:
    start = topic(user)
    later(user)
    found = find(series(user, f"{start}..HEAD~3", base_commit=commit), user)
    assert found.tree.oid == oid(user, start)
    assert found.why.startswith("the newest commit found that has the blobs of the index lines; 2 of 2 files")


def test_what_was_asked_for(user: Path) -> None:
    start = topic(user)
    what = series(user, f"{start}..", base_commit=start)
    for spec, revision, why in ((user, "HEAD", "as --base says"), (f"{user}@HEAD", "", "as TREE says")):
        found = find(what, spec, revision)
        assert found.tree.oid == oid(user, "HEAD")
        assert found.why == f"{why}; 0 of 2 files are those that the index lines name"
    assert find(what, f"{user}@HEAD", "HEAD").tree.oid == oid(user, "HEAD")
    with pytest.raises(RequestError, match=r"--base HEAD~1 contradicts .*@HEAD"):
        find(what, f"{user}@HEAD", "HEAD~1")
    with pytest.raises(RequestError, match="has no revision 'absent'"):
        find(what, user, "absent")
    shutil.rmtree(user / ".git")
    with pytest.raises(RequestError, match="is no git repository, so it has no revision HEAD"):
        find(what, user, "HEAD")


def test_a_checkout_that_fits_as_it_lies_there(user: Path) -> None:
    start = topic(user)
    what = series(user, f"{start}..")
    git(user, "reset", "-q", "--hard", start)
    write(user / "init/main.c", "int dirty;\n")
    found = find(what, user)
    assert found.tree.read("init/main.c", soon()) == "int dirty;\n"
    assert found.why == "as it lies there; 2 of 2 files are those that the index lines name"


def test_the_newest_commit_that_fits(user: Path) -> None:
    """It is the one before the first change, not the one in which the files came to be what they are."""
    start = topic(user)
    what = series(user, f"{start}..")
    git(user, "reset", "-q", "--hard", start)
    fitting = commit(user, {"init/main.c": "int later;\n"})
    later(user)
    git(user, "reflog", "expire", "--expire=now", "--all")
    found = find(what, user)
    assert (found.tree.oid, found.tree.short) == (oid(user, fitting), fitting[:12])
    git(user, "tag", "-a", "-m", "x", "v7.3-rc1", start)
    assert find(what, user).tree.spec == f"{user}@v7.3-rc1"
    git(user, "checkout", "-q", "-b", "side", start)
    tip = commit(user, {"init/main.c": "int side;\n"})
    git(user, "checkout", "-q", "master")
    assert find(what, user).tree.oid == oid(user, tip)


def test_commits_of_another_time_are_not_looked_at(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    start = topic(user)
    tip = git(user, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
    git(user, "reset", "-q", "--hard", start)
    later(user)
    for sent, fits in ((0, True), (1577923200, True), (946800000, False)):  # January 2nd of 2020 and 2000
        found = find(series(user, f"{start}..{tip}", sent=sent), user)
        assert (found.tree.oid == oid(user, start)) == fits, sent


def test_by_trying(user: Path) -> None:
    start = topic(user)
    texts = [text.replace(b"index ", b"index 123") for text in mails(user, f"{start}..")]
    git(user, "reset", "-q", "--hard", start)
    what = made(*texts, base_commit="1234567" * 5 + "12345")
    found = find(what, user)
    assert found.tree.oid == oid(user, start)
    assert found.why == (
        "as it lies there, by trying: its base-commit 123456712345 is not there, and no commit found has those blobs; "
        "0 of 2 files are those that the index lines name"
    )
    assert len(applied(what, user, user).steps) == 4


def test_what_an_earlier_patch_has_made_is_not_looked_for(user: Path) -> None:
    start = commit(user, {"fs/a.c": LINES})
    commit(user, {"fs/new.c": OTHERS})
    git(user, "mv", "fs/a.c", "fs/b.c")
    commit(user, {"fs/new.c": OTHERS + "int more;\n", "fs/b.c": LINES + "int more;\n"})
    commit(user, {"fs/b.c": LINES + "int most;\n"})
    found = find(series(user, f"{start}..", "-M"), f"{user}@{start}")
    assert found.why == "as TREE says; 1 of 1 files are those that the index lines name"


def test_a_series_that_only_makes_files(user: Path) -> None:
    start = git(user, "rev-parse", "HEAD")
    what = series(user, f"{start}..{commit(user, {'fs/new.c': OTHERS})}")
    git(user, "reset", "-q", "--hard", start)
    assert find(what, user).why == "as it lies there"


def test_a_bare_repository(user: Path, tmp_path: Path) -> None:
    start = topic(user)
    what = series(user, f"{start}..")
    git(tmp_path, "clone", "-q", "--bare", user, tmp_path / "bare.git")
    found = find(what, tmp_path / "bare.git")
    assert found.tree.oid == oid(user, start)
    git(tmp_path / "bare.git", "update-ref", "HEAD", start)
    assert find(what, tmp_path / "bare.git").why.startswith("its HEAD; 2 of 2")


def test_a_repository_without_a_commit(user: Path) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    shutil.rmtree(user / ".git")
    git(user, "init", "-q")
    assert find(what, user).why.startswith("as it lies there; 2 of 2")
    put(user, {"fs/a.c": "int changed;\n"})
    assert find(what, user).why.startswith("as it lies there, by trying: no commit found")


def test_a_shallow_clone(user: Path, tmp_path: Path) -> None:
    start = topic(user)
    later(user)
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{user}", tmp_path / "shallow")
    found = find(series(user, f"{start}..HEAD~3", base_commit=start), tmp_path / "shallow")
    assert found.why.startswith(f"as it lies there, by trying: its base-commit {start[:12]} is not there")


def test_a_search_is_not_done_twice(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = series(user, f"{topic(user)}..")
    later(user)
    first = find(what, user)
    put(
        tmp_path / "bin",
        {"git": f'#!/bin/sh\ncase " $* " in *" log "*) exit 1;; esac\nexec {shutil.which("git")} "$@"\n'},
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    assert find(what, user) == first
    commit(user, {"init/main.c": "int more;\n"})
    assert find(what, user).why.startswith("as it lies there, by trying")


def test_another_repository_of_the_same_project(user: Path, tmp_path: Path) -> None:
    """A range of one clone, and the tree of another."""
    start = topic(user)
    git(tmp_path, "clone", "-q", user, tmp_path / "other")
    git(tmp_path / "other", "reset", "-q", "--hard", "HEAD~2")
    found = find(series(user, f"{start}..", base_commit=start), tmp_path / "other")
    assert found.tree.oid == oid(user, start)
    stranger = checkout(tmp_path / "stranger", {"Makefile": "x"})
    with pytest.raises(RequestError, match="is not a kernel source tree"):
        find(series(user, f"{start}..", base_commit=start), stranger)

# SPDX-License-Identifier: GPL-2.0-only
"""Diffs are read as git reads them: the same patch-id, the same lines of each hunk."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from mailed import COUNT, mails, strange

from harness import diff


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Mails of all kinds."""
    top = tmp_path_factory.mktemp("tree")
    return mails(top, odd=True) + strange(top)


def text(mail: bytes) -> str:
    return mail.decode("utf-8", "surrogateescape")


def asked(mail: bytes) -> str:
    """What git says."""
    done = subprocess.run(["git", "patch-id", "--stable"], input=mail, capture_output=True, check=True)
    return done.stdout.decode().partition(" ")[0]


def test_patch_id_is_git_s(intact: list[bytes]) -> None:
    assert len(intact) > 20
    assert [diff.patch_id(text(mail)) for mail in intact] == [asked(mail) for mail in intact]


def test_patch_id_of_several_in_one(intact: list[bytes]) -> None:
    """A series as one diff, files in any order."""
    diffs = [mail[mail.index(b"diff --git") : mail.rindex(b"-- \n")] for mail in intact]
    together = b"".join(diffs)
    assert diff.patch_id(text(together)) == asked(together)
    assert diff.patch_id(text(b"".join(reversed(diffs[:COUNT])))) == diff.patch_id(text(b"".join(diffs[:COUNT])))


def test_patch_id_needs_no_white_space(intact: list[bytes]) -> None:
    """As on a web page: nothing at the ends of lines, one blank for many, no blank lines."""
    for mail in intact[:COUNT]:
        lines = [re.sub(r"[ \t]+", " ", line).strip(" ") for line in text(mail).split("\n")]
        assert diff.patch_id("\n".join(line for line in lines if line)) == asked(mail)


def test_patch_id_of_nothing() -> None:
    assert diff.patch_id("") == diff.patch_id("Hello,\n\nno patch here.\n") == ""


def test_numbers_that_are_none() -> None:
    [change] = diff.parse(f'diff --git "a/\\777" "b/\\777"\n@@ -{"9" * 5000} +1 @@\n-x\n+y\n')
    assert (change.paths, change.hunks) == (["777"], [])


def test_every_intact_hunk_is_whole(intact: list[bytes]) -> None:
    for mail in intact:
        for change, hunk in diff.hunks(diff.parse(text(mail))):
            assert (hunk.fault, len(hunk.old), len(hunk.new)) == ("", hunk.old_count, hunk.new_count), change


def test_files_are_git_s(intact: list[bytes], tmp_path: Path) -> None:
    """git apply --numstat names the new side of each."""
    for number, mail in enumerate(intact):
        path = tmp_path / f"{number}.patch"
        path.write_bytes(mail)
        said = subprocess.run(["git", "apply", "--numstat", "-z", path], cwd=tmp_path, capture_output=True, check=True)
        names = [line.split("\t")[2] for line in text(said.stdout).split("\0") if line]
        assert names == [change.new or change.old for change in diff.parse(text(mail))]

# SPDX-License-Identifier: GPL-2.0-only
"""Trees that are another but for a few files: as git itself would make them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness import cache, tree, variants
from harness.deadline import Deadline

ENV = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository that looks like a kernel tree, with names that git quotes."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    top = tmp_path / "linux"
    for name in (*tree.MARKS, "fs/a.c", "fs/smb/server/b.c", "fs/tab\there", "fs/ümlaut.c", "fs/back\\slash"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{name}\n")
    (top / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\n")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "link").symlink_to("fs/a.c")
    git(top, "init", "--quiet")
    git(top, "add", "--all")
    return top


def git(top: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=top, check=True, capture_output=True, text=True, env=ENV | more, timeout=60
    )
    return done.stdout


def test_each_is_what_git_makes_of_the_files(linux: Path, tmp_path: Path) -> None:
    changes = [
        {"fs/a.c": "other\n"},
        {"fs/smb/server/b.c": "deep\n", "fs/a.c": "both\n", "run": "#!/bin/true\n"},
        {},
        {"Makefile": "VERSION = 8\nPATCHLEVEL = 0\n"},
    ]
    seen = tree.snapshot(str(linux), Deadline.after(60))
    before = {path: path.stat().st_mtime_ns for path in linux.rglob("*") if path.is_file()}
    found = variants.made(seen, changes, Deadline.after(60))
    assert {path: path.stat().st_mtime_ns for path in linux.rglob("*") if path.is_file()} == before
    for each, files in zip(found, changes, strict=True):
        for name, text in files.items():
            (linux / name).write_text(text)
            assert each.read(name, Deadline.after(60)) == text
        index = str(tmp_path / f"index-{each.oid}")
        git(linux, "add", "--all", GIT_INDEX_FILE=index)
        assert git(linux, "write-tree", GIT_INDEX_FILE=index).strip() == each.oid
        git(linux, "checkout", "--quiet", "--", ".")
    assert found[2].oid == seen.oid

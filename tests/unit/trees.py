# SPDX-License-Identifier: GPL-2.0-only
"""Small kernel source trees, as directories and as repositories of a user, for the tests of what reads them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import cache, tree
from harness.deadline import Deadline

MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\nNAME = Baby\n"
FILES = {
    "Makefile": MAKEFILE,
    "Kbuild": "obj-y += init/\n",
    "Kconfig": 'source "init/Kconfig"\n',
    ".gitignore": "*.o\n/vmlinux\n.config\n",
    "init/main.c": "int main;\n",
    "arch/x86/kernel/vmlinux.lds.S": "SECTIONS\n",
    "scripts/kconfig/merge_config.sh": "#!/bin/sh\n",
}
#: Names that somebody does not reckon with.
ODD = ("a b.c", "quo'te\".c", "new\nline.c", "tab\t.c", "*.c", ":(exclude)init", "-n", "Zürich.c", "latin\udcff.c")


def soon() -> Deadline:
    return Deadline.after(120)


def put(top: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` below ``top``; what is a script becomes executable."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return top


def git(top: Path, *words: str | Path) -> str:
    """The user's own git."""
    who = ("-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgSign=false")
    done = subprocess.run(["git", *who, *words], cwd=top, check=True, capture_output=True)
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def checkout(top: Path, files: Mapping[str, str] = FILES, form: str = "sha1") -> Path:
    """A repository with one commit."""
    put(top, files)
    git(top, "init", "-q", "-b", "master", f"--object-format={form}")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "first")
    return top


def seen(top: Path) -> dict[bytes, tuple[int, int, str]]:
    """Every file, directory and link below ``top``, .git and all: mode, mtime, and a digest of the content."""
    found = {}
    for directory, below, names in os.walk(os.fsencode(top)):
        for path in (directory, *(os.path.join(directory, name) for name in (*below, *names))):  # noqa: PTH118 - bytes
            status = os.lstat(path)
            if os.path.islink(path):  # noqa: PTH114
                data = os.readlink(path)  # noqa: PTH115
            else:
                data = b"" if os.path.isdir(path) else Path(os.fsdecode(path)).read_bytes()  # noqa: PTH112
            found[path] = (status.st_mode, status.st_mtime_ns, hashlib.sha256(data).hexdigest())
    return found


def look(spec: str | Path, *users: Path) -> tree.Tree:
    """The tree that ``spec`` names; what is below ``users`` is as it was, whatever comes of it."""
    before = [seen(user) for user in users]
    try:
        return tree.snapshot(str(spec), soon())
    finally:
        for user, files in zip(users, before, strict=True):
            now = seen(user)
            changed = {path for path in now.keys() | files if now.get(path) != files.get(path)}
            assert not changed, changed


def names(found: tree.Tree) -> dict[str, str]:
    """The files of a tree, each with its mode as git writes it."""
    words: list[str | Path] = ["git", "--git-dir", found.repository.path, "ls-tree", "-r", "-z", found.oid]
    text = subprocess.run(words, check=True, capture_output=True).stdout.decode(errors="surrogateescape")
    return {entry.partition("\t")[2]: entry.partition(" ")[0] for entry in text.split("\0") if entry}


def write(path: Path, text: str) -> Path:
    """Change a file, so that no clock is too coarse to see it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache and a home of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", *(name for name in os.environ if name.startswith("GIT_"))):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A clean checkout."""
    return checkout(tmp_path / "linux")

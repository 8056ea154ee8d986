# SPDX-License-Identifier: GPL-2.0-only
"""What is taken for a patch series where a kernel or a tree could stand, too."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from mails import Letter, mbox, repository

from harness import source


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("thread", mbox([Letter("x@example.org", "[PATCH] x", b"diff --git a/x b/x\n")])),
        ("one.patch", b"From: A <a@example.org>\nSubject: x\n\n---\ndiff --git a/x b/x\n"),
        ("packed.mbox.gz", gzip.compress(b"From 0 Mon Sep 17 00:00:00 2001\nSubject: x\n")),
        ("plain.diff", b"what it does\n\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n"),
        ("series", b"# nothing yet\n"),
    ],
)
def test_what_looks_like_a_series(tmp_path: Path, name: str, data: bytes) -> None:
    assert source.is_series(str(put(tmp_path / name, data)))
    assert source.is_series(f"{tmp_path / name}@v2")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Image", b"MZ\0\0\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n"),
        ("Image.gz", gzip.compress(bytes(1 << 20))),
        ("broken.gz", b"\x1f\x8bnothing"),
        ("words", b"nothing of that kind\n"),
        ("empty", b""),
    ],
)
def test_what_does_not(tmp_path: Path, name: str, data: bytes) -> None:
    assert not source.is_series(str(put(tmp_path / name, data)))


def test_what_looks_like_a_series_by_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = repository(tmp_path / "user")[0]
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "patches/0001-x.patch", b"")
    put(tmp_path / "linux/Kbuild", b"")
    put(tmp_path / "linux/Makefile", b"")
    put(tmp_path / "linux/a.patch", b"")
    for words in ("patches", f"{top}@base..topic", "v1..v2", "kthread-nullfs-v2", "x-1@example.org", "https://x.org/y"):
        assert source.is_series(words), words
    for words in ("linux", "linux@v7.3", str(top), f"{top}@base", "debian:7.3", "nowhere", "../nowhere", "a/../b"):
        assert not source.is_series(words), words

# SPDX-License-Identifier: GPL-2.0-only
"""File systems that are made here, as e2fsprogs and a guest's own kernel (tests/kernel/test_roots.py) see them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import diskimage
from harness.initramfs import Entry, pattern, read_list

BODY = pattern(70001)
LIST = """\
dir /dev 0755 0 0
nod /dev/console 0600 0 0 c 5 1
nod /dev/loop 0660 0 6 b 7 99
pipe /dev/fifo 0604 7 8
dir /dev/below 1777 12 34 mtime=1000000000
file /init body 0755 0 0 /dev/below/hard
slink /helper /init 0777 0 0
file /empty text: 0640 3 4
"""


def entries() -> list[Entry]:
    [archive] = read_list(LIST, {"body": BODY})
    return archive.entries


@pytest.mark.parametrize("kind", diskimage.FORMATS)
def test_the_same_bytes_for_the_same_files(kind: str) -> None:
    image = diskimage.FORMATS[kind](entries())
    assert image == diskimage.FORMATS[kind](entries())
    assert len(image) % diskimage.BLOCK == 0
    assert image.count(BODY) == 1


def tool(name: str, *words: str | Path) -> str:
    path = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        pytest.skip(f"there is no {name} here")
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("files", [[], entries()], ids=["nothing", "files"])
def test_an_ext4_that_e2fsck_likes(tmp_path: Path, files: list[Entry]) -> None:
    image = tmp_path / "image"
    image.write_bytes(diskimage.ext4(files))
    tool("e2fsck", "-fn", image)


def test_what_e2fsprogs_reads(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(diskimage.ext4(entries()))
    tool("debugfs", "-R", f"dump /dev/below/hard {tmp_path}/body", image)
    assert (tmp_path / "body").read_bytes() == BODY
    for path, words in {
        "/init": ("Type: regular", "Mode:  0755", "Links: 2", "Size: 70001"),
        "/dev/console": ("Type: character special", "Device major/minor number: 05:01"),
        "/dev/loop": ("Type: block special", "Device major/minor number: 07:99", "Group:     6"),
        "/dev/fifo": ("Type: FIFO", "User:     7", "Group:     8"),
        "/dev/below": ("Mode:  01777", "mtime: 0x3b9aca00"),
        "/helper": ("Type: symlink", 'Fast link dest: "/init"'),
        "/empty": ("Size: 0", "Mode:  0640"),
    }.items():
        told = tool("debugfs", "-R", f"stat {path}", image)
        assert [word for word in words if word not in told] == [], told

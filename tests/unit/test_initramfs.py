# SPDX-License-Identifier: GPL-2.0-only
"""Images: the same bytes for the same list, and what other tools read in them."""

from __future__ import annotations

import lzma
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness import agent, initramfs, toolchain
from harness.arch import ARCHES, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.initramfs import PACKINGS, Archive, Entry, pattern, read_list, unpack_entries

LIST = """
dir /d 0755 1 2 mtime=77
file /d/f text:hello 0640 0 0 /d/g
slink /l d/f 0777 0 0
nod /null 0666 0 0 c 1 3   # a comment
pipe /p 0600 0 0
archive gzip
file /z pattern:100 0600 0 0
"""


def test_a_list_becomes_entries() -> None:
    plain, packed = read_list(LIST, {})
    assert (plain.packing, packed.packing) == ("none", "gzip")
    assert plain.entries[0] == Entry("/d", stat.S_IFDIR | 0o755, 1, 2, 77)
    assert plain.entries[1] == Entry("/d/f", stat.S_IFREG | 0o640, body=b"hello", links=("/d/g",))
    assert plain.entries[2].body == b"d/f"
    assert plain.entries[3] == Entry("/null", stat.S_IFCHR | 0o666, rdev=(1, 3))
    assert packed.entries[0].body == pattern(100)


@pytest.mark.parametrize("line", ["dir /d", "door /d 0755 0 0", "file /f nowhere 0644 0 0", "nod /n 0600 0 0 c one 2"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(RequestError, match="line 2") as caught:
        read_list(f"\n{line}\n", {})
    assert line in str(caught.value)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_the_archive() -> None:
    archive = read_list(LIST, {})[0].pack()
    listing = subprocess.run(["cpio", "-itv"], input=archive, capture_output=True, check=True).stdout.decode()
    assert {line.split()[-1] for line in listing.splitlines()} == {"d", "d/f", "d/g", "null", "p"}
    assert "crw-rw-rw-" in listing


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "none"])
def test_packing_is_reproducible_and_smaller(packing: str) -> None:
    archive = Archive(packing, [Entry("/zeroes", stat.S_IFREG | 0o600, body=bytes(100000))])
    assert archive.pack() == archive.pack()
    assert len(archive.pack()) < 2000


def test_xz_has_the_only_checksum_that_the_kernel_knows() -> None:
    assert lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(PACKINGS["xz"](b"x")) == b"x"
    decompressor = lzma.LZMADecompressor()
    decompressor.decompress(PACKINGS["xz"](b"x"))
    assert decompressor.check == lzma.CHECK_CRC32


def test_what_the_check_looks_for_has_every_kind_of_file() -> None:
    kinds = {stat.S_IFMT(entry.mode) for entry in unpack_entries()}
    assert kinds == {
        *(stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR),
        *(stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK),
    }


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_the_agent_is_static_and_freestanding_and_its_image_is_the_same_each_time(arch: Arch) -> None:
    deadline = Deadline.after(120)
    built = agent.build(arch, deadline)
    with built.open("rb") as stream:
        elf = ELFFile(stream)
        assert elf.header["e_machine"] == arch.elf_machine
        assert elf.header["e_type"] == "ET_EXEC"
        assert not [part for part in elf.iter_segments() if part["p_type"] in ("PT_INTERP", "PT_DYNAMIC")]
    assert initramfs.build(built) == initramfs.build(built)
    assert agent.image(arch, deadline) == agent.image(arch, deadline)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_the_agent_is_the_same_from_an_empty_cache(arch: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = agent.build(arch, Deadline.after(120)).read_bytes()
    monkeypatch.setenv("NULLFS_HARNESS_CACHE", str(tmp_path))
    assert agent.build(arch, Deadline.after(120)).read_bytes() == before


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_clang_compiles_the_agent(arch: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host that has no gcc, whatever is asked for a kernel."""
    mine = (programs for programs in toolchain.found(arch, Deadline.after(60), whole=False) if programs.kind == "clang")
    if (clang := next(mine, None)) is None:
        pytest.skip("no clang with ld.lld on this host")
    for name in ("setpriv", clang.compiler, clang.linker):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    for name, value in (("PATH", tmp_path), ("NULLFS_HARNESS_CACHE", tmp_path / "cache"), ("LLVM", "yes")):
        monkeypatch.setenv(name, str(value))
    with agent.build(arch, Deadline.after(120)).open("rb") as stream:
        assert ELFFile(stream).header["e_machine"] == arch.elf_machine


def test_without_a_compiler_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setpriv").symlink_to(shutil.which("setpriv") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="no C compiler for arm64") as caught:
        toolchain.compiler(ARCHES[1], Deadline.after(20))
    assert "gcc-aarch64-linux-gnu" in caught.value.hint


def test_what_only_guests_of_a_profile_have() -> None:
    [archive] = initramfs.of_profile("ramfs")
    assert [entry.path for entry in archive.entries] == ["/etc", "/etc/target"]
    assert initramfs.of_profile("minimal") == []

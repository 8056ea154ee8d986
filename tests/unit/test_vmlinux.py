# SPDX-License-Identifier: GPL-2.0-only
"""harness/vmlinux.py: real ELF files, compiled and linked here; BTF is put together by hand."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from harness import cache, kernel, vmlinux
from harness.checks import Era, claimed
from harness.deadline import Deadline
from harness.errors import RequestError
from harness.session import Column, _claim

BANNER = "Linux version 7.3.4-test (me@here) (gcc (Debian 14.2.0) 14.2, ld) #3 SMP Sat Nov 21"
VERSION = "7.3.4-test (me@here) #3 SMP Sat Nov 21"
OBJECTS = "int nullfs_fs_type = 1; int *userspace_init_fs; static int *knullfs;"
NEW = dict.fromkeys((*vmlinux.SYMBOLS, vmlinux.MEMBER), True)
#: struct task_struct with the member, without it, and with it where CONFIG_RANDSTRUCT has it.
TASK = "struct task_struct { int state; void *real_fs; } init_task;"
TASK_OLD = "struct task_struct { int state; void *fs; } init_task; struct other { int real_fs; } other;"
TASK_RANDOM = "struct task_struct { int state; struct { int a; union { void *real_fs; int b; }; }; } init_task;"

Compile = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def build(tmp_path: Path) -> Compile:
    """Links C to something that is a kernel as far as an ELF file can tell."""

    def compiled(*text: str, flags: str = "", banner: str = BANNER, name: str = "vmlinux") -> Path:
        source, made = tmp_path / "x.c", tmp_path / name
        made.parent.mkdir(parents=True, exist_ok=True)
        keep = "int *keep(void) { return knullfs ? knullfs : &nullfs_fs_type; }" if OBJECTS in text else ""
        source.write_text(
            "\n".join((f'const char linux_banner[] = "{banner}\\n";', *text, keep, "void _start(void) {}"))
        )
        words: list[str | Path] = [
            "gcc",
            "-nostdlib",
            "-static",
            "-Wl,--build-id=0xc0ffee",
            *flags.split(),
            "-o",
            made,
            source,
        ]
        subprocess.run(words, check=True)
        return made

    return compiled


def btf(*, member: str = "real_fs", nested: bool = False, kind: int = 19, task: str = "task_struct") -> bytes:
    """A .BTF section with a type of each kind before ``struct task``; ``kind`` is the last of them."""
    strings, types = bytearray(b"\0"), bytearray()

    def text(word: str) -> int:
        strings.extend(word.encode() + b"\0")
        return len(strings) - len(word) - 1

    def add(name: str, number: int, parts: int, rest: bytes) -> None:
        types.extend(struct.pack("<III", text(name) if name else 0, number << 24 | parts, 4) + rest)

    add("int", 1, 0, bytes(4))
    for number in (2, 7, 8, 9, 10, 11, 12, 16, 18):
        add("plain", number, 0, b"")
    add("", 3, 0, bytes(12))
    add(f"not_{task}", 4, 1, struct.pack("<III", text("pid"), 1, 0))
    for number, each in ((5, 12), (6, 8), (13, 8), (15, 12), (kind, 12)):
        add("", number, 2, bytes(2 * each))
    for number in (14, 17):
        add("more", number, 0, bytes(4))
    inner = struct.pack("<III", text(member), 1, 0)
    count = 20  # so many types so far
    if nested:
        add("", 4, 1, inner)
        inner = struct.pack("<III", 0, count, 0)
    add(task, 4, 2, struct.pack("<III", text("state"), 1, 0) + inner)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return head + types + strings


def with_btf(made: Path, section: bytes) -> Path:
    (made.parent / "btf").write_bytes(section)
    subprocess.run(["objcopy", "--add-section", f".BTF={made.parent / 'btf'}", made], check=True)
    return made


def test_a_kernel_with_all_of_it(build: Compile) -> None:
    claims = vmlinux.read(build(OBJECTS, TASK, flags="-g"))
    assert claims == vmlinux.Claims("c0ffee", VERSION, NEW)
    assert claims.words == "nullfs_fs_type, userspace_init_fs, knullfs, real_fs"


@pytest.mark.parametrize(
    ("text", "flags", "there"),
    [
        (TASK, "-g -gdwarf-5", True),
        (TASK, "-g -gdwarf-4", True),
        (TASK, "-g -gz=zlib", True),
        (TASK_RANDOM, "-g", True),
        (TASK_OLD, "-g", False),
        ("struct task_struct; struct task_struct *current;", "-g", None),
        (TASK, "-g -gsplit-dwarf", None),
        (TASK, "", None),
    ],
    ids=["dwarf-5", "dwarf-4", "compressed", "randstruct", "without", "declared", "split", "no-dwarf"],
)
def test_the_member_in_dwarf(build: Compile, text: str, flags: str, there: bool | None) -> None:  # noqa: FBT001
    assert vmlinux.examine(build(text, flags=flags)).has["real_fs"] is there


def test_the_member_is_looked_for_in_the_first_unit_that_has_it_whole(build: Compile, tmp_path: Path) -> None:
    (tmp_path / "first.c").write_text("struct task_struct; struct task_struct *current;")
    subprocess.run(["gcc", "-g", "-c", "-o", tmp_path / "first.o", tmp_path / "first.c"], check=True)
    assert vmlinux.examine(build(TASK, flags=f"-g {tmp_path}/first.o")).has["real_fs"] is True


@pytest.mark.parametrize(
    ("section", "there"),
    [
        (btf(), True),
        (btf(nested=True), True),
        (btf(member="fs"), False),
        (btf(member="not_real_fs"), False),
        (btf(kind=20), None),
        (btf(task="task"), None),
    ],
    ids=["there", "randstruct", "without", "another-name", "unknown-kind", "no-task"],
)
def test_the_member_in_btf(build: Compile, section: bytes, there: bool | None) -> None:  # noqa: FBT001
    assert vmlinux.examine(with_btf(build(), section)).has["real_fs"] is there


def test_btf_that_tells_nothing_leaves_it_to_dwarf(build: Compile) -> None:
    assert vmlinux.examine(with_btf(build(TASK, flags="-g"), btf(kind=20))).has["real_fs"] is True
    assert vmlinux.examine(with_btf(build(TASK, flags="-g"), btf(member="fs"))).has["real_fs"] is False


@pytest.mark.parametrize("cut", [3, 30, -1])
def test_btf_that_is_cut(build: Compile, cut: int) -> None:
    with pytest.raises(RequestError, match="is a damaged ELF file"):
        vmlinux.read(with_btf(build(), btf()[:cut]))


def test_what_is_stripped_is_not_denied(build: Compile) -> None:
    made = build(OBJECTS, TASK, flags="-g")
    subprocess.run(["strip", made], check=True)
    claims = vmlinux.read(made)
    assert set(claims.has.values()) == {None}
    assert claims.build_id == "c0ffee"
    assert "no symbol table" in claims.words
    assert claimed(claims.has) == "unknown"


def test_what_is_only_used_or_only_sounds_alike_is_not_there(build: Compile) -> None:
    text = "extern int knullfs; int *use(void) { return &knullfs; } int knullfs_file, my_knullfs;"
    assert vmlinux.examine(build(text, flags="-r")).has["knullfs"] is False


def test_a_name_that_is_the_end_of_another_one_is_found(build: Compile) -> None:
    made = build(OBJECTS + "int my_knullfs;", flags="-Wl,-O2")
    strings = made.read_bytes()
    assert strings.count(b"knullfs\0") == 1, "this linker does not share the ends of names"
    assert vmlinux.examine(made).has["knullfs"] is True


def note(number: int) -> str:
    """A note of Xen's, in C."""
    return rf'__asm__(".pushsection .note.Xen,\"a\",@note; .long 4,8,{number}; .asciz \"Xen\"; .quad 1; .popsection");'


def test_a_note_of_xen_is_no_build_id(build: Compile) -> None:
    assert vmlinux.examine(build(note(3))).build_id == "c0ffee"
    assert vmlinux.examine(build(note(3), flags="-Wl,--build-id=none")).build_id == ""


def test_the_banner_of_a_first_link_is_passed_over(build: Compile) -> None:
    early = f'const char early[] = "{BANNER.replace("#3", "#")}\\n";'
    assert vmlinux.version(build(early)) == VERSION
    assert vmlinux.version(build(banner=BANNER.replace("#3", "#"))) == ""


def test_what_is_no_vmlinux(build: Compile, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no Linux kernel"):
        vmlinux.read(build(banner="hello"))
    made = build(OBJECTS, TASK, flags="-g")
    made.write_bytes(made.read_bytes()[:-200])
    with pytest.raises(RequestError, match="is truncated: an ELF file"):
        vmlinux.read(made)
    with pytest.raises(RequestError, match="is no vmlinux, but bzImage"):
        vmlinux.read(bzimage(tmp_path / "bzImage"))
    with pytest.raises(RequestError, match="cannot be read"):
        vmlinux.read(tmp_path / "nothing")


def test_it_is_read_once_and_again_when_it_has_changed(build: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(OBJECTS, TASK, flags="-g")
    seen = vmlinux.read(made)

    def again(path: Path) -> NoReturn:
        raise AssertionError(f"{path} is read once more")

    with monkeypatch.context() as patch:
        patch.setattr(vmlinux, "examine", again)
        assert vmlinux.read(made) == seen
    assert vmlinux.read(build()).has["knullfs"] is False


def test_what_is_kept_may_be_damaged(build: Compile) -> None:
    made = build(OBJECTS, TASK, flags="-g")
    seen = vmlinux.read(made)
    [kept] = (cache.root() / "vmlinux").iterdir()
    for text in ("", "[]", json.dumps({"build_id": ""})):
        kept.write_text(text)
        assert vmlinux.read(made) == seen


def bzimage(path: Path, version: str = VERSION) -> Path:
    """The smallest bzImage: see tests/unit/test_image.py."""
    data = bytearray(6 * 512)
    data[0x1F1] = 4
    struct.pack_into("<I", data, 0x1F4, 32)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H6xH", data, 0x206, 0x20F, 0x400)
    data[0x211] = data[0x236] = 1
    data[0x600 : 0x600 + len(version)] = version.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def one(path: Path) -> kernel.Kernel:
    (found,) = kernel.resolve(str(path), [], Deadline.after(60))
    return found


@pytest.mark.parametrize(
    ("image", "elf"),
    [
        ("arch/x86/boot/bzImage", "vmlinux"),
        ("arch/x86/boot/bzImage", "arch/x86/boot/vmlinux"),
        ("boot/vmlinuz-7.3.4-test", "boot/vmlinux-7.3.4-test"),
        ("bzImage", "vmlinux"),
    ],
)
def test_a_kernel_finds_the_vmlinux_of_its_build(build: Compile, tmp_path: Path, image: str, elf: str) -> None:
    path = bzimage(tmp_path / image)
    assert one(path).claims is None
    made = build(OBJECTS, name=elf)
    assert one(path).elf == made
    assert one(path).claims == vmlinux.read(made)
    build(OBJECTS, name=elf, banner=BANNER.replace("#3", "#4"))
    assert one(path).claims is None


def test_an_image_that_is_its_own_vmlinux(build: Compile) -> None:
    made = build(OBJECTS, note(18), banner=BANNER.replace("#3", "#"))  # with a PVH entry, and of an unknown version
    found = one(made)
    assert found.image == found.boot == found.elf == made
    assert found.claims == vmlinux.read(made)


def test_the_facts_of_a_kernel_in_the_results(build: Compile, tmp_path: Path) -> None:
    path = bzimage(tmp_path / "bzImage")
    assert _claim(Column(one(path), Era.ISOLATED)) == {}
    made = build("int nullfs_fs_type = 1;")
    facts = _claim(Column(one(path), Era.ISOLATED))
    assert facts["build_id"] == "c0ffee"
    assert facts["claim"] == "rootfs"
    assert facts["claim_against"] == ("no userspace_init_fs", "no knullfs")
    made.write_bytes(made.read_bytes()[:-200])
    facts = _claim(Column(one(path), Era.ISOLATED))
    assert facts["claim"] == "unknown"
    assert "is truncated" in facts["claim_why"]

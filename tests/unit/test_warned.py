# SPDX-License-Identifier: GPL-2.0-only
"""All warnings of a kernel, from the records of builds that each compiled a part of it."""

from __future__ import annotations

from pathlib import Path

from harness import warned

ONE = "fs/one.c:3:4: warning: unused variable 'x' [-Wunused-variable]"
TWO = 'fs/two.c:9: warning: "X" redefined'
HEADER = """\
In file included from include/linux/fs.h:12,
                 from fs/two.c:1:
include/linux/nullfs.h:10:2: warning: #warning "here" [-Wcpp]"""
FIRST = f"  CC      fs/one.o\n  CC      fs/two.o\n{ONE}\n{TWO}\n{HEADER}\n"


def whole(top: Path, text: str) -> tuple[str, ...]:
    """What counts after builds of a tree with fs/one.c and fs/two.c."""
    (top / "source/fs").mkdir(parents=True, exist_ok=True)
    (top / "output").mkdir(exist_ok=True)
    for name in ("one", "two"):
        (top / f"source/fs/{name}.c").touch()
    record = top / "output" / warned.RECORD
    kept = [line for line in text.splitlines() if warned.matters(line)]
    with record.open("a") as handle:
        handle.write("".join(f"{line}\n" for line in kept))
    return warned.whole(record, top / "source")


def test_all_of_them(tmp_path: Path) -> None:
    assert whole(tmp_path, FIRST) == (ONE, TWO, HEADER.splitlines()[-1])


def test_only_what_is_compiled_again_changes(tmp_path: Path) -> None:
    whole(tmp_path, FIRST)
    assert whole(tmp_path, "  CC      fs/two.o\n") == (ONE,)
    assert whole(tmp_path, f"  CC [M]  fs/one.o\n  CC      fs/two.o\n{HEADER}\n") == (HEADER.splitlines()[-1],)
    assert whole(tmp_path, "") == (HEADER.splitlines()[-1],)


def test_what_a_killed_build_compiled_counts(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / warned.RECORD).write_text(f"  CC      fs/one.o\n{ONE}\n")  # and then it was killed
    assert whole(tmp_path, "  CC      fs/two.o\n") == (ONE,)


def test_what_is_no_longer_in_the_tree(tmp_path: Path) -> None:
    whole(tmp_path, FIRST)
    (tmp_path / "source/fs/one.c").unlink()
    assert warned.whole(tmp_path / "output" / warned.RECORD, tmp_path / "source") == (TWO, HEADER.splitlines()[-1])


def test_programs_of_the_host_and_assembler(tmp_path: Path) -> None:
    (tmp_path / "source/scripts").mkdir(parents=True)
    (tmp_path / "source/scripts/gen.c").touch()
    line = "scripts/gen.c:1:1: warning: old"
    assert whole(tmp_path, f"  HOSTCC  scripts/gen\n{line}\n") == (line,)
    assert whole(tmp_path, "  HOSTCC  scripts/gen\n") == ()


def test_other_lines_are_not_kept() -> None:
    assert not [
        line for line in ("  LD      vmlinux", "  from here", "make: warning: jobserver") if warned.matters(line)
    ]


def test_what_is_new() -> None:
    moved = ONE.replace(":3:4:", ":30:4:")
    assert warned.new([ONE], [moved, TWO]) == [TWO]
    assert warned.new([ONE], [ONE, moved]) == [moved]
    assert warned.new([ONE, TWO], []) == []

# SPDX-License-Identifier: GPL-2.0-only
"""harness/checkout.py: places for trees, shared and switched and mended, beside other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trees import FILES, checkout, git, look, names, put, soon, write

from harness import cache
from harness.checkout import KEPT, checked_out
from harness.deadline import Deadline
from harness.errors import HostError
from harness.tree import Tree

TOP = Path(__file__).resolve().parents[2]
HOLDER = """\
import sys
from harness import tree
from harness.checkout import checked_out
from harness.deadline import Deadline
soon = Deadline.after(120)
with checked_out(tree.snapshot(sys.argv[1], soon), soon) as slot:
    print(slot, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the test's own, for its children too."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A checkout with two commits; the second one changes one file, adds one and removes one."""
    top = checkout(tmp_path / "linux", {**FILES, "old/gone.c": "int gone;\n"})
    put(top, {"init/main.c": "int second;\n", "new/come.c": "int come;\n"})
    git(top, "rm", "-qr", "old")
    git(top, "add", ".")
    git(top, "commit", "-qm", "second")
    return top


@contextmanager
def holder(spec: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another python that works in a checkout until it is killed, and where that is."""
    words = [sys.executable, "-c", HOLDER, spec]
    with subprocess.Popen(words, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child, Path(child.stdout.readline().strip())
        finally:
            child.kill()


def files(source: Path) -> dict[str, str]:
    return {str(path.relative_to(source)): path.read_text() for path in source.rglob("*") if path.is_file()}


def place(found: Tree) -> Path:
    """Where the tree is put, once it is checked that all of it is there and nothing else."""
    with checked_out(found, soon()) as slot:
        there = files(slot / "source")
        assert there == {name: found.read(name, soon()) for name in names(found)}
        return slot


def test_one_place_for_one_content(user: Path) -> None:
    found = look(user)
    with checked_out(found, soon()) as slot, checked_out(found, soon()) as again, holder(str(user)) as (_, theirs):
        assert slot == again == theirs
        assert files(slot / "source")["init/main.c"] == "int second;\n"
        assert (slot / "source/scripts/kconfig/merge_config.sh").stat().st_mode & 0o111
        (slot / "build-x").mkdir()
    assert place(found) == slot
    assert (slot / "build-x").is_dir()


def test_two_contents_at_once(user: Path) -> None:
    old, new = look(f"{user}@HEAD~1"), look(user)
    with holder(f"{user}@HEAD~1") as (_, theirs), checked_out(new, soon()) as mine:
        assert mine != theirs
        assert files(theirs / "source")["init/main.c"] == "int main;\n"
        assert files(mine / "source")["init/main.c"] == "int second;\n"
        assert (place(old), place(new)) == (theirs, mine)
        with pytest.raises(HostError, match="no checkout of"), checked_out(new, Deadline.after(0)):
            pytest.fail("had without time")


def test_one_goes_on_where_it_has_built_before(user: Path) -> None:
    first, second = look(f"{user}@HEAD~1"), look(user)
    with checked_out(first, soon()) as one, checked_out(second, soon()) as other:
        (other / "build-1").mkdir()
    with checked_out(first, soon()) as slot:
        assert slot == one
    with checked_out(first, soon(), "build-1") as slot:
        assert slot == other
        assert (slot / "source/old/gone.c").exists()


def test_only_what_differs_is_written(user: Path) -> None:
    slot = place(look(f"{user}@HEAD~1"))
    source = slot / "source"
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()}
    assert place(look(user)) == slot
    same = {path for path, mtime in before.items() if path.is_file() and path.stat().st_mtime_ns == mtime}
    assert {str(path.relative_to(source)) for path in same} == FILES.keys() - {"init/main.c"}
    assert not (slot / "source/old").exists()


def test_what_was_changed_there_is_put_right(user: Path) -> None:
    found = look(user)
    slot = place(found)
    write(slot / "source/Kbuild", "damaged\n")
    (slot / "source/Makefile").unlink()
    place(look(f"{user}@HEAD~1"))
    assert place(found) == slot


@pytest.mark.parametrize("damage", ["index", "lock", "half", "empty", "crossed"])
def test_a_switch_that_was_killed(user: Path, damage: str) -> None:
    found = look(user)
    slot = place(found)
    (slot / "oid").unlink()
    source = slot / "source"
    if damage == "index":
        (slot / "index").write_bytes((slot / "index").read_bytes()[:50])
    elif damage == "lock":
        (slot / "index.lock").write_bytes(b"DIRC")
    elif damage == "half":
        write(source / "init/main.c", "int sec")
        (source / "Kconfig").unlink()
    elif damage == "empty":
        (slot / "index").unlink()
        subprocess.run(["rm", "-r", source], check=True)
    else:  # what the other tree has, and its git had not yet noted
        put(source, {"old/gone.c": "int gone;\n"})
        (source / "new/come.c").unlink()
        put(source / "new", {"come.c/file": "int file;\n"})
    assert place(found) == slot


def test_a_run_that_is_killed_lets_go(user: Path) -> None:
    with holder(f"{user}@HEAD~1") as (child, theirs):
        child.kill()
        child.wait()
        assert place(look(user)) == theirs


def test_trees_that_nobody_used_for_longest_go(tmp_path: Path, own_cache: Path) -> None:
    first, *tops, last, more = [checkout(tmp_path / f"linux{number}") for number in range(KEPT + 2)]
    trees = own_cache / "trees"

    def again(top: Path) -> Path:
        home = look(top).home
        subprocess.run(["rm", "-r", home], check=True)
        place(look(top))
        return home

    with holder(str(first)) as (_, held):
        homes = [again(top) for top in tops]
        for age, home in enumerate([held.parents[1], *homes]):
            os.utime(home, (age, age))
        there = {held.parents[1], *homes, again(last)}
        assert {*trees.iterdir()} == there  # there is one too many, and it is in use
        with cache.locked(soon(), "tree", homes[0].name):
            assert {*trees.iterdir()} | {again(more)} == {*trees.iterdir()} == there | {look(more).home}
        again(more)
        assert {*trees.iterdir()} == (there | {look(more).home}) - {homes[0]}
        assert (held / "source/Makefile").is_file()
        resolving = held.parents[1] / "series/0/tree"
        resolving.mkdir(parents=True)
        os.utime(held.parents[1], (0, 0))
    again(more)
    assert held.exists()
    os.utime(resolving, (0, 0))
    again(more)
    assert not held.exists()
    assert list((own_cache / "tmp").iterdir()) == []

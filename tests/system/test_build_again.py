# SPDX-License-Identifier: GPL-2.0-only
"""No kernel is built twice, none is taken for finished that is not, and nobody waits for another's."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import toy
from program import Program, eventually

OBJECT = toy.FILE.replace(".c", ".o")


def built(program: Program, tree: Path | str, **more: str) -> Path:
    """Build it, and return the kernel that is the newest one in the cache."""
    done = toy.asked(program, tree, untouched=None, **more)
    assert done.status == 0, done
    return toy.kernels(program)[-1]


def known(program: Program) -> list[str]:
    """The objects that have been made, and Kbuild knows."""
    files = program.cache.glob("trees/*/slots/*/build-*/*/.*.o.cmd")
    return sorted(file.name for file in files if file.read_bytes().endswith(b"\n"))


def others_are_done(program: Program) -> bool:
    """Whether all but the last object have been made."""
    return len(known(program)) == toy.OBJECTS - 1


def alive(program: Program) -> list[str]:
    return [line for line in program.left() if line.startswith("process")]


def test_the_second_time_nothing_is_done(builder: Program, tree: Path) -> None:
    spy = toy.Spy(builder.directory / "bin", "make", "gcc", "ld")
    kernel = built(builder, tree, PATH=spy.path)
    work = spy.work()
    assert sum(" -c " in line for line in work) > toy.OBJECTS  # and Kconfig's own
    assert built(builder, tree, PATH=spy.path) == kernel
    for path in tree.rglob("*.c"):
        path.touch()
    assert built(builder, tree, PATH=spy.path) == kernel
    same = subprocess.run(["tar", "-cJf", "same.tar.xz", tree.name], cwd=tree.parent, check=True, timeout=60)
    assert same.returncode == 0
    assert built(builder, tree.parent / "same.tar.xz", PATH=spy.path) == kernel
    assert spy.work() == work
    assert len(toy.kernels(builder)) == 1


def test_one_file_is_one_object(builder: Program, tree: Path) -> None:
    first = built(builder, tree)
    assert OBJECT in toy.compiled(first / "build.log")
    toy.change(tree, "int more;")
    second = built(builder, tree)
    assert second != first
    assert toy.compiled(second / "build.log") == [OBJECT]
    assert toy.image(second) != toy.image(first)


def test_warnings_are_those_of_the_whole_kernel(builder: Program, tree: Path) -> None:
    """Also where the build went on from another one, which warned about what is not compiled again."""
    toy.change(tree, "static int idle;", "kernel/fork.c")
    first = built(builder, tree)
    [warning] = json.loads((first / "build.json").read_text())["warnings"]
    assert re.fullmatch(r"kernel/fork\.c:\d+:12: warning: .idle. defined but not used.*", warning)
    toy.change(tree, "int more;")
    second = built(builder, tree)
    assert toy.compiled(second / "build.log") == [OBJECT]
    facts = json.loads((second / "build.json").read_text())
    assert facts["warnings"] == [warning]
    assert facts["image_bytes"] == len(toy.image(second))
    assert facts["image_sha256"] == hashlib.sha256(toy.image(second)).hexdigest()


def test_a_mended_error_is_one_object(builder: Program, tree: Path) -> None:
    good = (tree / toy.FILE).read_text()
    toy.change(tree, "int wrong = nothing;")
    assert toy.asked(builder, tree).status == 1
    (tree / toy.FILE).write_text(good)
    # With make -k or without, what else was made by then is good.
    log = toy.compiled(built(builder, tree) / "build.log")
    assert OBJECT in log
    assert len(log) < toy.OBJECTS


def test_equal_inputs_give_equal_images(builder: Program, tree: Path) -> None:
    other = Program(builder.directory / "elsewhere/cache", builder.directory)
    variables = {"KBUILD_BUILD_USER": "me", "MAKEFLAGS": "--dry-run", "LOCALVERSION": "-mine", "TZ": "Asia/Tokyo"}
    one, two = built(builder, tree), built(other, toy.toy(builder.directory / "a copy"), **variables)
    assert toy.compiled(two / "build.log") == toy.compiled(one / "build.log")
    assert one.name == two.name
    for name in ("vmlinux", "config"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert toy.image(one) == toy.image(two)


@pytest.mark.parametrize("how", ["half-written", "power"])
def test_a_killed_build_goes_on(builder: Program, tree: Path, how: str) -> None:
    """What of it is good is kept: not an object that was being written, and nothing if the host went down."""
    pause = toy.Pause(builder.directory / "pause")
    toy.change(tree, pause.line)
    with builder.building(tree) as running, pause.held():
        assert eventually(lambda: others_are_done(builder)), (known(builder), alive(builder))
        running.child.kill()
        assert running.end().status == -signal.SIGKILL
        assert eventually(lambda: not alive(builder))
    pause.end()
    assert not toy.kernels(builder)
    (output,) = builder.cache.glob("trees/*/slots/*/build-*")
    broken = output / toy.OTHER
    broken.write_bytes(broken.read_bytes()[:100])
    if how == "power":
        (output / "fs/.nullfs.o.cmd").touch()  # what a disk has is not in the order in which it was written
        (output / ".nullfs-harness-unfinished").write_text("another boot\n")
    kernel = built(builder, tree)
    done = toy.compiled(kernel / "build.log")
    assert len(done) == toy.OBJECTS if how == "power" else done == sorted([OBJECT, toy.OTHER])
    assert toy.image(kernel) == toy.image(built(Program(builder.directory / "other", builder.directory), tree))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped(builder: Program, tree: Path, number: signal.Signals) -> None:
    pause = toy.Pause(builder.directory / "pause")
    toy.change(tree, pause.line)
    with builder.building(tree) as running, pause.held():
        running.child.send_signal(number)
        done = running.end()
        assert builder.left() == []
    assert done.status == 128 + number, done
    assert done.err == "interrupted\n"
    assert not toy.kernels(builder)


def test_two_ask_for_the_same(builder: Program, tree: Path) -> None:
    spy = toy.Spy(builder.directory / "bin", "make", "gcc", "ld")
    pause = toy.Pause(builder.directory / "pause")
    toy.change(tree, pause.line)
    with builder.building(tree, PATH=spy.path) as one, builder.building(tree, PATH=spy.path) as two:
        with pause.held():
            for each in (one, two):
                assert eventually(lambda pid=each.child.pid: toy.has_open(pid, "/locks/build-"))  # type: ignore[misc]
        pause.end()
        ends = [one.end(), two.end()]
    (kernel,) = toy.kernels(builder)
    for done in ends:
        assert done.status == 0, done
        assert str(kernel) in done.out
    work = spy.work()
    assert sum(f" -o {OBJECT} " in line for line in work) == 1
    assert len(set(work)) == len(work)


@pytest.mark.parametrize("same", [False, True], ids=["another tree", "the same one, changed"])
def test_another_tree_does_not_wait(builder: Program, tree: Path, same: bool) -> None:  # noqa: FBT001
    pause = toy.Pause(builder.directory / "pause")
    good = (tree / toy.FILE).read_text()
    toy.change(tree, pause.line)
    with builder.building(tree) as running:
        with pause.held():
            if same:
                (tree / toy.FILE).write_text(f"{good}int changed;\n")
            done = builder.build(tree if same else toy.toy(builder.directory / "other"))
            assert done.status == 0, done
            assert running.child.poll() is None
            assert len(toy.kernels(builder)) == 1
        pause.end()
        assert running.end().status == 0
    one, two = toy.kernels(builder)
    assert toy.image(one) != toy.image(two) or not same

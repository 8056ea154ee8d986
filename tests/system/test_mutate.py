# SPDX-License-Identifier: GPL-2.0-only
"""``mutate`` on a toy tree whose builds hand out real kernels, by what is in its C: all else is real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from program import Done, Program

#: One that the older kernel fails, and another; one that it passes.
CHECKS = ("root", "fs-umask", "boot")
PLACE = {"file": toy.FILE, "function": "mount_nullfs"}
#: What makes it the older kernel, and what makes no difference.
WORSE = {"drop": "knullfs = 0"}
SAME = {"replace": "return *was", "by": "return 0 + *was"}
BOTH = ("root", "fs-umask")

Mutate = Callable[..., tuple[Done, dict[str, Any]]]


def defect(name: str, edit: dict[str, str], **more: str | list[str]) -> str:
    facts = {"name": name, "title": f"fs: {name}", **PLACE, **edit, **more}
    return "[[defect]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())


def write(where: Path, *defects: str) -> Path:
    where.mkdir(exist_ok=True)
    (where / "mine.toml").write_text("\n".join(defects))
    return where


@pytest.fixture
def linux(tree: Path, images: Path) -> Path:
    """A toy tree that hands out the newer kernel as long as its C is as it was, and dead ones where it says so."""
    (tree / "scripts/image.py").write_text(f"""\
import pathlib, shutil, sys
text = (pathlib.Path(__file__).parents[1] / {toy.FILE!r}).read_text()
shutil.copyfile({str(images)!r} + ("/isolated" if "knullfs = 0;" in text else "/shared"), sys.argv[1])
if "dead" in text:
    image = pathlib.Path(sys.argv[1])
    image.write_bytes(image.read_bytes().replace(b"devtmpfs\\0", b"devtmpfX\\0"))
""")
    return tree


@pytest.fixture
def mutate(builder: Program, linux: Path, tmp_path: Path) -> Mutate:
    """``mutate`` to its end, and what it wrote as JSON; the user's files stay as they were."""

    def mutated(*words: str | Path, timeout: str = "30") -> tuple[Done, dict[str, Any]]:
        out = builder.directory / "mutants.json"
        out.unlink(missing_ok=True)
        before = toy.prints(linux)
        given = ("mutate", linux, "--no-install", "--arch", "arm64", "--json", out, "--mutants", tmp_path / "mine")
        done = builder.end(["-m", "harness", *given, "--guest-timeout", timeout, *words], {})
        assert toy.prints(linux) == before
        assert "Traceback" not in done.text
        return done, json.loads(out.read_text()) if out.exists() else {}

    return mutated


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--check", name)]


def kinds(data: dict[str, Any]) -> dict[str, str]:
    return {outcome["name"]: outcome["kind"] for outcome in data["outcomes"]}


def test_all_is_caught_and_the_second_time_known(mutate: Mutate, builder: Program, tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        defect("one", WORSE, check="root", checks=["fs-umask"]),
        defect("two", {"replace": "knullfs = 0", "by": "knullfs = was"}, check="fs-umask", checks=["root"]),
    )
    done, data = mutate(*only(*CHECKS))
    assert done.status == 0, done
    assert kinds(data) == {"one": "caught", "two": "caught"}
    assert [outcome["red"] for outcome in data["outcomes"]] == [[*BOTH]] * 2
    assert "caught by root; also fs-umask" in done.text
    assert done.out.splitlines()[-1] == "7.3.0-toy, arm64: 2 of 2 mutants caught (100 %)."
    there = toy.kernels(builder)
    assert len(there) == 3
    again, same = mutate(*only(*CHECKS))
    assert again.status == 0
    assert toy.kernels(builder) == there
    assert [outcome["known"] for outcome in same["outcomes"]] == [True] * 2
    assert kinds(same) == kinds(data)


def test_what_is_not_as_it_is_told(mutate: Mutate, tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        defect("surprise", WORSE, check="root"),
        defect("elsewhere", WORSE, title="fs: else", check="boot", checks=[*BOTH]),
        defect("missed", SAME, check="boot"),
        defect("unmade", {"drop": "gone"}, check="boot"),
    )
    done, data = mutate(*only(*CHECKS))
    assert done.status == 1, done
    assert kinds(data) == {name: name for name in ("surprise", "elsewhere", "missed", "unmade")}
    assert "should not have noticed: fs-umask" in done.text
    assert "missed by boot; caught by root, fs-umask" in done.text
    assert f"could not be made: {toy.FILE} has it never in that function (it is to drop 'gone'" in done.text
    last = "1 of 3 mutants caught (33 %); 1 noticed by a check that should not have; 1 could not be made."
    assert done.out.splitlines()[-1].endswith(last)


def test_what_ends_before_and_what_nobody_notices(mutate: Mutate, tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        defect("refused", {"replace": "return *was", "by": "return *nothing"}, ends="no build"),
        defect("dead", {"replace": "return *was", "by": "return *was /* dead */"}, ends="no boot"),
        defect("same", SAME, equivalent="it is the same number"),
        defect("told", WORSE, equivalent="nobody looks"),
    )
    done, data = mutate(*only(*CHECKS), "--mutant", "*")
    assert done.status == 1, done
    assert kinds(data) == {"refused": "refused", "dead": "caught", "same": "equivalent", "told": "told"}
    assert "'nothing' undeclared" in done.text
    assert "equivalent: it is the same number" in done.text
    assert data["outcomes"][3]["red"] == [*BOTH]


def test_a_tree_that_is_broken_itself(mutate: Mutate, builder: Program, linux: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine", defect("one", SAME, check="root"))
    file = linux / toy.FILE
    file.write_text(file.read_text().replace("knullfs = 0;", "knullfs = was;"))
    done, data = mutate(*only(*CHECKS))
    assert done.status == 1, done
    assert data["outcomes"] == []
    assert (
        "no mutant is judged against this kernel: its own checks do not pass: root (fail), fs-umask (fail)" in done.text
    )
    assert len(toy.kernels(builder)) == 1
    file.write_text(file.read_text() + "int slip = nothing;\n")
    done, _ = mutate(*only(*CHECKS))
    assert done.status == 1, done
    assert "it does not build: " in done.text


def test_only_some_of_them(mutate: Mutate, tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        defect("one", WORSE, check="root", checks=["fs-umask"]),
        defect("other", {"drop": "gone"}, check="boot"),
        defect("same", {"drop": "gone"}, equivalent="nobody looks"),
    )
    done, data = mutate("--mutant", "o[nx]*", *only(*CHECKS))
    assert (done.status, kinds(data)) == (0, {"one": "caught"})
    done, data = mutate("--check", "root")
    assert (done.status, kinds(data)) == (0, {"one": "caught"})
    assert data["outcomes"][0]["red"] == ["root"]
    for words, said in (
        (("--mutant", "on"), "no mutant fits 'on'"),
        (("--mutant", "one", "--mutant", "x*"), "no mutant fits 'x*'"),
        (("--check", "rooot"), "no check rooot"),
        (("--check", "kcmp"), "no mutant is there for kcmp"),
        (("--mutants", tmp_path / "absent"), "no defects in"),
        (("--json", tmp_path / "no/such.json"), "is not a directory"),
        (("--profile", "big"), "'big' is not a profile"),
    ):
        done, _ = mutate(*words)
        assert done.status == 2, done
        assert said in done.text
    write(tmp_path / "mine", defect("one", WORSE, check="rooot"))
    done, _ = mutate()
    assert done.status == 2, done
    assert "a mutant names the check rooot" in done.text


def test_a_kernel_for_each_half_and_what_has_to_be_asked_for(mutate: Mutate, tmp_path: Path) -> None:
    """One for the default profile, one for all others that have a check to notice; kselftest's are asked for."""
    write(
        tmp_path / "mine",
        defect("plain", WORSE, check="root"),
        defect("args", SAME, title="init: args", check="init-args"),
        defect("trees", SAME, title="audit: trees", check="audit-trees"),
    )
    done, data = mutate("--check", "root", "--check", "init-args", "--check", "audit-trees")
    assert kinds(data) == {"plain": "caught", "args": "missed", "trees": "missed"}, str(done)
    assert [sorted(base["verdicts"]) for base in data["base"]] == [["audit-trees", "init-args", "root"]] * 2
    assert "the tree itself, built for audit, ramfs: all checks pass" in done.text
    write(tmp_path / "mine", defect("tests", SAME, check="kselftest-pidfd"))
    done, _ = mutate()
    assert done.status == 2, done
    assert "no mutant is there but for checks that have to be asked for" in done.text
    assert "next: --check kselftest-pidfd" in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""The real program on two kernels or more, of each kind that can be compared, and on what cannot be."""

from __future__ import annotations

import email
import email.policy
import json
import os
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
import toy
from program import Done, Program, results

from harness import resources
from harness.declared import declared
from harness.results import KernelFacts, Result, Run

ARM = KernelFacts("7.2-arm64", "7.2", "Image", "/Image", "arm64", "7.2", "isolated", "tcg")
X86 = replace(ARM, label="7.2-x86_64", arch="x86_64")
GOOD = Result("root", "a promise", "kthread-nullfs-v2/22", "isolated", ARM.label, "pass", "pass", ok=True, seconds=0.1)


def written(path: Path, *facts: KernelFacts, check: str = "root", verdict: str = "pass") -> Path:
    """A file of results: of one check on each of the kernels."""
    results = [replace(GOOD, kernel=each.label, check=check, verdict=verdict) for each in facts]
    path.write_text(Run(list(facts), results, harness="1", qemu="7.2").to_json())
    return path


def refused(done: Done, *texts: str) -> None:
    assert done.status == 2, done
    assert done.err.startswith("error: "), done
    assert "Traceback" not in done.text
    for text in texts:
        assert text in done.text, done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no file of results cause: Expecting value: line 1"),
        ("{}", "is no file of results cause: it has no schema"),
        ("[1, 2]", "is no file of results cause: it has no schema"),
        ('{"name": "something else", "version": 2}', "is no file of results cause: it has no schema"),
        ('{"schema": 99, "kernels": [], "results": []}', "cause: it is of schema 99, this harness reads 1"),
        ('{"schema": 1}', "cause: it has no 'kernels'"),
        ('{"schema": 1, "kernels": [{}], "results": []}', "cause: it is not what its schema says"),
        ('{"schema": 1, "kernels": [], "results": []}', "has no results in it: no check ran"),
        ("\udcff\udcfe", "is no file of results cause: 'utf-8' codec can't decode"),
    ],
)
def test_no_results(program: Program, text: str, message: str) -> None:
    bad, good = program.directory / "bad.json", written(program.directory / "good.json", ARM)
    bad.write_text(text, errors="surrogateescape")
    for items in ((bad, good), (good, bad)):
        refused(program.compare(*items), f"{bad} {message}" if message[:2] in ("is", "ha") else message, "next: ")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_results(program: Program, part: float) -> None:
    good = written(program.directory / "good.json", ARM)
    cut = program.directory / "cut"  # known by its contents
    text = good.read_text().rstrip()
    cut.write_text(text[: int(len(text) * part)])
    refused(program.compare(good, cut), f"{cut} is no file of results", "cause: ", "line ", "next: ")


def test_a_file_that_is_not_there(program: Program) -> None:
    good = written(program.directory / "good.json", ARM)
    refused(program.compare(good, "nowhere.json"), "nowhere.json does not exist", "next: an item is a kernel")
    refused(program.compare("nowhere", good), "nowhere does not exist", "next: ")


def test_a_directory_with_the_name_of_a_file(program: Program) -> None:
    (program.directory / "results.json").mkdir()
    refused(program.compare("results.json", "other.json"), "results.json cannot be read cause: Is a directory")


def test_a_pipe_with_the_name_of_a_file(program: Program) -> None:
    os.mkfifo(program.directory / "results.json")
    refused(program.compare("results.json", "other.json"), "results.json is no file", "next: ")


def test_one_alone(program: Program) -> None:
    good = written(program.directory / "good.json", ARM)
    refused(program.compare(good), f"{good} alone cannot be compared", "next: give two items or more")


def test_the_same_twice(program: Program) -> None:
    good = written(program.directory / "good.json", ARM)
    other = written(program.directory / "other.json", ARM)
    refused(program.compare(good, other, "./good.json"), "A and C are both ./good.json", "next: give each item once")
    refused(program.compare("debian:7.3", "debian:7.3"), "A and B are both debian:7.3")


def test_nothing_in_common(program: Program) -> None:
    arm, x86 = written(program.directory / "arm.json", ARM), written(program.directory / "x86.json", X86)
    refused(program.compare(arm, x86), "no two items have a kernel of the same architecture", "A has 7.2 for arm64; B")
    other = written(program.directory / "other.json", ARM, check="fsid")
    refused(program.compare(arm, other), "A and B have no check in common (arm64)", "next: run them again")
    refused(program.compare(arm, other, "--check", "fsid"), f"{arm} has no result of fsid for 7.2-arm64")
    refused(program.compare(arm, other, "--arch", "x86_64"), f"{arm} has no kernel x86_64", "there are: 7.2-arm64")


def test_several_kernels_in_one_file(program: Program) -> None:
    new = replace(ARM, label="7.3-arm64", name="7.3", release="7.3")
    both, x86 = written(program.directory / "both.json", ARM, new), written(program.directory / "x86.json", ARM, X86)
    refused(
        program.compare(both, x86), f"{both} has several kernels", f"next: add one to its name: {both}@7.2-arm64 or"
    )
    refused(program.compare(f"{both}@7.4", x86), f"{both} has no kernel 7.4", "there are: 7.2-arm64, 7.3-arm64")
    done = program.compare(f"{both}@7.2", f"{both}@7.3-arm64")
    assert (done.status, done.out.splitlines()[-1]) == (0, "B keeps all that A kept, and no more; 0 worse.")
    done = program.compare(f"{both}@7.3", x86)
    assert done.status == 0, done
    assert "A has no kernel for x86_64" in done.out
    mixed, results = program.directory / "mixed.json", [GOOD, replace(GOOD, kernel=new.label, verdict="fail")]
    mixed.write_text(Run([ARM, new], results).to_json())
    done = program.compare(f"{mixed}@7.2", f"{mixed}@7.3")
    assert (done.status, done.out.splitlines()[-1]) == (
        1, "B breaks 1 of the 1 that A kept, and keeps no more; 1 worse.",
    )  # fmt: skip


def test_its_own_json_is_no_result(program: Program) -> None:
    one, other = written(program.directory / "one.json", ARM), written(program.directory / "other.json", ARM)
    assert program.compare(one, other, "--json", "compared.json").status == 0
    assert json.loads((program.directory / "compared.json").read_text())["comparison"] == 1
    refused(program.compare(one, "compared.json"), "compared.json is no file of results cause: it has no schema")
    refused(program.compare(one, other, "--json", "nowhere/x.json"), "nowhere is not a directory")


def test_other_tools_are_said(program: Program) -> None:
    one, other = written(program.directory / "one.json", ARM), program.directory / "other.json"
    facts, result = replace(ARM, accel="kvm"), replace(GOOD, check="root")
    other.write_text(Run([facts], [result, replace(GOOD, check="fsid")], harness="2", qemu="7.2").to_json())
    done = program.compare(one, other)
    assert done.status == 0, done
    assert "A ran under tcg, B ran under kvm" in done.out
    assert "A was checked by harness 1, B was checked by harness 2" in done.out
    assert "new: fsid" in done.out
    assert "B did not try" not in done.out
    assert "B did not try fsid" in program.compare(other, one).out


def test_a_tree_that_does_not_build_is_a_result(builder: Program, tree: Path) -> None:
    """Nor does one boot, of the toy tree; that is further, though."""
    broken = toy.toy(builder.directory / "broken")
    toy.change(broken, "int wrong = nothing;")
    line = len((broken / toy.FILE).read_text().splitlines())
    words = ("--arch", "x86_64", "--arch", "arm64", "--check", "root", "--guest-timeout", "2")
    done = builder.compare(tree, broken, *words, "--json", "compared.json")
    assert done.status == 1, done
    assert done.out.splitlines()[-1] == "x86_64 and arm64: B does not build, A does not boot."
    cause = f"{toy.FILE}:{line}:13: error: 'nothing' undeclared"
    for arch in ("x86_64", "arm64"):
        assert f"A to B, {arch}: B does not build: the kernel does not build for {arch}: make failed at" in done.text
    assert cause in done.out.splitlines()[-2]
    data = json.loads((builder.directory / "compared.json").read_text())
    assert [pair["stages"] for pair in data["pairs"]] == [[1, 0], [1, 0]]
    assert cause in Path(data["columns"][2]["log"]).read_text()
    done = builder.compare(broken, tree, *words)
    assert done.status == 0, done
    assert done.out.splitlines()[-1] == "x86_64 and arm64: B does not boot, A does not build."


@pytest.mark.boots
def test_trees(builder: Program, tree: Path, image: Path) -> None:
    """A warning of the compiler, another size, and a promise that is broken, of two trees that boot."""
    other = toy.toy(builder.directory / "other")
    toy.boots(tree, image)
    toy.boots(other, image)
    (other / "scripts/image.py").write_text(
        (tree / "scripts/image.py").read_text() + "open(sys.argv[1], 'ab').write(bytes(4096))\n"
    )
    toy.change(other, "static int idle(void) { return 0; }")
    line = len((other / toy.FILE).read_text().splitlines())
    done = builder.compare(tree, other, "--arch", "arm64", "--check", "root", "--check", "boot")
    assert done.status == 0, done
    assert f"new from the compiler: {toy.FILE}:{line}:12: warning: 'idle' defined but not used" in done.text
    size = image.stat().st_size
    assert f"image: {size:,} bytes, then {size + 4096:,} (+4,096, +0.0%)" in done.text
    assert done.out.splitlines()[-1] == "B keeps all that A kept, and no more; 0 worse, 1 new warning of the compiler."


@pytest.fixture(scope="module")
def eras(warm: Path, image: Path, old_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Results of all checks before the series and with it: old.json and new.json."""
    program = Program(warm, tmp_path_factory.mktemp("eras"))
    assert program.run("--kernel", old_image, "--json", "old.json").status == 1
    assert program.run("--kernel", image, "--json", "new.json").status == 0
    return program


def kept(program: Program) -> tuple[int, int]:
    """How many promises the newer kernel keeps, and how many of them came with the series."""
    found = results(program.directory / "new.json")
    passed = {name for name, result in found.items() if result["verdict"] == "pass"}
    checks = declared([resources.directory("tests/kernel")])
    came = {check.id for check in checks if check.since == "Era.ISOLATED"} & passed
    assert len(came) > 20
    return len(passed), len(came)


@pytest.mark.boots
def test_the_series_makes_some_better_and_none_worse(eras: Program) -> None:
    done = eras.compare("old.json", "new.json", "--json", "compared.json")
    assert done.status == 0, done
    assert done.out.splitlines()[-1] == f"B keeps all that A kept, and {kept(eras)[1]} more; 0 worse."
    (pair,) = json.loads((eras.directory / "compared.json").read_text())["pairs"]
    better = [change["check"] for change in pair["changes"] if change["kind"] == "better"]
    assert len(better) == kept(eras)[1]
    table = [line.split() for line in done.out.splitlines() if "│" in line]
    assert table == [[check, "│", "FAIL", "│", "pass"] for check in better]
    assert pair["changes"][0]["kind"] == "same"


@pytest.mark.boots
def test_without_the_series_they_are_worse(eras: Program) -> None:
    done = eras.compare("new.json", "old.json")
    assert done.status == 1, done
    every, came = kept(eras)
    assert done.out.splitlines()[-1] == f"B breaks {came} of the {every} that A kept, and keeps no more; {came} worse."
    assert "worse: root (kthread-nullfs-v2/22): pass, then fail: assert 'tmpfs' == 'nullfs'" in done.text


@pytest.mark.boots
def test_results_against_kernels(eras: Program, image: Path, old_image: Path) -> None:
    """Of three: what was checked before, and two that boot now."""
    done = eras.compare("old.json", image, old_image, "--check", "root", "--check", "boot", "--evidence", "consoles")
    assert done.status == 1, done
    assert done.out.splitlines()[-3:] == [
        "B keeps all that A kept, and 1 more; 0 worse.",
        "C breaks 1 of the 2 that B kept, and keeps no more; 1 worse.",
        "C keeps all that A kept, and no more; 0 worse.",
    ]
    consoles = [
        path.relative_to(eras.directory / "consoles").parts for path in eras.directory.glob("consoles/**/root.console")
    ]
    assert sorted(parts[0] for parts in consoles) == ["B", "C"]
    assert eras.left() == []


def letter(path: Path) -> tuple[EmailMessage, str]:
    """A mail as python's parser reads it, and its body."""
    parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed, parsed.get_content()


#: Says who the user is to git, and nothing else does.
USER = {"GIT_CONFIG_GLOBAL": "gitconfig", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.mark.boots
def test_the_mail(eras: Program) -> None:
    (eras.directory / "gitconfig").write_text("[user]\n\tname = Zoë Tester\n\temail = zoe@example.org\n")
    assert eras.compare("old.json", "new.json", "--mail", "good.mail", **USER).status == 0
    parsed, body = letter(eras.directory / "good.mail")
    assert parsed["From"] == "Zoë Tester <zoe@example.org>"
    assert body.splitlines()[-1] == "Tested-by: Zoë Tester <zoe@example.org>"
    assert f"B keeps all that A kept, and {kept(eras)[1]} more; 0 worse.\n" in body
    done = eras.compare("new.json", "old.json", "--mail", "bad.mail", **USER)
    assert done.status == 1, done
    assert "the mail is in bad.mail; it is not sent" in done.out
    _, body = letter(eras.directory / "bad.mail")
    assert "ested-by" not in body
    assert "root: fail (arm64). The promise: every kernel thread's root is a nullfs, PID 1's is not." in " ".join(
        body.split()
    )
    assert "\n  assert 'tmpfs' == 'nullfs'\n" in body
    repeat = next(line for line in body.splitlines() if line.endswith("--check root"))
    done = eras.end(["-m", *repeat.split()[2:], "--no-install"], {})
    assert done.status == 1, done
    assert "FAIL root" in done.out


def test_a_mail_of_nobody_and_one_that_is_there(program: Program) -> None:
    one, other = written(program.directory / "one.json", ARM), written(program.directory / "other.json", ARM)
    done = program.compare(one, other, "--mail", "mail", **USER)
    assert done.status == 0, done
    assert "its sender has to be filled in: git config has no user.name or no user.email" in done.out
    mail = program.directory / "mail"
    assert "From: FILL IN YOUR NAME <" in mail.read_text()
    mail.write_text("mine")
    refused(program.compare(one, other, "--mail", "mail"), "mail is there already", "next: name another file")
    assert mail.read_text() == "mine"
    refused(program.compare(one, other, "--mail", "nowhere/mail"), "nowhere is not a directory")

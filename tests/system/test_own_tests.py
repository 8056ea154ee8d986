# SPDX-License-Identifier: GPL-2.0-only
"""Tests that a tree brings itself: built for a guest, run in it, told one by one, and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy
from program import Program

from harness import cache, profiles, selftests, userland
from harness.arch import ARM64
from harness.deadline import Deadline

pytestmark = pytest.mark.boots

CHECK = "kselftest-coredump"
#: As a tree has it: a Makefile that goes through directories, and one of a directory with a program and two scripts.
ALL = """\
all:
	@for each in $(TARGETS); do mkdir -p $(O)/kselftest/$$each && \\
	$(MAKE) -C $$each OUTPUT=$(O)/kselftest/$$each all; done
"""
ONE = """\
all: $(OUTPUT)/linked
$(OUTPUT)/%: %.c
	$(CROSS_COMPILE)gcc $(USERCFLAGS) -o $@ $< -lcap
emit_tests:
	@for test in linked told.sh silent.sh; do echo "$(COLLECTION):$$test"; done
"""
LINKED = """\
#include <linux/toy.h>
#include <stdio.h>
#include <sys/capability.h>
int main(void)
{
	cap_t mine = cap_get_proc();

	printf("TAP version 13\\n1..2\\nok 1 release %s\\n%sok 2 capabilities\\n", TOY, mine ? "" : "not ");
	return mine ? 0 : 1;
}
"""
WELL = "#!/bin/bash\necho 1..2; echo ok 1 one; echo ok 2 two '# SKIP not here'\n"


@pytest.fixture
def tested(builder: Program, tree: Path, image: Path) -> Path:
    """A tree with tests of its own, whose kernel boots. What they are linked with comes from the user's cache."""
    wanted = profiles.by_name("selftests")
    userland.unpacked(ARM64, selftests.PACKAGES, Deadline.after(600))
    userland.archive(ARM64, wanted.packages, wanted.files, Deadline.after(600))
    builder.cache.mkdir()
    for name in ("apt", "closures", "packages", "userland"):
        (builder.cache / name).symlink_to(cache.root() / name)
    put(tree, "", Makefile=ALL)
    put(tree, "coredump", Makefile=ONE, **{"linked.c": LINKED, "told.sh": WELL, "silent.sh": "#!/bin/sh\n"})
    return toy.boots(tree, image)


def put(tree: Path, directory: str, **files: str) -> None:
    """Put tests into the tree."""
    place = tree / selftests.TOP / directory
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755 if name.endswith(".sh") else 0o644)


def outcomes(path: Path) -> dict[str, str]:
    [result] = json.loads(path.read_text())["results"]
    assert result["check"] == CHECK
    return {name.removeprefix("coredump."): outcome for name, outcome in result["tests"].items()}


def test_a_tree_whose_tests_get_worse(builder: Program, tested: Path) -> None:
    words = "--kernel", tested, "--arch", "arm64", "--profile", "selftests", "--check", CHECK, "--json"
    done = builder.run(*words, "before.json")
    assert done.status == 0, done
    before = {"linked": "pass", "linked.release 7.3.0-toy": "pass", "linked.capabilities": "pass"}
    before |= {"told.sh": "pass", "told.sh.one": "pass", "told.sh.two": "skip", "silent.sh": "pass"}
    assert outcomes(builder.directory / "before.json") == before
    # One test fails, then the program dies before it comes to the other; and one that says nothing fails.
    put(tested, "coredump", **{"told.sh": "#!/bin/bash\necho 1..2; echo not ok 1 one; kill -9 $$\n"})
    put(tested, "coredump", **{"silent.sh": "#!/bin/sh\necho no luck; exit 1\n"})
    done = builder.run(*words, "after.json", "--evidence", "evidence")
    assert done.status == 1, done
    assert "4 of 7 tests of the tree's own do not pass" in done.text
    assert "coredump.silent.sh said at last: no luck" in done.text
    after = {**before, "told.sh": "fail", "told.sh.one": "fail", "told.sh.test 2": "missing", "silent.sh": "fail"}
    del after["told.sh.two"]
    assert outcomes(builder.directory / "after.json") == after
    [told] = (builder.directory / "evidence").glob(f"*/{CHECK}.tap")
    assert "# not ok 1 one\n# exit status: -9, after " in told.read_text()
    done = builder.compare("before.json", "after.json")
    assert done.status == 1, done
    for words_ in ("told.sh.one: pass, then fail", "silent.sh: pass, then fail", "told.sh: pass, then fail"):
        assert f"worse: the tree's test coredump.{words_}" in done.text
    assert builder.compare("after.json", "before.json").status == 0


def test_they_run_only_where_they_are_asked_for(builder: Program, tested: Path) -> None:
    done = builder.pytest(f"--kernel={tested}", "--arch=arm64", "--collect-only", "-q")
    assert "test_root" in done.text
    assert "test_coredump" not in done.text
    done = builder.pytest(f"--kernel={tested}", "--arch=arm64", "--collect-only", "-q", f"--check={CHECK}")
    assert "test_coredump" in done.text


def test_a_tree_without_them(builder: Program, tree: Path, tested: Path) -> None:
    (tree / selftests.TOP / "coredump/Makefile").unlink()
    done = builder.run("--kernel", tested, "--arch", "arm64", "--check", CHECK)
    assert done.status == 3, done
    assert f"has no {selftests.TOP}" in done.text

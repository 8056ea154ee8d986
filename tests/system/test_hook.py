# SPDX-License-Identifier: GPL-2.0-only
"""What b4 gets from ``series hook``: its own code calls the real program, on a toy repository that it reviews in."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from program import PATIENCE, Program
from topic import Row, base_of, commit, sent

#: One that the older kernel fails, one that it passes.
CHECKS = ("--check", "root", "--check", "boot")
#: b4's own code, in a process of its own: it changes how python's email module encodes.
B4 = """
import json, sys
import b4
from b4.review import checks

box, top, command, tracking = sys.argv[1:]
with open(box, "rb") as thread:
    cover = b4.liblore.utils.split_mbox(thread.read())[0]
ours = {"B4_TRACKING_FILE": tracking}
print(json.dumps(checks.run_series_checks((cover["Message-ID"].strip("<>"), cover), [command], top, extra_env=ours)))
"""
Entries = dict[str, dict[str, Any]]


class Review:
    """A repository with a series for it in a thread, as b4 keeps it: a blob that nothing refers to."""

    def __init__(self, program: Program, images: Path, base: str) -> None:
        self.program = program
        self.images = images
        self.tree = base_of(program.directory / "tree", images / base)
        self.tracking = program.directory / "tracking.json"
        self.box = program.directory / "thread.mbox"
        self.known: dict[str, object] = {}

    def sent(self, *rows: Row, base: str = "--base=main") -> Review:
        """Have the series sent, its cover letter first."""
        self.box.write_text(sent(self.tree, self.images, rows, "-v2", *filter(None, [base])))
        self.known = {"thread-blob": toy.git(self.tree, "hash-object", "-w", self.box).strip(), "revision": 2}
        self.track(self.known)
        return self

    def track(self, series: object) -> None:
        self.tracking.write_text(json.dumps({"series": series}))

    def checked(self, *words: str, **variables: str) -> Entries:
        """What b4 gets, by tool; the user's files stay as they were, and nothing is left of the program."""
        hook = ["timeout", str(PATIENCE), sys.executable, "-m", "harness", "series", "hook", "--no-install"]
        command = " ".join([*hook, "--arch", "arm64", *CHECKS, *words])
        before = toy.prints(self.tree)
        given = (str(self.box), str(self.tree), command, str(self.tracking))
        done = self.program.end(["-c", B4, *given], variables)
        assert done.status == 0, done
        found = json.loads(done.out)
        assert toy.prints(self.tree) == before
        assert self.program.left() == []
        print(done)  # shown with what fails
        assert "Traceback" not in str(found)
        assert all(set(entry) == {"tool", "status", "summary", "url", "details"} for entry in found)
        return {entry["tool"].removeprefix("nullfs-"): entry for entry in found}


@pytest.fixture
def reviewed(builder: Program, images: Path) -> Callable[..., Review]:
    def review(base: str, *rows: Row) -> Review:
        made = Review(builder, images, base)
        return made.sent(*rows) if rows else made

    return review


def statuses(found: Entries) -> dict[str, str]:
    return {tool: entry["status"] for tool, entry in found.items()}


def details(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines that b4 shows for an entry, as it reads them."""
    return [(line["status"], line["description"]) for line in json.loads(entry["details"])]


@pytest.mark.boots
def test_a_good_series(reviewed: Callable[..., Review]) -> None:
    review = reviewed("shared", ("fs: one", "shared", "int one;"), ("fs: isolate", "isolated", "int two;"))
    found = review.checked()
    # It changes a script of the build.
    assert statuses(found) == {"applies": "warn", "builds": "pass", "boots": "pass", "checks": "pass"}
    assert found["applies"]["summary"].startswith("2 patches on ")
    assert ("pass", "1/2 fs: one: as it stands") in details(found["applies"])
    assert [words for status, words in details(found["applies"]) if status == "warn"] == [
        f"runs on the host when a kernel is built: {n}/2 scripts/image.py" for n in (2,)
    ]
    assert found["builds"]["summary"] == "arm64: builds, no new warning"
    assert found["boots"]["summary"] == "arm64: boots"
    assert found["checks"]["summary"] == "the series keeps all that the base kept, and 1 more; 0 worse."
    assert ("pass", "better: root (kthread-nullfs-v2/22): fail, then pass") in details(found["checks"])
    assert review.checked() == found


@pytest.mark.boots
def test_a_bad_series(reviewed: Callable[..., Review]) -> None:
    found = reviewed("isolated", ("fs: mix", "shared", "static int unused;")).checked()
    assert statuses(found) == {"applies": "warn", "builds": "warn", "boots": "pass", "checks": "fail"}
    assert found["builds"]["summary"] == "arm64: builds, 1 new warning"
    assert [words for _, words in details(found["builds"]) if "'unused' defined but not used" in words]
    assert found["checks"]["summary"].startswith("the series breaks 1 of the 2 that the base kept")
    [bad] = [words for status, words in details(found["checks"]) if status == "fail"]
    assert bad.startswith("worse: root (kthread-nullfs-v2/22): pass, then fail: assert 'tmpfs' == 'nullfs'")


@pytest.mark.boots
def test_a_series_that_does_not_boot(reviewed: Callable[..., Review], images: Path) -> None:
    dead = images / "dead"
    if not dead.exists():
        whole = (images / "isolated").read_bytes()
        dead.write_bytes(whole[:0x1000] + bytes(0x100000) + whole[0x101000:])
    found = reviewed("isolated", ("fs: die", "dead", "int two;")).checked("--guest-timeout", "5")
    assert statuses(found) == {"applies": "warn", "builds": "pass", "boots": "fail"}
    assert found["boots"]["summary"].startswith("arm64: the guest ")


def test_a_series_that_does_not_build(reviewed: Callable[..., Review]) -> None:
    found = reviewed("isolated", ("fs: slip", "isolated", "int wrong = nothing;")).checked("--guest-timeout", "5")
    assert statuses(found) == {"applies": "pass", "builds": "fail"}
    assert "error: 'nothing' undeclared" in found["builds"]["summary"]


def test_a_series_that_does_not_apply(reviewed: Callable[..., Review]) -> None:
    review = reviewed("isolated", ("fs: one", "isolated", "int one;"))
    toy.change(review.tree, "int other;")
    commit(review.tree, "in between")
    found = review.checked("--base", "main")
    assert statuses(found) == {"applies": "fail"}
    assert found["applies"]["summary"].startswith("1/1 fs: one does not apply to ")
    assert toy.FILE in found["applies"]["details"]


def test_the_base_that_b4_found(reviewed: Callable[..., Review]) -> None:
    """Of two commits on which the series does the same."""
    review = reviewed("isolated")
    first = toy.git(review.tree, "rev-parse", "main").strip()
    toy.change(review.tree, "int later;", "kernel/fork.c")
    commit(review.tree, "later")
    review.sent(("fs: slip", "isolated", "int wrong = nothing;"), base="")
    review.track({**review.known, "base-commit": first})
    assert ", as --base says; " in review.checked()["applies"]["summary"]
    review.track({**review.known, "base-commit": "0" * 40})
    assert ", as it lies there; " in review.checked()["applies"]["summary"]


def test_without_a_compiler(reviewed: Callable[..., Review]) -> None:
    review = reviewed("isolated", ("fs: one", "isolated", "int one;"))
    found = review.checked(CROSS_COMPILE="nowhere-")
    assert statuses(found) == {"applies": "pass", "builds": "fail"}
    assert found["builds"]["summary"] == "nowhere-gcc is not installed: CROSS_COMPILE=nowhere-"
    assert any(words.startswith("  next:  ") for _, words in details(found["builds"]))


def test_without_a_qemu(reviewed: Callable[..., Review]) -> None:
    """What is found wanting before the verb begins is an entry, too."""
    review = reviewed("isolated", ("fs: one", "isolated", "int one;"))
    path = review.program.directory / "bin"
    path.mkdir()
    for name in ("setpriv", "sh", "git", "make", "timeout", "apt-get", "apt-cache"):
        if program := shutil.which(name):
            (path / name).symlink_to(program)
    found = review.checked(PATH=str(path))
    assert statuses(found) == {"applies": "fail"}
    assert "programs that this needs are missing" in found["applies"]["summary"]
    assert any("qemu-system" in words for _, words in details(found["applies"]))


@pytest.mark.parametrize("tracked", [None, "none", 3, {}, {"thread-blob": "HEAD:Makefile"}, {"thread-blob": "0" * 40}])
def test_without_a_thread_it_is_asked_for(reviewed: Callable[..., Review], tracked: object) -> None:
    """By its message id, which nobody knows where there is no network."""
    review = reviewed("isolated", ("fs: one", "isolated", "int one;"))
    review.track(tracked)
    if tracked is None:
        review.tracking.unlink()
    nowhere = "http://127.0.0.1:9"
    found = review.checked(http_proxy=nowhere, https_proxy=nowhere)
    assert statuses(found) == {"applies": "fail"}
    [message_id] = re.findall(r"^Message-Id: <(cover.*)>$", review.box.read_text(), re.MULTILINE | re.IGNORECASE)
    assert message_id in found["applies"]["details"]


@pytest.mark.parametrize("mail", ["", "no mail\n", "Subject: no id\n\nbody\n"])
def test_without_a_mail(builder: Program, mail: str) -> None:
    done = builder.end(["-m", "harness", "series", "hook", "--no-install"], {}, mail)
    assert done.status == 0, done
    [entry] = json.loads(done.out)
    assert (entry["tool"], entry["status"]) == ("nullfs-applies", "fail")
    assert entry["summary"] == "there is no mail on stdin, or none with a Message-ID"

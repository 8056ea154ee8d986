# SPDX-License-Identifier: GPL-2.0-only
"""harness/apply.py: a series on a tree is what git am -3 makes of it, and nothing of the user's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from topics import LINES, OTHERS, applied, commit, hows, made, mails, reference, series, topic
from trees import FILES, ODD, checkout, git, look, own_cache, put, soon, user, write

from harness.checkout import checked_out
from harness.errors import HarnessError, HostError, RequestError
from harness.series import Series

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


def test_each_step_is_the_tree_of_its_commit(user: Path) -> None:
    base = topic(user)
    said: list[str] = []
    found = applied(series(user, f"{base}.."), f"{user}@{base}", user, said=said)
    assert [step.tree.oid for step in found.steps] == [
        git(user, "rev-parse", f"HEAD~{n}^{{tree}}") for n in range(3, -1, -1)
    ]
    assert [step.n for step in found.steps] == [0, 1, 2, 3]
    assert hows(found) == ["as it stands"] * 3
    assert said[1:] == ["1/3 one: as it stands", "2/3 two: as it stands", "3/3 three: as it stands"]
    assert found.steps[2].tree.spec == f"{user}@{base} + toys, 2/3"
    assert (found.steps[2].tree.release, found.steps[2].tree.short) == ("7.3.0-rc1", found.steps[2].tree.oid[:12])


def test_each_step_can_be_checked_out(user: Path) -> None:
    base = topic(user)
    found = applied(series(user, f"{base}.."), f"{user}@{base}")
    for step, text in zip(found.steps, ("line_10;", "changed_10;", "changed_10;", "changed_10;"), strict=True):
        with checked_out(step.tree, soon()) as slot:
            assert text in (slot / "source/fs/a.c").read_text()
            assert (slot / "source/fs/c.c").exists() == (step.n >= 2)
            assert {path.name for path in (slot / "source").iterdir()} >= {"Makefile", "Kbuild", "init", "arch"}


def test_the_second_time_nothing_is_applied(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = topic(user)
    what = series(user, f"{base}..")
    first = applied(what, f"{user}@{base}", user)
    put(tmp_path / "bin", {"git": f'#!/bin/sh\n[ "$1" != am ] && exec {shutil.which("git")} "$@"\nexit 1\n'})
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    said: list[str] = []
    assert applied(what, f"{user}@{base}", user, said=said) == first
    assert said[1:] == ["1/3 one: as it stands", "2/3 two: as it stands", "3/3 three: as it stands"]
    other = made(*(patch.mail.replace(b"changed_10", b"changed_11") for patch in what.patches))
    with pytest.raises(Exception, match="1/3 one"):
        applied(other, f"{user}@{base}")


def lying(top: Path) -> str:
    return str(top)


def dirty(top: Path) -> str:
    write(top / "fs/new.c", "int new;\n")
    write(top / "init/main.c", "int dirty;\n")
    return str(top)


def linked(top: Path) -> str:
    git(top, "worktree", "add", "-q", top.parent / "worktree", "-b", "other")
    return str(top.parent / "worktree")


def bare(top: Path) -> str:
    git(top.parent, "clone", "-q", "--bare", top, top.parent / "bare.git")
    return f"{top.parent / 'bare.git'}@master"


def plain(top: Path) -> str:
    shutil.copytree(top, top.parent / "plain", ignore=shutil.ignore_patterns(".git"))
    return str(top.parent / "plain")


def packed(top: Path) -> str:
    plain(top)
    subprocess.run(["tar", "-caf", top.parent / "linux.tar.xz", "-C", top.parent, "plain"], check=True)
    shutil.rmtree(top.parent / "plain")
    return str(top.parent / "linux.tar.xz")


@pytest.mark.parametrize("make", [lying, dirty, linked, bare, plain, packed])
def test_all_kinds_of_trees(user: Path, make: Callable[[Path], str]) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    spec = make(user)
    found = applied(what, spec, user, Path(spec.partition("@")[0]))
    assert found.base.oid == look(spec).oid
    tree, files = found.steps[-1].tree, found.base
    assert tree.read("fs/b.c", soon()) == OTHERS.replace("other_20;", "third;")
    assert tree.read("fs/c.c", soon()) == "int c;\n"
    assert tree.read("init/main.c", soon()) == files.read("init/main.c", soon())
    if make is not dirty:
        assert tree.oid == git(user, "rev-parse", "HEAD@{1}^{tree}")


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_objects_that_the_user_has_keep_their_dates(tmp_path: Path, form: str) -> None:
    """What the steps are made of is all there already, loose, and packed; git would give both new dates."""
    top = checkout(tmp_path / "linux", form=form)
    what = series(top, f"{topic(top)}..")
    applied(what, f"{top}@HEAD~3", top)
    shutil.rmtree(tmp_path / "cache")
    git(top, "gc", "-q")
    applied(what, f"{top}@HEAD~3", top)


Files = Mapping[str, str | None]
BLANKS = "".join(f"\tint line_{number};  \n" for number in range(30))
#: What patches do besides changing lines: files before, and after each patch.
KINDS: dict[str, list[Files]] = {
    "removed": [{"fs/a.c": LINES}, {"fs/a.c": None}, {"fs/a.c": "int again;\n"}],
    "odd": [dict.fromkeys(ODD, LINES), dict.fromkeys(ODD, LINES.replace("_7;", "_x;"))],
    "crlf": [{"a.c": LINES.replace("\n", "\r\n"), "b.c": LINES},
             {"a.c": LINES.replace("\n", "\r\n").replace("_7;", "_x;"), "b.c": LINES.replace("_7;", "_x;")}],
    "blanks": [{"fs/a.c": BLANKS}, {"fs/a.c": BLANKS.replace("_7;  ", "_x;\t ")}],
    "no newline": [{"fs/a.c": LINES + "end"}, {"fs/a.c": LINES + "End"}, {"fs/a.c": LINES}],
    "from": [{"fs/a.c": LINES}, {"fs/a.c": LINES + "From me Mon Sep 17 00:00:00 2001\n>From\n-- \nFrom: x\n"}],
    "empty": [{"fs/a.c": LINES}, {"fs/empty.c": ""}, {"fs/a.c": ""}],
    "attributes": [{".gitattributes": "*.c text eol=crlf\n*.h ident\n", "fs/a.c": LINES, "fs/a.h": "$Id$\n"},
                   {"fs/a.c": LINES.replace("_7;", "_x;"), "fs/a.h": "$Id$\nint h;\n"}],
    "directory": [{"fs/a": LINES}, {"fs/a": None}, {"fs/a/b.c": LINES}, {"fs/a/b.c": None}, {"fs/a": "int a;\n"}],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_patch_does(user: Path, kind: str) -> None:
    before, *after = KINDS[kind]
    base = commit(user, before)
    for number, files in enumerate(after):
        commit(user, files, f"number {number}")
    what = series(user, f"{base}..")
    found = applied(what, f"{user}@{base}", user)
    assert [step.tree.oid for step in found.steps] == [base_tree(user, base), *reference(user, base, what)]
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")


def base_tree(top: Path, commit: str) -> str:
    return git(top, "rev-parse", f"{commit}^{{tree}}")


def test_renames_modes_links_and_binaries(user: Path) -> None:
    base = commit(user, {"fs/a.c": LINES, "fs/run": "x\n"})
    (user / "fs/logo").write_bytes(bytes(range(256)) * 9)
    base = commit(user, {}, "binary")
    git(user, "mv", "fs/a.c", "fs/moved.c")
    commit(user, {"fs/moved.c": LINES.replace("line_9;", "moved;")}, "Rename für alle")
    (user / "fs/run").chmod(0o755)
    (user / "fs/link").symlink_to("moved.c")
    commit(user, {}, "mode and link")
    (user / "fs/logo").write_bytes(bytes(range(255, -1, -1)) * 9)
    commit(user, {}, "logo")
    (user / "fs/link").unlink()
    (user / "fs/run").unlink()
    (user / "fs/run").symlink_to("moved.c")
    commit(user, {}, "links")
    what = series(user, f"{base}..", "--binary", "-M")
    assert any(change.renamed for change in what.patches[0].changes)
    found = applied(what, f"{user}@{base}", user)
    assert [step.tree.oid for step in found.steps] == [base_tree(user, f"HEAD~{n}") for n in range(4, -1, -1)]


def moved(top: Path) -> Series:
    """A series for a tree in which 30 lines were put before its own."""
    what = series(top, f"{topic(top)}..")
    git(top, "reset", "-q", "--hard", "HEAD~3")
    commit(top, {"fs/a.c": "int before;\n" * 30 + LINES, "fs/b.c": "int before;\n" + OTHERS})
    return what


def test_lines_off(user: Path) -> None:
    what = moved(user)
    found = applied(what, f"{user}@HEAD", user)
    assert hows(found) == ["up to 30 lines off", "up to 30 lines off", "up to 1 line off"]
    assert [step.tree.oid for step in found.steps[1:]] == reference(user, "HEAD", what)


def test_a_merge_by_the_blobs_of_the_index_lines(user: Path) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    commit(user, {"fs/a.c": LINES.replace("line_8;", "eight;").replace("line_38;", "x38;")})
    found = applied(what, f"{user}@HEAD", user)
    assert hows(found) == ["3-way merge", "3-way merge", "as it stands"]
    assert [step.tree.oid for step in found.steps[1:]] == reference(user, "HEAD", what)
    shutil.copytree(user, user.parent / "plain", ignore=shutil.ignore_patterns(".git"))
    with pytest.raises(Exception, match=r"no 3-way merge: the blob \w+ that fs/a.c was made from is not in this"):
        applied(what, user.parent / "plain")


def test_a_merge_as_the_trees_attributes_want_it(user: Path) -> None:
    base = commit(user, {"fs/list": LINES, "fs/.gitattributes": "list merge=union\n"})
    tip = commit(user, {"fs/list": LINES.replace("line_10;", "ours;")})
    git(user, "reset", "-q", "--hard", base)
    commit(user, {"fs/list": LINES.replace("line_10;", "theirs;")})
    what = series(user, f"{base}..{tip}")
    found = applied(what, f"{user}@HEAD", user)
    assert [step.tree.oid for step in found.steps[1:]] == reference(user, "HEAD", what)


def test_a_merge_with_a_file_that_was_renamed(user: Path) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    git(user, "mv", "fs/a.c", "fs/other.c")
    commit(user, {"net/deep/x.c": "int x;\n"})
    found = applied(what, f"{user}@HEAD", user)
    assert hows(found) == ["3-way merge", "3-way merge", "as it stands"]
    assert [step.tree.oid for step in found.steps[1:]] == reference(user, "HEAD", what)


def test_a_mail_with_the_line_ends_of_mails(user: Path) -> None:
    base = topic(user)
    texts = [text.replace(b"\n", b"\r\n") for text in mails(user, f"{base}..")]
    found = applied(made(*texts), f"{user}@{base}", user)
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")


def test_patches_of_quilt(user: Path) -> None:
    """They have no line of git's, and no blobs."""
    base = topic(user)
    drop = (b"diff --git", b"index ")
    texts = [
        b"\n".join(line for line in text.split(b"\n") if not line.startswith(drop)) for text in mails(user, f"{base}..")
    ]
    found = applied(made(*(text.replace(b"new file mode 100644\n", b"") for text in texts)), f"{user}@{base}", user)
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")


def test_the_makefile_says_which_release_a_step_is(user: Path) -> None:
    base = git(user, "rev-parse", "HEAD")
    commit(user, {"Makefile": FILES["Makefile"].replace("-rc1", "-rc2")})
    found = applied(series(user, f"{base}.."), f"{user}@{base}")
    assert [step.tree.release for step in found.steps] == ["7.3.0-rc1", "7.3.0-rc2"]


def test_settings_of_the_users_change_nothing(user: Path, tmp_path: Path) -> None:
    what = series(user, f"{topic(user)}..")
    hook = put(tmp_path / "hooks", {"applypatch-msg": f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n"})
    text = f"[core]\nhooksPath = {hook}\nautocrlf = true\n[commit]\ngpgSign = true\n[am]\nthreeWay = false\n"
    put(tmp_path / "home", {".gitconfig": text + "[apply]\nwhitespace = error\n[diff]\nnoprefix = true\n"})
    found = applied(what, f"{user}@HEAD~3", user)
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("lacks", "error"), [("blob:none", HostError), ("tree:0", RequestError)])
def test_nothing_is_fetched_for_a_partial_clone(user: Path, lacks: str, error: type[HarnessError]) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "config", "uploadpack.allowFilter", "true")
    partial = user.parent / "partial"
    git(user.parent, "clone", "-q", f"--filter={lacks}", f"file://{user}", partial)
    with pytest.raises(error, match=r"the tree's repository lacks some of its files|has no revision") as caught:
        applied(what, f"{partial}@HEAD~3", partial)
    if lacks == "blob:none":
        assert "git fetch --refetch" in caught.value.hint
    git(partial, "-c", "gc.auto=0", "fetch", "-q", "--refetch", "--no-filter", "--no-auto-maintenance")
    assert hows(applied(what, f"{partial}@HEAD~3", partial)) == ["as it stands"] * 3

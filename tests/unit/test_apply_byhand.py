# SPDX-License-Identifier: GPL-2.0-only
"""A patch that does not apply: how people resolve it and go on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from topics import LINES, OTHERS, applied, commit, conflicting, drifted, hows, place, refused, series, topic
from trees import git, look, names, own_cache, put, seen, soon, user, write

from harness import apply

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


def test_resolved_by_editing(user: Path) -> None:
    what = conflicting(user)
    top = place(refused(what, f"{user}@HEAD", user))
    write(top / "fs/a.c", LINES.replace("line_10;", "both;").replace("line_40;", "theirs_40;"))
    (top / "fs/a.c.orig").write_text("left by an editor\n")
    error = refused(what, f"{user}@HEAD", user, go_on=True)
    assert re.match(r"2/3 two does not apply to .* with the 1 before it$", error.what)
    assert place(error) == top
    text = LINES.replace("line_10;", "both;").replace("line_40;", "both_40;")
    write(top / "fs/a.c", text)
    said: list[str] = []
    found = applied(what, f"{user}@HEAD", user, said=said, go_on=True)
    assert hows(found) == ["by hand", "by hand", "as it stands"]
    assert said[1:] == ["1/3 one: by hand", "2/3 two: by hand", "3/3 three: as it stands"]
    assert found.steps[1].tree.read("fs/a.c", soon()) == text.replace("both_40;", "theirs_40;")
    commit(user, {"fs/a.c": text, "fs/c.c": "int c;\n", "fs/b.c": OTHERS.replace("other_20;", "third;")})
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")
    git(user, "reset", "-q", "--hard", "HEAD~1")
    assert not top.exists()
    assert applied(what, f"{user}@HEAD", user).steps == found.steps
    assert applied(what, f"{user}@HEAD", user, go_on=True).steps == found.steps


@pytest.mark.parametrize("way", ["add", "am", "commit", "skip", "remove"])
def test_resolved_with_git(user: Path, tmp_path: Path, way: str) -> None:
    what = conflicting(user)
    top = place(refused(what, f"{user}@HEAD"))
    text = LINES.replace("line_10;", "both;").replace("line_40;", "line_40;")
    if way == "skip":
        git(top, "am", "--skip")
    elif way == "remove":
        git(top, "rm", "-q", "-f", "fs/a.c")
    else:
        write(top / "fs/a.c", text)
        write(top / "fs/more.c", "int more;\n")
        git(top, "add", "fs")
    if way == "am":  # with whatever the user's own git says
        put(tmp_path / "home", {".gitconfig": "[commit]\ngpgSign = true\n[user]\nuseConfigOnly = true\n"})
        subprocess.run(["git", "am", "--continue"], cwd=top, check=True, capture_output=True)
    elif way == "commit":
        git(top, "commit", "-qm", "mine")
    if way in ("skip", "remove"):
        refused(what, f"{user}@HEAD", user, go_on=True)
        git(top, "am", "--skip")
    found = applied(what, f"{user}@HEAD", user, go_on=True)
    expected = {"skip": ["left out by hand"] * 2, "remove": ["by hand", "left out by hand"]}
    assert hows(found) == [*expected.get(way, ["by hand", "as it stands"]), "as it stands"]
    files = git(user, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    there = names(found.steps[-1].tree).keys()
    assert ("fs/a.c" in there) == (way != "remove")
    assert ("fs/more.c" in there) == (way in ("add", "am", "commit"))
    assert {*files} - {"fs/a.c"} <= {*there}


def test_a_mended_series_is_gone_on_with_as_one(user: Path) -> None:
    """Without that word its mails would be refused."""
    error = refused(conflicting(user), f"{user}@HEAD", user, repair=True)
    assert " --repair-whitespace --continue " in error.hint


def test_what_is_not_resolved(user: Path) -> None:
    what = conflicting(user)
    top = place(refused(what, f"{user}@HEAD"))
    error = refused(what, f"{user}@HEAD", user, go_on=True)
    assert error.what == "1/3 one is not resolved: a conflict is left at fs/a.c:11: <<<<<<< HEAD"
    git(top, "add", "fs/a.c")
    assert "a conflict is left at fs/a.c:11" in refused(what, f"{user}@HEAD", go_on=True).what
    write(top / "fs/a.c", (top / "fs/a.c").read_text().replace("<<<<<<< HEAD\n", ""))
    assert re.search(r"a conflict is left at fs/a.c:14: >>>>>>> ", refused(what, f"{user}@HEAD", go_on=True).what)
    write(top / "fs/a.c", (user / "fs/a.c").read_text())
    assert "nothing is changed" in refused(what, f"{user}@HEAD", go_on=True).what
    write(top / "fs/a.c", LINES)
    write(top / "fs/left.c", "int left;\n")
    assert "fs/left.c is new, and not added" in refused(what, f"{user}@HEAD", go_on=True).what
    (top / "fs/left.c").unlink()
    assert hows(applied(what, f"{user}@HEAD", go_on=True)) == ["by hand", "as it stands", "as it stands"]


def test_lines_that_only_look_like_a_conflict(user: Path) -> None:
    """They were there before: a book on git."""
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    book = "<<<<<<< yours\n=======\n>>>>>>> mine\n"
    commit(user, {"fs/a.c": LINES.replace("line_10;", "theirs;") + book})
    top = place(refused(what, f"{user}@HEAD"))
    write(top / "fs/a.c", LINES + book)
    assert hows(applied(what, f"{user}@HEAD", go_on=True))[0] == "by hand"


def test_a_file_that_one_side_has_removed(user: Path) -> None:
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    commit(user, {"fs/a.c": None})
    top = place(refused(what, f"{user}@HEAD"))
    error = refused(what, f"{user}@HEAD", user, go_on=True)
    assert "fs/a.c is changed on one side and gone on the other" in error.what
    git(top, "rm", "-q", "fs/a.c")
    git(top, "am", "--skip")
    assert "2/3 two" in refused(what, f"{user}@HEAD", go_on=True).what


def test_nothing_to_go_on_with(user: Path) -> None:
    what = conflicting(user)
    assert "nothing of toys waits to be gone on with" in refused(what, f"{user}@HEAD", user, go_on=True).what
    refused(what, f"{user}@HEAD")
    other = series(user, "HEAD~1..HEAD")
    assert "nothing of toys waits" in refused(other, f"{user}@HEAD", user, go_on=True).what


def test_forgotten(user: Path) -> None:
    what = conflicting(user)
    top = place(refused(what, f"{user}@HEAD"))
    write(top / "fs/a.c", LINES)
    before = seen(user)
    assert apply.forget(what, f"{user}@HEAD", soon()) == 1
    assert seen(user) == before
    assert not top.exists()
    assert apply.forget(what, f"{user}@HEAD", soon()) == 0
    assert place(refused(what, f"{user}@HEAD")) == top
    assert "<<<<<<< HEAD" in (top / "fs/a.c").read_text()


def test_what_was_begun_is_gone_on_with_though_the_tree_has_changed(user: Path, tmp_path: Path) -> None:
    what, plain = drifted(user), tmp_path / "plain"
    top = place(refused(what, plain))
    write(plain / "init/main.c", "int later;\n")
    write(top / "fs/a.c", LINES.replace("line_40;", "theirs_40;"))
    write(place(refused(what, plain, plain, go_on=True)) / "fs/a.c", LINES.replace("line_40;", "forty;"))
    found = applied(what, plain, plain, go_on=True)
    assert found.steps[-1].tree.read("init/main.c", soon()) == "int main;\n"
    assert place(refused(what, plain)) != top  # it is another tree now


def test_what_was_begun_last_is_gone_on_with(user: Path) -> None:
    what = conflicting(user)
    commit(user, {"init/main.c": "int main_2;\n"})
    assert hows(applied(what, f"{user}@HEAD~2", user)) == ["as it stands"] * 3
    first = place(refused(what, f"{user}@HEAD~1"))
    second = place(refused(what, f"{user}@HEAD"))
    assert first != second
    assert "a conflict is left" in refused(what, user, go_on=True).what
    write(second / "fs/a.c", LINES)
    found = applied(what, user, user, go_on=True)
    assert found.steps[-1].tree.read("init/main.c", soon()) == "int main_2;\n"
    write(first / "fs/a.c", LINES)
    found = applied(what, user, user, go_on=True)
    assert found.steps[-1].tree.read("init/main.c", soon()) == "int main;\n"


def test_by_hand_and_there_already(user: Path) -> None:
    """What somebody has decided is asked for no more."""
    what = series(user, f"{topic(user)}..")
    git(user, "reset", "-q", "--hard", "HEAD~3")
    commit(user, {"fs/a.c": LINES.replace("line_10;", "theirs;"), "fs/b.c": OTHERS.replace("other_20;", "third;")})
    write(place(refused(what, f"{user}@HEAD")) / "fs/a.c", LINES)
    assert "3/3 three is already applied" in refused(what, f"{user}@HEAD", go_on=True).what
    assert "3/3 three is already applied" in refused(what, f"{user}@HEAD").what
    found = applied(what, f"{user}@HEAD", skip=True, go_on=True)
    assert hows(found) == ["by hand", "as it stands", "already applied"]
    assert applied(what, f"{user}@HEAD").steps == found.steps


def test_a_worktree_is_no_place_to_clean_up(user: Path) -> None:
    """Its git knows nothing of the trees that share its objects."""
    what = conflicting(user)
    before = {path for path in (look(user).repository.written).rglob("*") if path.is_file()}
    top = place(refused(what, f"{user}@HEAD"))
    for words in (["gc", "--prune=now"], ["prune", "--expire=now"], ["repack", "-ad"]):
        subprocess.run(["git", *words], cwd=top, check=False, capture_output=True)
    assert {path for path in before if not path.exists()} == set()
    write(top / "fs/a.c", LINES)
    assert hows(applied(what, f"{user}@HEAD", user, go_on=True))[0] == "by hand"


def test_a_worktree_that_somebody_has_removed(user: Path) -> None:
    what = conflicting(user)
    top = place(refused(what, f"{user}@HEAD"))
    shutil.rmtree(top)
    assert "nothing of toys waits" in refused(what, f"{user}@HEAD", go_on=True).what
    assert "1/3 one does not apply" in refused(what, f"{user}@HEAD").what
    assert "<<<<<<< HEAD" in (top / "fs/a.c").read_text()

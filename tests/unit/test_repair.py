# SPDX-License-Identifier: GPL-2.0-only
"""What lost its white space is mended by the tree: git takes it, old lines are exact, and what is guessed is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import damager
import pytest
from damager import Damager
from mailed import COUNT, commit, first, formatted, mails, patch, put, strange, text
from trees import git

from harness import damage, diff
from harness.damage import Kind
from harness.repair import Repaired, Unmendable, differs, repaired

DAMAGERS: dict[str, Damager] = {
    "page": damager.page,
    "led": damager.led,
    "collapsed": damager.collapsed,
    "dropped": damager.dropped,
    "expanded": damager.expanded,
    "shifted": damager.shifted,
    "four": damager.four,
    "cut": damager.cut,
    "wrapped at 66": damager.wrapped(66),
    "wrapped at 72": damager.wrapped(72),
    "named": damager.named,
    "flowed": damager.flowed,
    "escaped": damager.escaped,
}
#: Those that leave the white space of new lines as it was.
HARMLESS = ("led", "dropped", "cut", "escaped", "flowed", "named")


@dataclass(frozen=True)
class Case:
    """A mail, and the tree before and behind it, in a repository."""

    top: Path
    mail: str
    before: str
    behind: str

    def read(self, path: str) -> str | None:
        done = subprocess.run(["git", "show", f"{self.before}:{path}"], cwd=self.top, capture_output=True, check=False)
        return None if done.returncode else done.stdout.decode("utf-8", "surrogateescape")

    def mended(self, damaged: Damager) -> Repaired:
        """What becomes of the mail once it is damaged."""
        return repaired(patch(damaged(self.mail).encode("utf-8", "surrogateescape")), self.read)

    def applied(self, mail: bytes) -> str:
        """The tree that git makes with that mail."""
        git(self.top, "read-tree", self.before)
        words = ["git", "apply", "--cached", "--whitespace=nowarn"]
        done = subprocess.run(words, cwd=self.top, input=mail, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode() + mail.decode(errors="replace")
        return git(self.top, "write-tree")


def cases(top: Path, mail: list[bytes], start: str) -> list[Case]:
    commits = [start, *git(top, "rev-list", "--reverse", f"{start}..HEAD").split()]
    trees = [git(top, "rev-parse", f"{each}^{{tree}}") for each in commits]
    return [
        Case(top, *each)
        for each in zip((one.decode("utf-8", "surrogateescape") for one in mail), trees, trees[1:], strict=False)
    ]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """All intact mails, the first COUNT of them in the kernel's style."""
    top = tmp_path_factory.mktemp("tree")
    found = mails(top, odd=True)
    found += strange(top)
    return cases(top, found, first(top))


def new(mail: str) -> list[str]:
    return [line for _, hunk in diff.hunks(diff.parse(mail)) for line in hunk.lines if line.startswith("+")]


def test_an_intact_patch_is_left_as_it_is(every: list[Case]) -> None:
    for case in every:
        done = case.mended(str)
        assert done.patch.text == case.mail
        assert done.guesses == ()
        assert differs(done.patch, case.read) == []


@pytest.mark.parametrize("name", DAMAGERS)
def test_what_is_mended_applies_and_is_the_same_patch(every: list[Case], name: str) -> None:
    """git takes it, with every count and line of context right; its patch-id is that of what was sent."""
    for case in every[:COUNT]:
        done = case.mended(DAMAGERS[name])
        case.applied(done.patch.mail)
        assert done.patch_id == diff.patch_id(case.mail) == diff.patch_id(done.patch.text)
        assert damage.found(done.patch) == []
        assert differs(done.patch, case.read) == []


@pytest.mark.parametrize("name", DAMAGERS)
def test_all_new_lines_in_the_kernel_s_style_are_exact(every: list[Case], name: str) -> None:
    """Byte by byte, though nobody has them: by what stands around. What is not proved is said to be guessed."""
    # A new file that is indented by four blanks may be meant so: nothing tells.
    for case in every[: COUNT - (name == "four")]:
        done = case.mended(DAMAGERS[name])
        assert new(done.patch.text) == new(case.mail)
        assert case.applied(done.patch.mail) == case.behind
        old = [str(change) for change in done.patch.changes if change.old]
        assert set(done.proved) >= set(old)


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    """Without an index line nothing is proved; each line whose white space nobody has is named, as git counts it."""
    mail = mails(tmp_path)[0].decode()
    [case] = cases(tmp_path, [mail.encode()], first(tmp_path))
    bare = "".join(line for line in damager.page(mail).splitlines(keepends=True) if not line.startswith("index "))
    done = repaired(patch(bare.encode()), case.read)
    assert done.proved == ()
    assert done.guesses == ("lib/pool.c:64-65,67: white space guessed", "lib/pool.c:68: place of a blank line guessed")
    git(tmp_path, "read-tree", "--reset", "-u", case.applied(done.patch.mail))
    lines = text(tmp_path / "lib/pool.c").split("\n")
    assert lines[63:68] == [
        "\tif (!pool) {",
        '\t\tpr_warn("%s: no memory\\n", name);',
        "\t\treturn ERR_PTR(-ENOMEM);",
        "\t}",
        "",
    ]


@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_is_guessed_that_is_there(every: list[Case], name: str) -> None:
    for case in every[:COUNT]:
        bare = "".join(line for line in case.mail.splitlines(keepends=True) if not line.startswith("index "))
        done = repaired(patch(DAMAGERS[name](bare).encode()), case.read)
        assert [each for each in done.guesses if "blank line" not in each and "broken" not in each] == []


def moved(case: Case, change: Callable[[str], str]) -> Callable[[str], str | None]:
    """The tree of a case, drifted."""

    def read(path: str) -> str | None:
        old = case.read(path)
        return None if old is None else change(old)

    return read


def test_a_tree_that_moved_on_is_followed(every: list[Case], tmp_path: Path) -> None:
    """All places are elsewhere, and the text twice in the file: the nearer one is taken, and the other one named."""
    case = every[0]
    far = case.read("lib/pool.c") or ""
    done = repaired(patch(damager.page(case.mail).encode()), moved(case, lambda old: "// more\n" * 70 + old + far))
    [hunk] = done.patch.changes[0].hunks
    assert hunk.old_start == diff.parse(case.mail)[0].hunks[0].old_start + 70
    assert any("would fit at line" in each for each in done.guesses)
    put(tmp_path, {"lib/pool.c": "// more\n" * 70 + far + far})
    subprocess.run(["git", "apply", "--check"], cwd=tmp_path, input=done.patch.mail, check=True)


def test_a_hunk_for_another_text_is_named_with_its_nearest_place(every: list[Case]) -> None:
    """The rest is there to be applied, and what is left to be looked at."""
    case = every[1]
    read = moved(case, lambda old: old.replace("\t\tif (err)\n", "\t\tif (err < 0)\n"))
    with pytest.raises(Unmendable) as error:
        repaired(patch(damager.page(case.mail).encode(), 2, 8), read)
    assert str(error.value).startswith(
        "patch 2/8 pool: count what is used cannot be mended\n  cause: lib/pool.c, hunk 1 ("
    )
    assert "is for another text; nearest is line 100, where 9 of its 10 lines are" in str(error.value)
    assert list(error.value.left) == ["lib/pool.c"]
    assert "+ pool->count++;" in error.value.left["lib/pool.c"]
    rest = diff.parse(error.value.rest.patch.text)
    assert [(str(change), len(change.hunks)) for change in rest] == [("lib/pool.h", 1)]


def test_a_hunk_that_is_there_already_is_called_so(every: list[Case]) -> None:
    case = every[0]
    behind = Case(case.top, case.mail, case.behind, case.behind)
    with pytest.raises(Unmendable, match="is in the tree already, at line 61"):
        repaired(patch(damager.page(case.mail).encode()), behind.read)


def test_a_file_that_is_gone_is_named(every: list[Case]) -> None:
    with pytest.raises(Unmendable, match=r"is for lib/pool\.c, which is not in the tree"):
        repaired(patch(damager.page(every[0].mail).encode()), lambda _: None)


def test_what_is_cut_off_is_not_made_up(every: list[Case]) -> None:
    """New lines that are missing are nowhere, in a new file as little."""
    with pytest.raises(Unmendable, match=r"belongs to line 86, but some of it is lost"):
        every[5].mended(damager.truncated)
    with pytest.raises(Unmendable, match=r"lib/other\.c, hunk 1 .* has not the 16 lines that it says"):
        every[7].mended(damager.truncated)


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (damager.expanded, {Kind.TABS}),
        (damager.shifted, {Kind.TABS}),
        (damager.four, {Kind.TABS}),
        (damager.collapsed, {Kind.SPACE}),
        (str, set()),
        (damager.dropped, set()),
        (damager.cut, set()),
    ],
)
def test_what_only_the_tree_shows_is_recognised_against_it(
    every: list[Case], damaged: Damager, expected: set[Kind]
) -> None:
    for case in every[: COUNT - 1]:
        mail = patch(damaged(case.mail).encode())
        if not damage.found(mail):
            assert {each.kind for each in differs(mail, case.read)} == expected, mail.text


def test_a_tree_of_another_text_is_not_called_damage(every: list[Case]) -> None:
    case = every[1]
    mail = patch(damager.expanded(case.mail).encode())
    assert differs(mail, moved(case, lambda old: old.replace("\t\tif (err)\n", "\t\tif (err < 0)\n"))) == []


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_files_keep_their_ends(tmp_path: Path, ends: str, *, last: bool) -> None:
    """Carriage returns, and a last line without an end, are as in the tree."""
    lines = ["int a;", "", "int f(void)", "{", "\treturn 1;", "}"]
    put(tmp_path, {"a.c": ends.join(lines) + ends * last})
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "the tree")
    start = git(tmp_path, "rev-parse", "HEAD")
    put(tmp_path, {"a.c": ends.join([*lines[:4], "\ta++;", *lines[4:]]) + ends * last})
    commit(tmp_path, "more")
    [case] = cases(tmp_path, formatted(tmp_path, "HEAD", "-1"), start)
    for name in ("page", "led", "collapsed", "cut"):
        done = case.mended(lambda mail, damaged=DAMAGERS[name]: damaged(mail.replace("\r", "")))  # type: ignore[misc]
        assert case.applied(done.patch.mail) == case.behind, done.patch.text

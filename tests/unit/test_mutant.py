# SPDX-License-Identifier: GPL-2.0-only
"""Defects in C that is made up here: what is changed is changed where it is meant, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import declared, mutant, resources
from harness.errors import RequestError
from harness.mutant import Defect, Edit, NoPlace

FILE = """\
/* taken(): { is not closed here, and "neither is this */
int taken(int a, int b);
int (*pointer)(int) = taken;

static __always_inline int other(void)
{
	keep(); // it's not what is meant: {
	if (taken(1, 2)) {
		err = 0;
	}
	return taken('{', "{\\"") + taken('\\'', 0);
}

int taken(int a, int b)
	__acquires(lock)
{
	int err;

	scoped_with_root() {
		with_creds()
			err = look(a /* drop(me); */,
					b);
		/* one more */
		keep();
	}
	if (err)
		scoped_with_other() {
			keep();
		}
	scoped_with_last()
		err = look(b, a);
	if (a && b || a->b)
		return -1;
	else if (b)
		return -2;
	drop(me);	drop(two,
			"drop(me);");
	flags |= A | B;
	return a & b;
}
"""


def made(verb: str, what: str, by: str = "", function: str = "taken", text: str = FILE) -> str:
    edit = Edit("fs/file.c", function, verb, what, by)
    return Defect("d", "t", (edit,)).made({edit.file: text}.__getitem__)[edit.file]


def changed(now: str, before: str = FILE) -> tuple[list[str], list[str]]:
    """The lines that are gone, and those that came, without what is the same before and behind them."""
    old, new = before.split("\n"), now.split("\n")
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return old, new


def test_a_block_is_unwrapped_with_all_that_is_in_it() -> None:
    gone, came = changed(made("unwrap", "scoped_with_root"))
    assert gone[0] == "\tscoped_with_root() {"
    assert gone[-1] == "\t}"
    assert came == [line[1:] for line in gone[1:-1]]


def test_the_body_of_an_if_keeps_its_braces() -> None:
    gone, came = changed(made("unwrap", "scoped_with_other"))
    assert (gone, came) == (["\t\tscoped_with_other() {"], ["\t\t{"])


def test_one_statement_is_unwrapped_and_stands_where_the_scope_did() -> None:
    assert changed(made("unwrap", "scoped_with_last")) == (
        ["\tscoped_with_last()", "\t\terr = look(b, a);"],
        ["\terr = look(b, a);"],
    )


def test_a_scope_within_a_scope() -> None:
    gone, came = changed(made("unwrap", "with_creds"))
    assert gone[0].strip() == "with_creds()"
    assert came == [line[1:] for line in gone[1:]]


@pytest.mark.parametrize(
    ("what", "gone", "came"),
    [
        ("drop(two", ['\tdrop(me);\tdrop(two,\n\t\t\t"drop(me);");'], ["\tdrop(me);\t"]),
        ("drop(me)", ["\tdrop(me);\tdrop(two,"], ["\t\tdrop(two,"]),
        ("flags |=", ["\tflags |= A | B;"], []),
        ("int err", ["\tint err;"], []),
    ],
)
def test_one_statement_is_dropped(what: str, gone: list[str], came: list[str]) -> None:
    assert changed(made("drop", what)) == ("\n".join(gone).split("\n"), came)


def test_an_if_is_dropped_with_its_else() -> None:
    gone, came = changed(made("drop", "if (a && b"))
    assert [line.strip() for line in gone] == ["if (a && b || a->b)", "return -1;", "else if (b)", "return -2;"]
    assert came == []


@pytest.mark.parametrize(
    ("what", "by", "line"),
    [
        ("a&b", "a | b", "\treturn a | b;"),
        ("a   &&b", "a", "\tif (a || a->b)"),
        ("b || a->b", "b", "\tif (a && b)"),
        ("A | B", "A", "\tflags |= A;"),
        ('"drop(me);"', "0", "\t\t\t0);"),
    ],
)
def test_words_are_replaced_whatever_blanks_are_between_them(what: str, by: str, line: str) -> None:
    _, came = changed(made("replace", what, by))
    assert came == [line]


def test_only_the_function_that_is_meant_is_changed() -> None:
    gone, came = changed(made("drop", "keep", function="other"))
    assert (gone, came) == (["\tkeep(); // it's not what is meant: {"], ["\t // it's not what is meant: {"])


@pytest.mark.parametrize(
    ("verb", "what", "function", "reason"),
    [
        ("drop", "keep", "gone", "defines gone() never"),
        ("drop", "keep", "pointer", "defines pointer() never"),
        ("drop", "keep", "twice", "defines twice() twice"),
        ("drop", "keep", "broken", "has a { that nothing closes"),
        ("drop", "keep", "declared", "defines declared() never"),
        ("unwrap", "scoped_with_nothing", "taken", "has it never in that function"),
        ("replace", "a", "taken", "has it 5 times in that function"),
        ("drop", "look", "taken", "has it never in that function"),
        ("drop", "keep", "taken", "has it twice in that function"),
    ],
)
def test_what_is_not_there_is_told(verb: str, what: str, function: str, reason: str) -> None:
    more = "int twice(void) { keep(); }\nint twice(int a) { keep(); }\n"
    tail = {"broken": "int broken(void) { keep();", "declared": "int declared(void)"}.get(function, "")
    with pytest.raises(NoPlace) as error:
        made(verb, what, "x", function, FILE + more + tail)
    assert error.value.what == f"the defect 'd' cannot be made: fs/file.c {reason}"
    assert (verb in error.value.cause, what in error.value.cause) == (True, True)
    assert "moved on" in error.value.hint
    assert error.value.exit_status == 2


def test_a_system_call_is_called_as_in_the_kernel() -> None:
    text = "SYSCALL_DEFINE1(chdir, int, fd)\n{\n\tgo();\n}\nSYSCALL_DEFINE1(chroot, int, fd)\n{\n\tgo();\n}\n"
    assert made("replace", "go()", "no()", "sys_chroot", text) == text[:-6].rpartition("go")[0] + "no();\n}\n"


def test_several_edits_one_after_the_other() -> None:
    edits = (
        Edit("fs/file.c", "taken", "replace", "A | B", "B"),
        Edit("fs/file.c", "taken", "replace", "flags |= B", "go()"),
        Edit("fs/other.c", "taken", "drop", "int err"),
    )
    texts = Defect("d", "t", edits).made(lambda _: FILE)
    assert list(texts) == ["fs/file.c", "fs/other.c"]
    assert changed(texts["fs/file.c"]) == (["\tflags |= A | B;"], ["\tgo();"])
    assert changed(texts["fs/other.c"]) == (["\tint err;"], [])


GOOD = {
    "name": '"a-b"', "title": '"t"', "file": '"f.c"', "function": '"f"', "drop": '"x"', "check": '"root"',
}  # fmt: skip


def toml(row: dict[str, str]) -> str:
    return "[[defect]]\n" + "".join(f"{key} = {value}\n" for key, value in row.items())


def test_checks_are_all_that_may_notice(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(toml(GOOD | {"checks": '["boot", "root"]'}))
    [defect] = mutant.all_in(tmp_path)
    assert (defect.check, defect.checks) == ("root", ("root", "boot"))
    assert defect.edits == (Edit("f.c", "f", "drop", "x"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[defect", "cannot be read"),
        ("x = 1", "x"),
        ("defect = 1", "no [[defect]]"),
        (toml(GOOD | {"name": '"a b"'}), "no word"),
        (toml(GOOD | {"name": "1"}), "no word"),
        (toml(GOOD | {"chek": '"root"'}), "'a-b' is not told as it must be: it has chek"),
        (toml(GOOD | {"check": "1"}), "text is wanted"),
        (toml(GOOD | {"checks": '"root"'}), "a list of it"),
        (toml(GOOD | {"checks": "[1]"}), "a list of it"),
        (toml(GOOD | {"by": '"y"'}), "by is for replace"),
        (toml(GOOD | {"unwrap": '"y"'}), "one of unwrap, drop, replace"),
        (toml({key: value for key, value in GOOD.items() if key != "drop"}), "one of unwrap, drop, replace"),
        (toml({key: value for key, value in GOOD.items() if key != "file"}), "an edit has a file"),
        (toml({key: value for key, value in GOOD.items() if key != "title"}), "a title"),
        (toml({key: value for key, value in GOOD.items() if key != "check"}), "just one of: check"),
        (toml(GOOD | {"equivalent": '"why"'}), "just one of: check"),
        (toml(GOOD | {"ends": '"somehow"'}), "one of no build, no boot"),
        (toml(GOOD | {"file": "1"}), "all of them text"),
        (toml(GOOD) + '[[defect.edit]]\nfile = "f"\n', "in itself, or as"),
        (toml(GOOD) + toml(GOOD), "another one with that name"),
    ],
)
def test_what_is_not_told_as_it_must_be(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(RequestError) as error:
        mutant.all_in(tmp_path)
    assert "mine.toml" in error.value.what
    assert said in error.value.brief
    assert "README" in error.value.hint


def test_a_directory_without_any(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no defects in"):
        mutant.all_in(tmp_path / "absent")


def test_the_defects_in_patches() -> None:
    every = mutant.all_in(resources.directory("patches") / "mutants")
    assert {check for defect in every for check in defect.checks} <= declared.needs().keys()
    assert all(len({(edit.function, edit.what) for edit in defect.edits}) == len(defect.edits) for defect in every)
    # Each says something else, and is another change.
    for what in ("title", "edits"):
        assert len({getattr(defect, what) for defect in every}) == len(every)


def test_the_readme_lists_them_all() -> None:
    """A row for each, with the checks that its data names; what nobody can notice has a table of its own."""
    rows = []
    for defect in mutant.all_in(resources.directory("patches") / "mutants"):
        about = f"| `{defect.name}` | {defect.title} |"
        others = ", ".join(f"`{name}`" for name in defect.checks if name != defect.check)
        if defect.equivalent:
            rows.append(f"{about} {defect.equivalent} |")
        elif defect.ends != mutant.ENDS[0]:
            rows.append(f"{about} {f'`{defect.check}`' if defect.check else 'it does not boot'} | {others} |")
    readme = (resources.directory("patches").parent / "README.md").read_text(encoding="utf-8")
    missing = [row for row in rows if row not in readme.splitlines()]
    assert not missing, "\n".join(missing)

# SPDX-License-Identifier: GPL-2.0-only
"""What is better, worse, new and gone from one kernel to the next, and in which words that is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness import versus
from harness.compare import Column, Comparison, Kind, Pair, compare, kind, plain
from harness.results import KernelFacts, Result, Run

FACTS = KernelFacts("7.2-arm64", "7.2", "a", "/a/Image", "arm64", "7.2", "isolated", "tcg", image_bytes=1000)
RESULT = Result("", "a promise", "kthread-nullfs-v2/22", "isolated", FACTS.label, "pass", "pass", ok=True, seconds=0.1)
WARNING = "warn: [    1.234567][    T1] WARNING: CPU: 0 PID: 1 at fs/namespace.c:12 unshare+0x1c/0x90"
SAME_WARNING = "warn: [   99.000001][   T47] WARNING: CPU: 1 PID: 47 at fs/namespace.c:340 unshare+0x2c/0xa0"


def column(letter: str, *, arch: str = "arm64", facts: KernelFacts | None = FACTS, **verdicts: str) -> Column:
    """A kernel on which each check ended as it is said."""
    results = tuple(
        replace(RESULT, check=check.replace("_", "-"), verdict=verdict, reason="" if verdict == "pass" else f"{check}!")
        for check, verdict in verdicts.items()
    )
    facts = replace(facts, arch=arch) if facts else None
    return Column(letter, f"item-{letter}", arch, facts, results, harness="1", qemu="7.2")


def pair(before: Column, after: Column) -> Pair:
    (only,) = compare([before, after]).pairs
    return only


def complaining(which: Column, check: str, *lines: str) -> Column:
    """The same, with complaints of the kernel in one of its checks."""
    results = (replace(one, troubles=lines) if one.check == check else one for one in which.results)
    return replace(which, results=tuple(results))


def of_facts(which: Column, **more: object) -> Column:
    assert which.facts
    return replace(which, facts=replace(which.facts, **more))  # type: ignore[arg-type]


NO_BOOT = {"no_boot": "the guest died: panic"}


def no_build(letter: str) -> Column:
    return replace(column(letter, facts=None), no_build="make failed at fs/x.o: fs/x.c:1:1: error: no")


@pytest.mark.parametrize(
    ("before", "after", "became"),
    [
        ("pass", "pass", Kind.SAME),
        ("fail", "fail", Kind.SAME),
        ("skip", "skip", Kind.SAME),
        ("fail", "pass", Kind.BETTER),
        ("crash", "pass", Kind.BETTER),
        ("skip", "pass", Kind.BETTER),
        ("pass", "fail", Kind.WORSE),
        ("pass", "skip", Kind.WORSE),
        ("pass", "timeout", Kind.WORSE),
        ("fail", "crash", Kind.WORSE),
        ("crash", "fail", Kind.OTHER),
        ("crash", "timeout", Kind.OTHER),
        ("timeout", "crash", Kind.OTHER),
        ("skip", "fail", Kind.OTHER),
        ("fail", "skip", Kind.OTHER),
        ("pass", "error", Kind.UNKNOWN),
        ("error", "pass", Kind.UNKNOWN),
        ("error", "error", Kind.UNKNOWN),
        ("", "pass", Kind.NEW),
        ("", "fail", Kind.NEW),
        ("pass", "", Kind.GONE),
    ],
)
def test_what_became_of_a_check(before: str, after: str, became: Kind) -> None:
    assert kind(before, after) is became
    one, other = column("A", x=before) if before else column("A"), column("B", x=after) if after else column("B")
    found = pair(one, other)
    assert [change.kind for change in found.changes] == [became]
    assert found.worse is (became is Kind.WORSE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (WARNING, SAME_WARNING),
        ("WARNING: fs/x.c:3 at a+0x1/0x2, CPU#0: init/1", "WARNING: fs/x.c:9 at a+0x3/0x4, CPU#1: init/77"),
        ("Unable to handle access at ffff800012345678", "Unable to handle access at ffff000099999999"),
        ("Internal error: Oops: 0x96000004 [#1] SMP", "Internal error: Oops: 0x96000006 [#2] SMP"),
        ("task kworker/0:1 blocked for more than 120 seconds", "task kworker/u8:3 blocked for more than 241 seconds"),
        ("soft lockup - CPU#0 stuck for 22s! [init:1]", "soft lockup - CPU#1 stuck for 45s! [init:77]"),
    ],
)  # fmt: skip
def test_the_same_complaint_of_another_boot(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (WARNING, WARNING.replace("namespace.c", "fs_struct.c")),
        (WARNING, WARNING.replace("unshare", "copy_fs")),
        ("kernel BUG at fs/x.c:1", "BUG: at fs/x.c:1"),
        ("Oops: general protection fault", "Oops: page fault"),
    ],
)
def test_another_complaint(one: str, other: str) -> None:
    assert plain(one) != plain(other)


def test_a_complaint_is_new_only_if_both_kernels_did_the_check() -> None:
    before, after = column("A", x="fail", y="fail"), column("B", x="fail", y="fail", z="fail")
    assert not pair(complaining(before, "x", WARNING), complaining(after, "y", SAME_WARNING)).worse
    assert not pair(before, complaining(after, "z", WARNING)).lines_new
    found = pair(before, complaining(after, "y", WARNING))
    assert found.lines_new == (f"{WARNING} (in y)",)
    assert found.worse
    gone = pair(complaining(before, "y", WARNING), after)
    assert (gone.lines_new, gone.lines_gone, gone.worse) == ((), (f"{WARNING} (in y)",), False)
    assert f"no longer on the console: {WARNING} (in y)" in list(versus.remarks(gone))


def test_a_complaint_of_the_boot_is_one() -> None:
    before, after = column("A", x="pass"), column("B", x="pass")
    found = pair(before, of_facts(after, boot_troubles=(WARNING,)))
    assert found.worse
    assert versus.sentence(found) == "B keeps all that A kept, and no more; 0 worse, 1 new complaint of the kernel."
    assert f"new on the console: {WARNING} (while booting)" in list(versus.remarks(found))


def test_a_kernel_that_does_not_boot_has_not_become_silent() -> None:
    before = of_facts(column("A", x="pass"), boot_troubles=(WARNING,))
    found = pair(before, of_facts(column("B", x="crash"), **NO_BOOT))
    assert found.lines_gone == ()
    assert found.worse


def test_warnings_of_the_compiler() -> None:
    first, second = "fs/x.c:1:2: warning: unused 'a'", "fs/x.c:9:2: warning: unused 'b'"
    before, after = column("A", x="pass"), column("B", x="pass")
    found = pair(of_facts(before, warnings=(first,)), of_facts(after, warnings=(first.replace(":1:", ":5:"), second)))
    assert (found.warnings_new, found.warnings_gone) == ((second,), ())
    assert not found.worse, "the compiler's word is no verdict"
    back = pair(of_facts(before, warnings=(first, second)), of_facts(after, warnings=(first,)))
    assert (back.warnings_new, back.warnings_gone) == ((), (second,))
    assert list(versus.remarks(back)) == ["no longer from the compiler: 1 warning"]
    assert versus.sentence(found).endswith("0 worse, 1 new warning of the compiler.")
    unknown = pair(before, of_facts(after, warnings=(second,)))
    assert (unknown.warnings_new, unknown.warnings_gone) == (None, None)


def test_size_of_the_image() -> None:
    before, after = column("A", x="pass"), column("B", x="pass")
    assert list(versus.remarks(pair(before, of_facts(after, image_bytes=1250)))) == [
        "image: 1,000 bytes, then 1,250 (+250, +25.0%)"
    ]
    assert not list(versus.remarks(pair(before, of_facts(after, image_bytes=0))))


@pytest.mark.parametrize(
    ("before", "after", "worse", "sentence"),
    [
        (column("A", x="pass"), no_build("B"), True, "B does not build, A boots."),
        (column("A", x="pass"), of_facts(column("B", x="crash"), **NO_BOOT), True, "B does not boot, A boots."),
        (of_facts(column("A", x="crash"), **NO_BOOT), no_build("B"), True, "B does not build, A does not boot."),
        (no_build("A"), no_build("B"), False, "B does not build, A does not either."),
        (no_build("A"), of_facts(column("B", x="crash"), **NO_BOOT), False, "B does not boot, A does not build."),
        (no_build("A"), column("B", x="pass", y="fail"), False, "B boots, A does not build; B keeps 1 of 2."),
        (column("A", x="pass", y="fail"), column("B", x="pass", y="pass"), False,
         "B keeps all that A kept, and 1 more; 0 worse."),
        (column("A", x="pass", y="fail"), column("B", x="fail", y="pass"), True,
         "B breaks 1 of the 1 that A kept, and keeps 1 more; 1 worse."),
        (column("A", x="pass", y="pass"), column("B", x="pass"), False,
         "B keeps all that A kept and was tried on both, and no more; 0 worse."),
        (column("A", x="pass", y="pass", z="pass"), column("B", x="pass", y="fail"), True,
         "B breaks 1 of the 2 that A kept and was tried on both, and keeps no more; 1 worse."),
        (column("A", x="pass", y="pass"), column("B", x="pass", y="error"), False,
         "B keeps all that A kept, and no more; 0 worse, 1 not known, for the host failed."),
    ],
)  # fmt: skip
def test_the_sentence(before: Column, after: Column, *, worse: bool, sentence: str) -> None:
    found = pair(before, after)
    assert (versus.sentence(found), found.worse) == (sentence, worse)


def test_three_kernels_are_compared_in_a_row_and_from_end_to_end() -> None:
    three = compare([column("A", x="pass"), column("B", x="fail"), column("C", x="pass")])
    assert [(one.before, one.after, one.worse) for one in three.pairs] == [("A", "B", True), ("B", "C", False)]
    assert [(one.before, one.after, one.worse) for one in three.ends] == [("A", "C", False)]
    assert three.worse
    assert versus.closing(three) == [
        "B breaks 1 of the 1 that A kept, and keeps no more; 1 worse.",
        "C keeps all that B kept, and 1 more; 0 worse.",
        "C keeps all that A kept, and no more; 0 worse.",
    ]


def test_what_happened_on_the_way_is_told_once() -> None:
    three = [column("A", x="pass"), column("B", x="pass"), of_facts(column("C", x="fail"), image_bytes=2000)]
    said = words(compare(three)).splitlines()
    assert sum("worse: x " in line for line in said) == 1
    at = said.index("A to C, arm64:")
    assert said[at + 1 : at + 2] == ["  image: 1,000 bytes, then 2,000 (+1,000, +100.0%)"]
    assert said[at + 2].startswith("B keeps all")


def test_like_with_like() -> None:
    both = compare([column("A", x="pass"), column("A", arch="x86_64", x="fail"), column("B", arch="x86_64", x="pass")])
    assert [(one.arch, one.worse) for one in both.pairs] == [("x86_64", False)]
    assert both.notes == ("B has no kernel for arm64",)
    assert not compare([column("A", x="pass"), column("B", arch="x86_64", x="pass")]).pairs


def test_one_sentence_for_all_architectures_of_which_it_is_true() -> None:
    four = [column(letter, arch=arch, x="pass") for letter in "AB" for arch in ("x86_64", "arm64")]
    assert versus.closing(compare(four)) == ["x86_64 and arm64: B keeps all that A kept, and no more; 0 worse."]


def test_what_else_is_different_is_said() -> None:
    before, after = column("A", x="pass"), column("B", x="pass")
    assert pair(before, after).notes == ()
    found = pair(
        of_facts(before, build_id="c0"), replace(of_facts(after, accel="kvm", build_id="c0"), harness="2", qemu="9")
    )
    assert found.notes == (
        "A ran under tcg, B ran under kvm",
        "A was checked by harness 1, B was checked by harness 2",
        "A ran in QEMU 7.2, B ran in QEMU 9",
        "A and B are the same build, c0",
    )


def words(comparison: Comparison, *, every: bool = False) -> str:
    return versus.text(comparison, every=every)


def test_only_what_differs_is_shown_unless_all_is_wanted() -> None:
    two = compare([column("A", same="pass", differs="fail"), column("B", same="pass", differs="pass")])
    assert versus.rows(two, every=False) == ["differs"]
    assert versus.rows(two, every=True) == ["same", "differs"]
    assert words(two).splitlines()[-1] == "B keeps all that A kept, and 1 more; 0 worse."


def test_a_kernel_that_does_not_boot_is_said_once_and_not_check_by_check() -> None:
    two = compare([column("A", x="pass", y="pass"), of_facts(column("B", x="crash", y="crash"), **NO_BOOT)])
    assert versus.rows(two, every=False) == []
    said = words(two)
    assert said.count("the guest died: panic") == 1
    assert "worse:" not in said


def test_what_got_worse_comes_first_with_its_reason_and_patch() -> None:
    two = compare([column("A", a="skip", b="pass", c="pass"), column("B", a="fail", b="crash", d="fail")])
    remarks = list(versus.remarks(two.pairs[0]))
    assert remarks == [
        "worse: b (kthread-nullfs-v2/22): pass, then crash: b!",
        "other: a (kthread-nullfs-v2/22): skip, then fail: a!",
        "new: d (kthread-nullfs-v2/22): fail: d!",
        "B did not try c",
    ]


def test_the_comparison_as_data() -> None:
    data = json.loads(compare([column("A", x="pass"), no_build("B")]).to_json())
    assert data["comparison"] == 1
    assert data["pairs"][0]["stages"] == [2, 0]
    assert data["pairs"][0]["changes"][0]["kind"] == "gone"
    with pytest.raises(ValueError, match="no schema"):
        Run.from_json(json.dumps(data))


def test_a_field_of_a_later_harness_is_left_out() -> None:
    run = Run([FACTS], [replace(RESULT, check="x")])
    data = json.loads(run.to_json())
    for row in (data, *data["kernels"], *data["results"]):
        row["of_tomorrow"] = 1
    assert Run.from_json(json.dumps(data)) == run
    wrong: list[tuple[str, object]] = [("kernels", None), ("results", 3), ("kernels", [{}]), ("results", ["x"])]
    for name, value in (*wrong, ("differences", [{}])):
        with pytest.raises(ValueError, match="it is not what its schema says"):
            Run.from_json(json.dumps(data | {name: value}))
    del data["kernels"]
    with pytest.raises(ValueError, match="it has no 'kernels'"):
        Run.from_json(json.dumps(data))

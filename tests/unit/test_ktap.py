# SPDX-License-Identifier: GPL-2.0-only
"""KTAP and TAP, as KUnit, kselftest's programs and its runner print them, also where they were cut off."""

from __future__ import annotations

import textwrap

import pytest

from harness.ktap import parse, program

#: The console of 7.3 with INITRAMFS_TEST, of which some lines were left out; another line of the kernel in between.
KUNIT = """\
[    0.203114] KTAP version 1
[    0.203245] 1..2
[    0.203611]     KTAP version 1
[    0.203705]     # Subtest: initramfs
[    0.203764]     # module: initramfs_test
[    0.203842]     1..3
[    0.206913]     ok 1 initramfs_test_extract
[    0.207711] random: crng init done
[    0.208102]     # initramfs_test_csum: EXPECTATION FAILED at init/initramfs_test.c:214
[    0.208102]     Expected err == 0, but
[    0.208102]         err == 22 (0x16)
[    0.208311]     not ok 2 initramfs_test_csum
[    0.209120]     ok 3 initramfs_test_many # SKIP no memory for it
[    0.209261] # initramfs: pass:1 fail:1 skip:1 total:3
[    0.209334] # Totals: pass:1 fail:1 skip:1 total:3
[    0.209415] not ok 1 initramfs
[    0.209522]     KTAP version 1
[    0.209606]     # Subtest: miscdev
[    0.209669]     1..2
[    0.209760]         KTAP version 1
[    0.209810]         # Subtest: miscdev_test_static
[    0.209882]         ok 1 minor 0
[    0.209940]         ok 2 minor 254
[    0.209999]     ok 1 miscdev_test_static
[    0.210031]     ok 2 miscdev_test_dynamic
[    0.210077] ok 2 miscdev
"""
#: A program of kselftest_harness.h, of pidfd.
PROGRAM = """\
TAP version 13
1..4
# Starting 4 tests from 2 test cases.
#  RUN           global.supported_mask_field ...
# pidfd_info_test.c:717:supported_mask_field:Expected 0 (0) != !!(info.mask & PIDFD_INFO_SUPPORTED_MASK) (0)
# supported_mask_field: Test terminated by assertion
#          FAIL  global.supported_mask_field
not ok 1 global.supported_mask_field
#  RUN           pidfd_info.sigkill_exit ...
#            OK  pidfd_info.sigkill_exit
ok 2 pidfd_info.sigkill_exit
#  RUN           pidfd_info.thread_group ...
#      SKIP      no such flag
#            OK  pidfd_info.thread_group
ok 3 pidfd_info.thread_group # SKIP no such flag
#  RUN           pidfd_info.thread_group_exec ...
"""


def commented(text: str) -> str:
    """What kselftest's runner makes of the output of a program."""
    return textwrap.indent(text, "# ", lambda _: True)


def test_kunit_on_a_console() -> None:
    assert parse(KUNIT, "kunit") == {
        "kunit.initramfs": "fail",
        "kunit.initramfs.initramfs_test_extract": "pass",
        "kunit.initramfs.initramfs_test_csum": "fail",
        "kunit.initramfs.initramfs_test_many": "skip",
        "kunit.miscdev": "pass",
        "kunit.miscdev.miscdev_test_static": "pass",
        "kunit.miscdev.miscdev_test_static.minor 0": "pass",
        "kunit.miscdev.miscdev_test_static.minor 254": "pass",
        "kunit.miscdev.miscdev_test_dynamic": "pass",
    }


def test_the_thread_that_prints_and_carriage_returns_make_no_difference() -> None:
    with_caller = KUNIT.replace("] ", "][    T1] ").replace("\n", "\r\n")
    assert parse(with_caller, "kunit") == parse(KUNIT, "kunit")


@pytest.mark.parametrize("cut", range(KUNIT.count("\n")))
def test_a_kernel_that_dies_in_the_middle_has_passed_no_more_than_it_said(cut: int) -> None:
    whole, found = parse(KUNIT), parse("".join(KUNIT.splitlines(keepends=True)[:cut]))
    assert all(whole.get(path) == outcome or outcome == "missing" for path, outcome in found.items()), found
    assert cut < 2 or "missing" in found.values(), found


def test_a_suite_that_is_cut_off_is_missing_under_its_name() -> None:
    assert parse(KUNIT[: KUNIT.index("[    0.209120]")]) == {
        "initramfs": "missing",
        "initramfs.initramfs_test_extract": "pass",
        "initramfs.initramfs_test_csum": "fail",
        "initramfs.test 3": "missing",
        "test 2": "missing",
    }


def test_two_spaces_nest_as_well() -> None:
    text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 one\n  not ok 2 - two # todo later\nok 1 both\n"
    assert parse(text) == {"both": "pass", "both.one": "pass", "both.two": "xfail"}


def test_a_program_of_kselftest() -> None:
    assert program("pidfd.pidfd_info_test", PROGRAM, None) == {
        "pidfd.pidfd_info_test": "fail",
        "pidfd.pidfd_info_test.global.supported_mask_field": "fail",
        "pidfd.pidfd_info_test.pidfd_info.sigkill_exit": "pass",
        "pidfd.pidfd_info_test.pidfd_info.thread_group": "skip",
        "pidfd.pidfd_info_test.pidfd_info.thread_group_exec": "missing",
    }


def test_what_the_runner_of_kselftest_makes_of_programs() -> None:
    text = f"TAP version 13\n1..3\n# timeout set to 45\n# selftests: pidfd: pidfd_info_test\n{commented(PROGRAM)}"
    text += "not ok 1 selftests: pidfd: pidfd_info_test # TIMEOUT 45 seconds\n"
    text += "# timeout set to 45\n# selftests: mount: run_nosymfollow.sh\nok 2 selftests: mount: run_nosymfollow.sh\n"
    expected = program("pidfd.pidfd_info_test", PROGRAM, None)
    assert parse(text) == expected | {"mount.run_nosymfollow.sh": "pass", "test 3": "missing"}
    text = f"TAP version 13\n1..1\n# selftests: pidfd: pidfd_info_test\n{commented(PROGRAM)}"
    assert parse(text) == expected | {"pidfd.pidfd_info_test": "missing"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ok 1 one", {"one": "pass"}),
        ("ok 1 - one", {"one": "pass"}),
        ("ok 1 one #  so many", {"one": "pass"}),
        ("ok 1 one # SKIP why", {"one": "skip"}),
        ("not ok 1 one # SKIP why", {"one": "skip"}),
        # ksft_test_result_skip() and its like have the name where others have the reason.
        ("ok 1 # SKIP one", {"one": "skip"}),
        ("ok 1 # XFAIL one", {"one": "xfail"}),
        ("ok 1 # XPASS one", {"one": "pass"}),
        ("not ok 1 # error one", {"one": "fail"}),
        ("not ok 1 one # XFAIL", {"one": "xfail"}),
        ("not ok 1 one # todo", {"one": "xfail"}),
        ("ok 1 one # todo", {"one": "pass"}),
        ("not ok 1 one # exit=139", {"one": "fail"}),
        ("ok 1", {"test 1": "pass"}),
        ("ok 1 skipping #2", {"skipping #2": "pass"}),
        ("okay 1 one", {}),
        ("not ok", {}),
    ],
)
def test_one_line(line: str, expected: dict[str, str]) -> None:
    assert parse(f"TAP version 13\n{line}\n") == expected


def test_all_is_skipped() -> None:
    text = "TAP version 13\n1..0 # SKIP test requires root\n"
    assert parse(text, "pidfd.one") == {"pidfd.one": "skip"}
    assert program("pidfd.one", text, 4) == {"pidfd.one": "skip"}
    assert parse(text) == {}


def test_a_program_that_says_nothing_is_one_test() -> None:
    assert [program("one", "", status) for status in (0, 4, 2, 1, 127, -11, None)] == [
        {"one": outcome} for outcome in ("pass", "skip", "xfail", "fail", "fail", "fail", "fail")
    ]


def test_results_without_a_plan_and_a_plan_at_the_end() -> None:
    assert parse("TAP version 13\nok 1 one\nok 2 two\n") == {"one": "pass", "two": "pass"}
    assert parse("ok 1 one\nok 2 two\n1..3\n") == {"one": "pass", "two": "pass", "test 3": "missing"}


def test_tests_of_the_same_name_are_several() -> None:
    assert parse("1..3\nok 1 one\nnot ok 2 one\nok 3 one\n") == {"one": "pass", "one#2": "fail", "one#3": "pass"}


def test_two_outputs_after_each_other() -> None:
    assert parse("KTAP version 1\n1..1\nok 1 one\nKTAP version 1\n1..2\nok 1 two\n") == {
        "one": "pass",
        "two": "pass",
        "test 2": "missing",
    }


def test_the_kernel_prints_where_a_line_is_not_ended() -> None:
    assert parse("1..2\nok 1 one\nwaiting ...[    1.234567] usb 1-1: new device\nok 2 two\n") == {
        "one": "pass",
        "two": "pass",
    }
    assert parse("initrd: [    0.500000] KTAP version 1\n[    0.500001] 1..1\n") == {"test 1": "missing"}


def test_no_tap_at_all() -> None:
    assert parse("[    0.100000] Linux version 7.3\nsome test ok\n1..\n") == {}

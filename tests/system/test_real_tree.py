# SPDX-License-Identifier: GPL-2.0-only
"""Debian's newest isolated source, really built, for one architecture: every check runs on what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import harness, results

from harness import declared, kconfig, profiles, resources
from harness.results import Run

pytestmark = [pytest.mark.boots, pytest.mark.builds]

#: Its Image boots in a third of the time that x86_64 takes.
TREE = ("debian:isolated:source", "--arch", "arm64")
CHECKS = declared.declared([resources.directory("tests/kernel")])


@pytest.fixture(scope="module")
def image() -> Path:
    done = harness("build", *TREE)
    assert done.status == 0, done
    return Path(done.out.split("--kernel ")[-1].split()[0])


def test_what_it_was_built_for_passes_and_the_rest_is_skipped_for_what_it_lacks(image: Path, tmp_path: Path) -> None:
    done = harness("run", "--kernel", *TREE, "--json", tmp_path / "json")
    assert done.status == 0, done
    found = results(tmp_path / "json")
    plain = {check.id for check in CHECKS if check.profile == profiles.DEFAULT}
    assert len(plain) > 30
    assert {name: found[name]["verdict"] for name in plain} == dict.fromkeys(plain, "pass")
    lacking = {name for name, result in found.items() if result["reason"].startswith("this kernel lacks CONFIG_")}
    assert lacking == {name for name, result in found.items() if result["verdict"] == "skip"} - {"sev"}
    run = Run.from_json((tmp_path / "json").read_text(encoding="utf-8"))
    assert [Path(kernel.image) for kernel in run.kernels] == [image]
    assert run.kernels[0].claim == "isolated"
    assert str(image) in found["root"]["repeat"]


def test_what_no_kernel_of_debians_has_is_built_for_the_checks_that_are_named(tmp_path: Path) -> None:
    """Of all profiles, in one kernel with just what these need; what else a profile has, Debian's kernels show."""
    names = ("hotplug", "rnbd", "cut-rnbd", "kunit", "init-erofs", "init-initrd", "ima-x509")
    words = [word for name in names for word in ("--check", name)]
    done = harness("run", "--kernel", *TREE, *words, "--json", tmp_path / "json")
    assert done.status == 0, done
    found = {name: result["verdict"] for name, result in results(tmp_path / "json").items()}
    assert found == dict.fromkeys(names, "pass")


def test_it_is_small_and_says_what_it_is(image: Path) -> None:
    facts = json.loads((image.parent / "build.json").read_text())
    assert facts["arch"] == "arm64"
    config = kconfig.parse((image.parent / "config").read_text())
    assert config["CONFIG_COREDUMP"] == "y"
    assert config.get("CONFIG_BTRFS_FS", "n") == "n"


def test_what_cannot_be_configured_is_named_with_what_blocks_it(tmp_path: Path) -> None:
    reasons = {
        "CONFIG_SMB_SERVER=y": "it depends on INET [=n]",
        "CONFIG_PNFS_BLOCK=y": "it cannot be set: other symbols select it",
        "CONFIG_NO_SUCH_SYMBOL=y": "has no such symbol",
    }
    fragment = tmp_path / "mine.config"
    fragment.write_text("".join(f"{line}\n" for line in reasons))
    done = harness("build", *TREE, "--check", "boot", "--fragment", fragment)
    assert done.status == 2, done
    for line, reason in reasons.items():
        (told,) = (each for each in done.err.splitlines() if f"{line} (wanted by {fragment})" in each)
        assert reason in told

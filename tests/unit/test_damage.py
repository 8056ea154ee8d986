# SPDX-License-Identifier: GPL-2.0-only
"""Every kind of damage is recognised by the mail alone, if it can be; no intact patch is ever called damaged."""

from __future__ import annotations

from pathlib import Path

import damager
import pytest
from damager import Damager
from mailed import COUNT, formatted, mails, patch, strange

from harness import damage
from harness.damage import Kind

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return mails(tmp_path_factory.mktemp("tree"), odd=True)


def kinds(mail: str | bytes) -> set[Kind]:
    raw = mail.encode("utf-8", "surrogateescape") if isinstance(mail, str) else mail
    return {each.kind for each in damage.found(patch(raw))}


def test_no_intact_patch_is_damaged(intact: list[bytes], tmp_path: Path) -> None:
    mails(tmp_path)
    for mail in [*intact, *strange(tmp_path)]:
        assert kinds(mail) == set(), mail.decode(errors="replace")


def test_none_of_this_project_is_damaged() -> None:
    if not (TOP / ".git").exists():
        pytest.skip("the project's history is not here")
    history = formatted(TOP, "--no-merges", "--max-count=40", "HEAD")
    assert history
    for mail in history:
        assert kinds(mail) == set(), mail.decode(errors="replace")[:300]


def test_blanks_cut_at_the_end_of_lines_are_no_damage(intact: list[bytes]) -> None:
    """git-apply(1) takes an empty line for an empty context line; so do editors write it."""
    assert [kinds(damager.cut(mail.decode())) for mail in intact[:COUNT]] == [set()] * COUNT


@pytest.mark.parametrize(
    "footer", ["_______\nlinux-pool mailing list\n", "\n-----BEGIN PGP SIGNATURE-----\n", "--\nMe\n"]
)
def test_what_stands_behind_a_patch_is_no_damage(intact: list[bytes], footer: str) -> None:
    for mail in intact[:COUNT]:
        assert kinds(mail.decode().rpartition("-- \n")[0] + footer) == set()


DAMAGE = [
    (damager.page, {Kind.BLANK}),
    (damager.led, {Kind.BLANK}),
    (damager.dropped, {Kind.DROPPED}),
    (damager.wrapped(66), {Kind.WRAPPED}),
    (damager.wrapped(72), {Kind.WRAPPED}),
    (damager.wrapped(80), {Kind.WRAPPED}),
    (damager.named, {Kind.WRAPPED}),
    (damager.flowed, {Kind.STUFFED, Kind.WRAPPED}),
    (damager.escaped, {Kind.ESCAPED}),
    (damager.truncated, {Kind.CUT}),
    (damager.collapsed, {Kind.COLLAPSED}),
]


@pytest.mark.parametrize(("damager", "expected"), DAMAGE)
def test_damage_is_recognised(intact: list[bytes], damager: Damager, expected: set[Kind]) -> None:
    """What a damager changes is recognised as what it is; one that changed nothing that matters left no damage."""
    seen = [kinds(damager(mail.decode())) for mail in intact[:COUNT]]
    assert set().union(*seen) == expected


def test_the_place_is_named(intact: list[bytes]) -> None:
    mail = damager.page(intact[1].decode())
    [each] = damage.found(patch(mail.encode(), 2, 8))
    assert mail.split("\n")[each.line - 1].startswith("@@ ")
    assert str(each).startswith("2/8 pool: count what is used: context lines have lost the blank before them: ")
    assert f"lib/pool.c, hunk 1, line {each.line} of the mail and 1 more (" in str(each)


def test_the_error_names_all_and_says_what_to_do(intact: list[bytes]) -> None:
    patches = [patch(damager.page(mail.decode()).encode(), n, 3) for n, mail in enumerate(intact[:3], start=1)]
    error = damage.refused([each for one in patches for each in damage.found(one)])
    assert str(error).startswith("3 patches are damaged: 1/3, 2/3, 3/3\n  cause: 1/3 pool: say who")
    assert "next:  --repair-whitespace " in str(error)
    assert str(error).endswith("b4 am 1.3@pool.example")


def test_the_error_promises_no_repair_of_what_is_lost(intact: list[bytes]) -> None:
    error = damage.refused(damage.found(patch(damager.truncated(intact[0].decode()).encode())))
    assert str(error).startswith("patch 1/1 is damaged\n")
    assert "the mail ends in the middle of it" in str(error)
    assert str(error).endswith("next:  get the mail anew: b4 am 1.1@pool.example")

# SPDX-License-Identifier: GPL-2.0-only
"""harness/kconfig.py and kconfigs/: what is wanted of a kernel, who wants it, and what a .config lacks of it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from harness import kconfig, resources
from harness.arch import ARCHES, ARM64, X86_64, Arch
from harness.errors import RequestError
from harness.kconfig import Wish
from harness.profiles import every

DIRECTORY = resources.directory("kconfigs")
PROFILES = tuple(every())
NEEDS = {"kcmp": ["KCMP"], "modprobe": ["MODULES", "SYSCTL"]}


def lines(arch: Arch, *profiles: str, needs: dict[str, list[str]] = NEEDS, more: tuple[Path, ...] = ()) -> set[str]:
    return {wish.line for wish in kconfig.wishes(arch, profiles, needs, more)}


def test_parse() -> None:
    text = """\
    CONFIG_INDENTED=y
# CONFIG_COMMENT=y
CONFIG_A=y
CONFIG_B=m\r
# CONFIG_C is not set
CONFIG_D="a = \\"b\\" # no comment"
CONFIG_E=0x10
CONFIG_F=n
CONFIG_G=
CONFIG_A=m
# CONFIG_H is not set, for a reason
CONFIG_=y
XCONFIG_I=y"""
    found = kconfig.parse(text.replace("\r\n", "\n"))
    assert found == {"CONFIG_A": "m", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": '"a = \\"b\\" # no comment"',
                     "CONFIG_E": "0x10", "CONFIG_F": "n", "CONFIG_G": ""}  # fmt: skip
    assert kconfig.parse("") == {}


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.config")), ids=lambda path: path.stem)
def test_a_fragment_of_ours_says_each_thing_once_and_in_order(path: Path) -> None:
    """Blocks begin with a comment; in each symbols are sorted."""
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-2.0-only\n# ")
    set_lines = [line for line in text.splitlines() if not line.startswith("# ")]
    assert len(set_lines) == len(set(set_lines)) == len(kconfig.fragment(path.stem))
    for block in re.split(r"(?:^# .*\n)+", text, flags=re.MULTILINE):
        assert block.splitlines() == sorted(block.splitlines())


def test_fragments_of_ours_agree() -> None:
    """And none repeats what is there anyway."""
    always = set(kconfig.fragment("guest"))
    for arch, (one, other) in itertools.product(ARCHES, itertools.combinations(PROFILES, 2)):
        first, second = kconfig.profile(one, arch), kconfig.profile(other, arch)
        assert all(first[symbol] == second[symbol] for symbol in first.keys() & second.keys()), (one, other)
        # Where two have half of it in common, a third one is missing.
        common = first.keys() & second.keys()
        assert not common or 2 * len(common) < min(len(first), len(second)), (one, other)
        assert not (always | kconfig.fragment(arch.name).keys()) & kconfig.fragment("minimal").keys()
        assert not always & (first.keys() | second.keys()), (one, other)


def test_what_only_one_architecture_has_is_wanted_only_there() -> None:
    assert "CONFIG_AMD_IOMMU=y" in lines(X86_64, "hardware")
    assert lines(ARM64, "hardware") == lines(ARM64)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_less_is_wanted_of_less(arch: Arch) -> None:
    whole = lines(arch, *PROFILES)
    for name in PROFILES:
        assert lines(arch, name) < whole
    assert lines(arch, needs={"kcmp": ["KCMP"]}) < lines(arch)
    assert lines(arch) - lines(arch, needs={}) == {"CONFIG_KCMP=y", "CONFIG_MODULES=y", "CONFIG_SYSCTL=y"}
    # The first profile is part of all.
    assert lines(arch) == lines(arch, "minimal") == lines(arch, "minimal", "minimal")
    assert "CONFIG_KALLSYMS=y" in lines(arch)
    other = kconfig.fragment(next(each for each in ARCHES if each is not arch).name).keys()
    mine = kconfig.fragment(arch.name).keys()
    assert not {wish.symbol for wish in kconfig.wishes(arch, (), {})} & (other - mine)


def test_who_wants_it() -> None:
    wanted = kconfig.wishes(X86_64, ["network"], {"a": ["INET", "KCMP"], "b": ["KCMP"]})
    by = {wish.symbol: wish.by for wish in wanted}
    assert len(by) == len(wanted)
    assert by["CONFIG_PROC_FS"] == "every guest"
    assert by["CONFIG_SERIAL_8250"] == "every guest on x86_64"
    assert by["CONFIG_BUG"] == "profile minimal"
    assert by["CONFIG_INET"] == "profile network"
    assert by["CONFIG_KCMP"] == "check a"


def test_what_a_check_needs_on_one_architecture_only() -> None:
    needs = {"a": ["PCI", "PCI_HOST_GENERIC@arm64"]}
    assert lines(ARM64, needs=needs) - lines(ARM64) >= {"CONFIG_PCI=y", "CONFIG_PCI_HOST_GENERIC=y"}
    assert not any("HOST_GENERIC" in line for line in lines(X86_64, needs=needs))


def test_the_fragment_for_merge_config() -> None:
    wanted = [Wish("CONFIG_A", "y", "one"), Wish("CONFIG_B", "n", "two"), Wish("CONFIG_C", '"x y"', "one")]
    text = kconfig.text(ARM64, wanted)
    assert "for arm64:" in text
    assert text.split("\n\n")[1:] == ['# one\nCONFIG_A=y\nCONFIG_C="x y"', "# two\n# CONFIG_B is not set\n"]
    everything = kconfig.wishes(ARM64, PROFILES, NEEDS)
    assert kconfig.parse(kconfig.text(ARM64, everything)) == {wish.symbol: wish.value for wish in everything}


def test_what_a_config_lacks() -> None:
    wanted = [Wish(f"CONFIG_{name}", value, "") for name, value in zip("ABCDEF", "yymmn1", strict=True)]
    config = {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "y", "CONFIG_D": "m", "CONFIG_F": "1"}
    assert kconfig.unmet(wanted, config) == [wanted[1]]
    assert kconfig.unmet(wanted, config | {"CONFIG_E": "y"}) == [wanted[1], wanted[4]]
    assert kconfig.unmet(wanted, {}) == [*wanted[:4], wanted[5]]


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_fragment_of_the_users(tmp_path: Path) -> None:
    one = put(tmp_path / "one", "# mine\r\nCONFIG_MINE=y\r\nCONFIG_BOTH=y\r\nCONFIG_KALLSYMS=y\r\n")
    two = put(tmp_path / "two", '# CONFIG_BOTH is not set\nCONFIG_TEXT="Grüße"\n')
    got = {wish.symbol: wish for wish in kconfig.wishes(X86_64, (), NEEDS, (one, two))}
    assert got["CONFIG_MINE"] == Wish("CONFIG_MINE", "y", str(one))
    assert got["CONFIG_BOTH"] == Wish("CONFIG_BOTH", "n", str(two))
    assert got["CONFIG_TEXT"].value == '"Grüße"'
    assert got["CONFIG_KALLSYMS"].value == "y"
    assert lines(X86_64, more=(one, two)) > lines(X86_64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# CONFIG_PROC_FS is not set\n", "has # CONFIG_PROC_FS is not set, but every guest needs CONFIG_PROC_FS=y"),
        ("CONFIG_SERIAL_8250=n\n", "but every guest on x86_64 needs CONFIG_SERIAL_8250=y"),
        ("CONFIG_BUG=n\n", "but profile minimal needs CONFIG_BUG=y"),
        ("CONFIG_KCMP=m\n", "has CONFIG_KCMP=m, but check kcmp needs CONFIG_KCMP=y"),
    ],
)
def test_a_fragment_that_contradicts(tmp_path: Path, text: str, message: str) -> None:
    first, path = put(tmp_path / "first", "CONFIG_KCMP=y\nCONFIG_BUG=y\n"), put(tmp_path / "mine", text)
    for more in ((path,), (first, path)):
        with pytest.raises(RequestError) as caught:
            kconfig.wishes(X86_64, (), NEEDS, more)
        assert caught.value.what == f"{path} {message}" or caught.value.what.endswith(message)
        assert "mine" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot be read"),
        (b"CONFIG_A=\xff\n", "cannot be read"),
        (b"", "sets no symbol"),
        (b"A=y\n config B\n# CONFIG_C\n", "sets no symbol"),
    ],
)
def test_a_fragment_that_is_none(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "mine"
    if data is not None:
        put(path, data)
    with pytest.raises(RequestError, match=message) as caught:
        kconfig.wishes(X86_64, (), {}, (path,))
    assert str(path) in caught.value.what
    with pytest.raises(RequestError, match="cannot be read"):
        kconfig.wishes(X86_64, (), {}, (tmp_path,))


def test_a_profile_that_is_none() -> None:
    with pytest.raises(RequestError, match="'big' is not a profile") as caught:
        kconfig.wishes(X86_64, ("storage", "big"), {})
    assert caught.value.hint.startswith("one of: minimal, storage, network, debug, kunit, ")

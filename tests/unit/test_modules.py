# SPDX-License-Identifier: GPL-2.0-only
"""harness/modules.py: Debian's modules with ``boots``, and made-up ones for what no distribution would ship."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness import agent, cache, initramfs, kernel, modules
from harness.arch import ARCHES, ARM64, Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.kernel import Kernel
from harness.lab import MINIMAL

RELEASE = "7.3.4-test"
DEBUG = b"debug" * 1000


def soon() -> Deadline:
    return Deadline.after(600)


def module(depends: str = "", soft: str = "", release: str = RELEASE, machine: int = 183) -> bytes:
    """An ELF file with what is read of a module, and a debug section: no code, no symbols."""
    info = f"license=GPL\0depends={depends}\0{soft and f'softdep={soft}'}\0vermagic={release} SMP aarch64\0".encode()
    names = b"\0.modinfo\0.debug_info\0.shstrtab\0"
    bodies = {".modinfo": (1, 2, info), ".debug_info": (1, 0, DEBUG), ".shstrtab": (3, 0, names)}
    data, heads = bytes(64), [bytes(64)]
    for name, (kind, flags, body) in bodies.items():
        place = names.index(name.encode())
        heads.append(modules.SECTION.pack(place, kind, flags, 0, len(data), len(body), 0, 0, 1, 0))
        data += body
    data += bytes(-len(data) % 8)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = ident + struct.pack("<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, len(data), 0, 64, 0, 0, 64, 4, 3)
    return head + data[64:] + b"".join(heads)


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def made_up(tmp_path: Path, files: dict[str, bytes], config: dict[str, str] | None = None) -> Kernel:
    """A kernel with such files below kernel/."""
    top = tmp_path / "lib/modules" / RELEASE
    for name, body in files.items():
        path = top / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return Kernel("spec", top / "Image", top / "Image", ARM64, RELEASE, top, config)


def names(kernel: Kernel, *wanted: str) -> list[str]:
    return [each.name for each in modules.closure(kernel, wanted, soon())]


@pytest.mark.usefixtures("own_cache")
def test_what_is_needed_is_loaded_before(tmp_path: Path) -> None:
    kernel = made_up(
        tmp_path,
        {
            "one-1.ko": module("two_2,three", soft="pre: soft inside absent post: unasked"),
            "two_2.ko": module("four-4,inside"),
            "four_4.ko": module(),
            "soft.ko": module("four-4"),
            "three.ko": module(),
            "inside.ko": module(),  # left over
            "unasked.ko": module(),
        },
        {"CONFIG_THREE": "y"},
    )
    assert kernel.modules is not None
    (kernel.modules / "modules.builtin").write_text("kernel/lib/in-side.ko\nkernel/lib/inside.ko\n")
    found = names(kernel, "one_1")
    assert sorted(found) == ["four_4", "one_1", "soft", "three", "two_2"]
    assert found.index("four_4") < min(found.index("soft"), found.index("two_2"))
    assert found[-1] == "one_1"
    loadable = modules.closure(kernel, ["one-1", "one_1"], soon())
    assert [each.name for each in loadable] == found
    dep = modules.modules_dep(loadable)
    assert modules.load_order(dep, "one_1") == [f"kernel/{name}.ko" for name in (*_needs(dep, "one-1"), "one-1")]
    needs = _needs(dep, "one-1")
    assert sorted(needs) == ["four_4", "soft", "three", "two_2"]
    assert needs.index("four_4") < min(needs.index("soft"), needs.index("two_2"))
    assert modules.load_order(dep, "two-2") == ["kernel/four_4.ko", "kernel/two_2.ko"]
    assert modules.load_order(dep, "soft") == ["kernel/four_4.ko", "kernel/soft.ko"]
    assert modules.load_order(dep, "unasked") == []
    assert names(kernel) == names(kernel, "absent") == names(kernel, "three") == names(kernel, "in-side") == []
    assert [modules.built_in(kernel, name) for name in ("in_side", "three", "one_1")] == [True, True, False]


def _needs(dep: str, name: str) -> list[str]:
    line = next(line for line in dep.splitlines() if line.startswith(f"kernel/{name}.ko:"))
    return [path.removeprefix("kernel/").removesuffix(".ko") for path in reversed(line.split()[1:])]


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.ko": module("b"), "b.ko": module("gone")}, ["the module b of 7.3.4-test needs gone", "gone.ko below"]),
        ({"a.ko": module("b"), "b.ko": module("c"), "c.ko": module("b")}, ["need each other: ", "b -> c", "c -> b"]),
        ({"a.ko": module(soft="pre: a")}, ["need each other: a -> a"]),
        ({"a.ko": module(release="7.3.5")}, ["a.ko is a module of 7.3.5 for AARCH64, not of 7.3.4-test"]),
        ({"a.ko": module(machine=62)}, ["a.ko is a module of 7.3.4-test for X86_64, not of 7.3.4-test"]),
        ({"a.ko": module("b"), "b.ko": b""}, ["b.ko is no kernel module"]),
        ({"a.ko": b"hello"}, ["a.ko is no kernel module, or a damaged one"]),
        ({"a.ko": module()[:-1]}, ["a.ko is no kernel module, or a damaged one"]),
        ({"a.ko": module()[:70]}, ["a.ko is no kernel module, or a damaged one"]),
        ({"a.ko": module().replace(b"vermagic", b"verdigris")}, ["a.ko is no kernel module", "has no vermagic"]),
        ({"a.ko": module(release="")[:]}, ["a.ko is a module of SMP"]),
        ({"a.ko.xz": module()}, ["a.ko.xz is no kernel module, or a damaged one"]),
        ({"a.ko.xz": lzma.compress(module())[:-9]}, ["a.ko.xz is no kernel module, or a damaged one"]),
        ({"a.ko.gz": gzip.compress(module())[:-9]}, ["a.ko.gz is no kernel module, or a damaged one"]),
    ],
)
def test_modules_that_cannot_be_loaded(tmp_path: Path, files: dict[str, bytes], words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        names(made_up(tmp_path, files), "a")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


@pytest.mark.usefixtures("own_cache")
def test_one_in_updates_goes_before_the_kernels_own(tmp_path: Path) -> None:
    kernel = made_up(tmp_path, {"a.ko": module(), "../updates/a.ko.xz": lzma.compress(module())})
    [found] = modules.closure(kernel, ["a"], soon())
    assert found.path == "updates/a.ko.xz"


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c", "-q"], input=data, capture_output=True, check=True).stdout


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("ending", "symbol", "pack"), [("gz", "GZIP", gzip.compress), ("xz", "XZ", lzma.compress), ("zst", "ZSTD", zstd)]
)
def test_a_module_stays_compressed_if_its_kernel_unpacks_it(
    tmp_path: Path, ending: str, symbol: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "zst" and shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    packed, top = pack(module()), f"usr/lib/modules/{RELEASE}"
    both = {"CONFIG_MODULE_DECOMPRESS": "y", f"CONFIG_MODULE_COMPRESS_{symbol}": "y"}
    for config in (None, *({name: "y"} for name in both)):
        kernel = made_up(tmp_path, {f"a.ko.{ending}": packed}, config)
        made = modules.files(kernel, modules.closure(kernel, ["a"], soon()), soon())
        assert made == {
            f"{top}/kernel/a.ko": modules.slim(module()),
            f"{top}/modules.dep": b"kernel/a.ko:\n",
        }
    kernel = made_up(tmp_path, {}, both)
    made = modules.files(kernel, modules.closure(kernel, ["a"], soon()), soon())
    assert made == {f"{top}/kernel/a.ko.{ending}": packed, f"{top}/modules.dep": f"kernel/a.ko.{ending}:\n".encode()}
    made_up(tmp_path, {"b.ko": module()})
    assert modules.slim(module()) in modules.files(kernel, modules.closure(kernel, ["b"], soon()), soon()).values()
    if ending == "zst":
        made_up(tmp_path, {f"a.ko.{ending}": packed[:-5]})
        with pytest.raises(RequestError, match=r"a\.ko\.zst is no kernel module, or a damaged one"):
            names(kernel, "a")
        monkeypatch.setenv("PATH", str(_only(tmp_path / "bin", "setpriv")))
        with pytest.raises(HostError, match=r"a\.ko\.zst cannot be unpacked: zstd is not installed") as caught:
            names(kernel, "a")
        assert caught.value.hint == "apt-get install zstd"


def _only(directory: Path, program: str) -> Path:
    directory.mkdir()
    (directory / program).symlink_to(shutil.which(program) or "")
    return directory


def test_debug_sections_are_left_behind() -> None:
    whole = module("b")
    made = modules.slim(whole)
    assert len(whole) - len(made) in range(len(DEBUG) - 8, len(DEBUG) + 8)
    before, after = (list(ELFFile(io.BytesIO(data)).iter_sections()) for data in (whole, made))
    assert [each.name for each in after] == [each.name for each in before]
    assert [str(each["sh_type"]) for each in after] == ["SHT_NULL", "SHT_PROGBITS", "SHT_NULL", "SHT_STRTAB"]
    assert [each.data() for each in (after[1], after[3])] == [each.data() for each in (before[1], before[3])]
    assert modules.slim(made) == made
    signed = whole + b"signature" + modules.SIGNED
    assert modules.slim(signed) == signed


def test_what_was_found_is_kept_until_a_file_changes(tmp_path: Path, own_cache: Path) -> None:
    kernel = made_up(tmp_path, {"a.ko": module("b"), "b.ko": module()})
    assert kernel.modules is not None
    assert names(kernel, "a") == ["b", "a"]
    [kept] = (own_cache / "modules").iterdir()
    before = kept.stat().st_mtime_ns
    assert names(kernel, "a") == ["b", "a"]
    assert kept.stat().st_mtime_ns == before
    kept.write_text("[{}]")
    assert names(kernel, "a") == ["b", "a"]
    made_up(tmp_path, {"b.ko": module("c"), "c.ko": module()})
    assert names(kernel, "a") == ["c", "b", "a"]
    (kernel.modules / "modules.builtin").write_text("kernel/b.ko\n")
    assert names(kernel, "a") == ["a"]
    (kernel.modules / "modules.builtin").unlink()
    (kernel.modules / "kernel/b.ko").unlink()
    with pytest.raises(RequestError, match="the module a of "):
        names(kernel, "a")
    assert names(kernel, "late") == []
    made_up(tmp_path, {"late.ko": module()})
    (kernel.modules / "modules.order").write_text("kernel/late.ko\n")
    assert names(kernel, "late") == ["late"]


@pytest.mark.boots
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_debians_modules(arch: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [cloud] = kernel.resolve("debian:isolated", [arch], soon())
    base = agent.image(arch, soon())
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    shutil.copytree(base.parents[1] / "initramfs", tmp_path / "initramfs")
    assert cloud.modules is not None
    found = modules.closure(cloud, ["btrfs", "cifs", "ksmbd"], soon())
    after = {each.name: each.after for each in found}
    assert set(after["btrfs"]) >= {"xor", "raid6_pq"}
    assert set(after["ksmbd"]) >= {"gcm", "ccm", "libarc4"}  # two of them by softdep
    # All are real, in order, and packed as they are.
    seen: set[str] = set()
    for each in found:
        assert set(each.after) <= seen
        assert each.place.endswith(".ko.xz")
        seen.add(each.name)
    made = modules.files(cloud, found, soon())
    top = f"usr/lib/modules/{cloud.release}"
    assert set(made) == {f"{top}/{each.place}" for each in found} | {f"{top}/modules.dep"}
    for each in found:
        assert made[f"{top}/{each.place}"] == (cloud.modules / each.path).read_bytes()
    dep = made[f"{top}/modules.dep"].decode()
    for each in found:
        order = modules.load_order(dep, each.name)
        assert order[-1] == each.place
        places = {one.name: one.place for one in found}
        assert {places[name] for name in each.after} <= set(order[:-1])
    # The image has them behind all that it had before, and is made once.
    image = agent.image_with(cloud, ["btrfs"], MINIMAL, soon())
    before = image.stat()
    assert agent.image_with(cloud, ["btrfs"], MINIMAL, soon()).stat() == before
    assert image.read_bytes().startswith(base.read_bytes())
    assert b"/btrfs.ko.xz\0" in image.read_bytes()
    assert b"/cifs.ko.xz\0" not in image.read_bytes()
    # Nothing to load: the very image that all kernels share.
    for wanted in ((), ("test_firmware",), ("no_such_module",)):
        assert agent.image_with(cloud, wanted, MINIMAL, soon()) == agent.image(arch, soon())


def test_directories_come_before_what_is_in_them() -> None:
    archive = initramfs.tree({"a/b/c": b"1", "a/d": b"2"})
    entries = archive.entries
    assert initramfs.join(b"image", [archive]) == b"image\0\0\0" + archive.pack()
    assert [(entry.path, entry.mode, entry.body) for entry in entries] == [
        ("a", 0o40755, b""),
        ("a/b", 0o40755, b""),
        ("a/b/c", 0o100644, b"1"),
        ("a/d", 0o100644, b"2"),
    ]

# SPDX-License-Identifier: GPL-2.0-only
"""harness/tree.py and git.py: trees without git, trees with something wrong, and what a build has left in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from trees import FILES, MAKEFILE, checkout, git, look, names, own_cache, put, user, write

from harness import tree
from harness.errors import HarnessError, HostError, RequestError

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


def packed(top: Path, archive: Path) -> Path:
    subprocess.run(["tar", "-caf", archive, "-C", top.parent, "--exclude=.git", top.name], check=True)
    return archive


#: What `make` leaves in a tree, and what is of the tree though it looks like it.
PRODUCTS = """.config .config.old vmlinux vmlinux.o vmlinux.symvers System.map Module.symvers modules.order
modules.builtin .tmp_vmlinux0 include/config/auto.conf include/config/X include/generated/autoconf.h
include/generated/uapi/x.h arch/x86/include/generated/asm/x.h
arch/x86/include/generated/uapi/asm/y.h arch/x86/boot/bzImage arch/x86/boot/.bzImage.cmd init/main.o
init/.main.o.cmd init/built-in.a init/x.mod.c init/x.mod init/x.ko kernel/bounds.s
scripts/kconfig/x.lex.c scripts/kconfig/conf scripts/kconfig/.conf.cmd scripts/basic/fixdep
scripts/basic/.fixdep.cmd init/.main.o.d"""
SOURCES = """arch/x86/kernel/vmlinux.lds.S arch/x86/boot/compressed/vmlinux.lds.S scripts/kconfig/conf.c scripts/config
include/config.h scripts/module.lds.S Documentation/x.d kernel/configs/tiny.config lib/.gitignore init/x.S"""


@pytest.mark.parametrize("form", ["directory", "archive"])
def test_a_tree_that_was_built_in(tmp_path: Path, form: str) -> None:
    plain = put(tmp_path / "linux", FILES | dict.fromkeys(SOURCES.split(), "source\n") | {".gitignore": "/*\n"})
    wanted = look(plain, plain)
    assert names(wanted).keys() == FILES.keys() | set(SOURCES.split())
    put(plain, dict.fromkeys(PRODUCTS.split(), "made\n"))
    spec = packed(plain, tmp_path / "l.tar.gz") if form == "archive" else plain
    found = look(spec, plain)
    assert names(found).keys() == names(wanted).keys()
    assert found.oid == wanted.oid
    if form == "archive":
        source = found.home / "slots/0/source"
        assert {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()} == names(found).keys()


def test_an_archive_that_changes(tmp_path: Path) -> None:
    plain = put(tmp_path / "linux", FILES)
    archive = packed(plain, tmp_path / "l.tar.xz")
    first = look(archive, plain)
    write(plain / "init/main.c", "int changed;\n")
    packed(plain, archive)
    second = look(archive, plain)
    assert second.home == first.home
    assert second.oid != first.oid
    assert look(archive) == second


@pytest.mark.parametrize("ending", tree.ARCHIVES)
def test_an_archive_that_is_damaged(tmp_path: Path, own_cache: Path, ending: str) -> None:
    if ending == ".tar.zst" and not shutil.which("zstd"):
        with pytest.raises(HostError, match="cannot be unpacked") as lacking:
            look(put(tmp_path, {f"x{ending}": "(\xb5/\xfd"}) / f"x{ending}")
        assert "zstd" in lacking.value.hint
        return
    archive = packed(put(tmp_path / "linux", FILES | {"big": os.urandom(100000).hex()}), tmp_path / f"x{ending}")
    archive.write_bytes(archive.read_bytes()[:50000])
    with pytest.raises(RequestError, match=rf"x{ending} cannot be unpacked") as caught:
        look(archive)
    assert caught.value.cause
    assert list((own_cache / "tmp").iterdir()) == []


def test_archives_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = tmp_path / "both.tar"
    put(tmp_path / "index", FILES)
    put(tmp_path / "two", FILES)
    subprocess.run(["tar", "-cf", both, "-C", tmp_path, "index", "two"], check=True)
    with pytest.raises(RequestError, match="is not an archive of one kernel source tree") as caught:
        look(both)
    assert caught.value.cause == "in it: index, two"
    subprocess.run(["tar", "-cf", tmp_path / "none.tar", "-T", "/dev/null"], check=True)
    with pytest.raises(RequestError) as caught:
        look(tmp_path / "none.tar")
    assert caught.value.cause == "in it: nothing"
    (tmp_path / "two/scripts/kconfig/merge_config.sh").unlink()
    with pytest.raises(RequestError, match=r"it has no scripts/kconfig/merge_config\.sh$"):
        look(packed(tmp_path / "two", tmp_path / "two.tar"))
    one = packed(tmp_path / "index", tmp_path / "one.tar.gz")
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=main.c")
    assert names(look(one)).keys() == FILES.keys()


@pytest.mark.parametrize("mark", tree.MARKS)
@pytest.mark.parametrize("form", ["checkout", "directory", "revision"])
def test_what_a_kernel_tree_has(tmp_path: Path, mark: str, form: str) -> None:
    lacking = {name: text for name, text in FILES.items() if name != mark}
    user = put(tmp_path / "linux", lacking) if form == "directory" else checkout(tmp_path / "linux", lacking)
    with pytest.raises(RequestError, match="is not a kernel source tree") as caught:
        look(f"{user}@HEAD" if form == "revision" else user, user)
    assert caught.value.what.endswith(f"it has no {mark}")


def test_a_makefile_without_a_version(tmp_path: Path) -> None:
    user = checkout(tmp_path / "linux", FILES | {"Makefile": "all:\n"})
    with pytest.raises(RequestError, match="its Makefile has no VERSION and PATCHLEVEL"):
        look(user, user)
    write(user / "Makefile", MAKEFILE.replace("SUBLEVEL = 0\n", "SUBLEVEL =\n").replace("-rc1", ""))
    assert look(user, user).release == "7.3"


def test_nothing_there(tmp_path: Path) -> None:
    for spec in (tmp_path / "absent", f"{tmp_path}/absent@v7.3"):
        with pytest.raises(RequestError, match="does not exist") as caught:
            look(spec)
        assert caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"has no Kbuild, Kconfig, Makefile, scripts/kconfig/merge_config\.sh$"):
        look(tmp_path / "empty", tmp_path / "empty")


OURS, THEIRS = "<<<<<<< HEAD\nint ours;\n", "=======\nint theirs;\n>>>>>>> topic\n"


def test_conflict_markers(user: Path) -> None:
    git(user, "checkout", "-q", "-b", "topic")
    write(user / "init/main.c", "int theirs;\n")
    git(user, "commit", "-qam", "theirs")
    git(user, "checkout", "-q", "master")
    write(user / "init/main.c", "\f\nint ours;\n")
    git(user, "commit", "-qam", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(user, "merge", "-q", "topic")
    with pytest.raises(RequestError, match="has a merge conflict in it") as caught:
        look(user, user)
    assert caught.value.cause == "init/main.c:1: <<<<<<< HEAD"
    assert "PATH@HEAD" in caught.value.hint
    assert look(f"{user}@HEAD", user).oid == git(user, "rev-parse", "HEAD^{tree}")


def test_what_only_looks_like_a_conflict(user: Path) -> None:
    put(user, {"doc.rst": f"how to merge\n{OURS}{THEIRS}"})
    git(user, "add", ".")
    git(user, "commit", "-qm", "more")
    write(user / "init/main.c", "int changed;\n")
    look(user, user)  # that file is as it was
    for text in (OURS, THEIRS, f" {OURS}", "<<<<<<<\n>>>>>>>\n"):
        write(user / "init/main.c", text)
        look(user, user)
    put(user, {"two.c": OURS, "three.c": THEIRS})
    look(user, user)
    write(user / "init/main.c", f"int a;\n{OURS}{THEIRS}")
    with pytest.raises(RequestError) as caught:
        look(user, user)
    assert caught.value.cause == "init/main.c:2: <<<<<<< HEAD"


def test_repositories_in_it(user: Path) -> None:
    """They are not of the tree: git says so, and so does this."""
    checkout(user / "drivers/mine", {"mine.c": "int mine;\n"})
    found = look(user, user)
    assert names(found)["drivers/mine"] == "160000"
    git(user / "drivers", "init", "-q", "empty")
    with pytest.raises(HarnessError):
        look(user, user)

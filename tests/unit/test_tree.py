# SPDX-License-Identifier: GPL-2.0-only
"""harness/tree.py and git.py: what is in a tree, in whatever it comes, and that nothing of the user's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from trees import FILES, MAKEFILE, ODD, checkout, git, look, names, put, soon, write

from harness import cache, tree
from harness.errors import HarnessError, HostError, RequestError


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache and a home of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", *(name for name in os.environ if name.startswith("GIT_"))):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A clean checkout."""
    return checkout(tmp_path / "linux")


def packed(top: Path, archive: Path) -> Path:
    subprocess.run(["tar", "-caf", archive, "-C", top.parent, "--exclude=.git", top.name], check=True)
    return archive


def test_a_clean_checkout_is_its_commit(user: Path) -> None:
    found = look(user, user)
    assert found.oid == git(user, "rev-parse", "HEAD^{tree}")
    assert found.described == found.short == git(user, "rev-parse", "--short=12", "HEAD")
    assert (found.release, found.spec) == ("7.3.0-rc1", str(user))
    assert found.read("init/main.c", soon()) == "int main;\n"
    assert look(user, user) == found


def test_what_lies_there_counts(user: Path) -> None:
    before = look(user).oid
    write(user / "init/main.c", "int changed;\n")
    write(user / "init/new.c", "int new;\n")
    git(user, "add", write(user / "init/staged.c", "int staged;\n"))
    write(user / "init/staged.c", "int later;\n")
    write(user / "init/ignored.o", "x")
    (user / "Kbuild").chmod(0o755)
    (user / "link").symlink_to("nowhere")
    put(user, {"gone.c": "x"})
    git(user, "add", "gone.c")
    (user / "gone.c").unlink()
    found = look(user, user)
    assert found.oid != before
    assert found.described == f"{git(user, 'rev-parse', '--short=12', 'HEAD')} (dirty)"
    assert found.short == found.oid[:12]
    modes = dict.fromkeys(FILES, "100644") | {"scripts/kconfig/merge_config.sh": "100755", "Kbuild": "100755"}
    modes |= {"init/new.c": "100644", "init/staged.c": "100644", "link": "120000"}
    assert names(found) == modes
    assert found.read("init/main.c", soon()) == "int changed;\n"
    assert found.read("init/staged.c", soon()) == "int later;\n"
    (user / "init/main.c").unlink()
    assert "init/main.c" not in names(look(user, user))
    git(user, "clean", "-fdxq")
    git(user, "reset", "-q", "--hard")
    assert look(user, user).oid == before


def test_odd_names(user: Path, tmp_path: Path) -> None:
    put(user, dict.fromkeys(ODD, "int odd;\n"))
    assert names(look(user, user)).keys() == {*FILES, *ODD}
    shutil.copytree(user, tmp_path / "plain", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    plain = look(tmp_path / "plain", tmp_path / "plain")
    assert names(plain).keys() == {*FILES, *ODD}
    for name in ODD[:-1]:
        put(user, {name: "<<<<<<< ours\n=======\n>>>>>>> theirs\n"})
        with pytest.raises(RequestError, match="has a merge conflict in it"):
            look(user, user)
        put(user, {name: "int odd;\n"})


def test_the_same_content_is_the_same_tree(user: Path, tmp_path: Path) -> None:
    wanted = look(user).oid
    shutil.copytree(user, tmp_path / "plain", ignore=shutil.ignore_patterns(".git"))
    git(user, "worktree", "add", "-q", tmp_path / "worktree", "-b", "other")
    git(tmp_path, "clone", "-q", "--bare", user, tmp_path / "bare.git")
    specs: list[Path | str] = [tmp_path / "plain", tmp_path / "worktree", f"{tmp_path}/bare.git@master"]
    specs += [packed(user, tmp_path / name) for name in ("l.tar", "l.tar.gz", "l.tar.xz", "l.txz", "l.tar.bz2")]
    specs += [f"{user}@HEAD", f"{tmp_path}/worktree@other"]
    for spec in specs:
        found = look(spec, user, tmp_path / "worktree", tmp_path / "plain", tmp_path / "bare.git")
        assert (found.oid, found.release) == (wanted, "7.3.0-rc1"), spec
    git(tmp_path / "worktree", "rm", "-q", "-f", "init/main.c")
    assert look(tmp_path / "worktree", user, tmp_path / "worktree").oid != wanted
    assert look(user, user).oid == wanted


def test_revisions(tmp_path: Path) -> None:
    user = checkout(tmp_path / "me@home" / "linux@work")
    first = look(user, user).oid
    write(user / "init/main.c", "int second;\n")
    git(user, "commit", "-qam", "second")
    git(user, "tag", "-a", "-m", "x", "v1@x")
    write(user / "init/main.c", "int dirty;\n")
    second = git(user, "rev-parse", "HEAD^{tree}")
    for revision in ("HEAD", "@", "@{0}", "v1@x", "master^0", second):
        assert look(f"{user}@{revision}", user).oid == second, revision
    for revision in ("HEAD~1", "master@{1}", "HEAD^{/first}", first):
        assert look(f"{user}@{revision}", user).oid == first, revision
    for revision in ("absent", "--all", "HEAD:init/main.c", "master@{99}", "HEAD:init", "-"):
        with pytest.raises(RequestError):
            look(f"{user}@{revision}", user)
    with pytest.raises(RequestError, match=r"linux@work has no revision 'absent'"):
        look(f"{user}@absent", user)
    assert tree.split(f"{user}@v1@x") == (user, "v1@x")


def test_a_bare_repository_needs_a_revision(user: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", user, tmp_path / "bare.git")
    with pytest.raises(RequestError, match="is a bare repository") as caught:
        look(tmp_path / "bare.git", tmp_path / "bare.git")
    assert "bare.git@" in caught.value.hint


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    user = put(tmp_path / "linux", FILES)
    git(user, "init", "-q")
    write(user / "x.o", "ignored")
    found = look(user, user)
    assert (names(found).keys(), found.described) == (FILES.keys(), "")
    git(user, "add", "-f", "x.o")
    assert names(look(user, user)).keys() == {*FILES, "x.o"}


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    user = checkout(tmp_path / "linux")
    assert len(look(user, user).oid) == 40
    shutil.rmtree(user)
    checkout(user, form="sha256")
    found = look(user, user)
    assert found.oid == git(user, "rev-parse", "HEAD^{tree}")
    assert len(found.oid) == 64
    write(user / "init/main.c", "int changed;\n")
    assert look(user, user).described.endswith("(dirty)")


def test_what_the_index_says_of_files(user: Path) -> None:
    """It is asked which files there are, never what is in them."""
    put(user, {"kept.o": "tracked though ignored\n", "init/other.c": "int other;\n"})
    git(user, "add", "-f", ".")
    git(user, "commit", "-qm", "more")
    before = look(user, user).oid
    assert before == git(user, "rev-parse", "HEAD^{tree}")
    git(user, "update-index", "--assume-unchanged", "init/main.c")
    git(user, "update-index", "--skip-worktree", "init/other.c")
    write(user / "init/main.c", "int changed;\n")
    write(user / "init/other.c", "int changed;\n")
    for _ in range(2):
        found = look(user, user)
        assert found.read("init/main.c", soon()) == "int changed;\n"
        assert found.read("init/other.c", soon()) == "int changed;\n"
        write(user / "init/main.c", "int changed;\n")
    git(user, "add", "-f", write(user / "late.o", "tracked later"))
    assert {"kept.o", "late.o"} <= names(look(user, user)).keys()
    git(user, "rm", "-q", "--cached", "kept.o")
    assert "kept.o" not in names(look(user, user))


def test_a_split_index(user: Path) -> None:
    put(user, {"kept.o": "tracked though ignored\n"})
    git(user, "add", "-f", ".")
    git(user, "commit", "-qm", "more")
    git(user, "update-index", "--split-index")
    write(user / "init/main.c", "int changed;\n")
    git(user, "add", write(user / "init/new.c", "int new;\n"))
    assert list((user / ".git").glob("sharedindex.*"))
    for _ in range(2):
        found = look(user, user)
        assert names(found).keys() == {*FILES, "kept.o", "init/new.c"}
        assert found.read("init/main.c", soon()) == "int changed;\n"


@pytest.mark.parametrize("index", ["--no-sparse-index", "--sparse-index"])
def test_a_sparse_checkout(user: Path, index: str) -> None:
    put(user, {"sound/core.c": "int sound;\n", "net/core.c": "int net;\n"})
    git(user, "add", ".")
    git(user, "commit", "-qm", "more")
    whole = git(user, "rev-parse", "HEAD^{tree}")
    assert look(user, user).oid == whole
    git(user, "sparse-checkout", "set", "--cone", index, "init", "scripts", "arch")
    assert not (user / "sound").exists()
    assert look(user, user).oid == whole
    write(user / "init/main.c", "int changed;\n")
    found = look(user, user)
    assert {"sound/core.c", "net/core.c"} <= names(found).keys()
    assert found.read("init/main.c", soon()) == "int changed;\n"
    git(user, "sparse-checkout", "disable")
    write(user / "sound/core.c", "int changed;\n")
    assert look(user, user).read("sound/core.c", soon()) == "int changed;\n"


def test_a_damaged_index(user: Path) -> None:
    put(user, {"kept.o": "tracked though ignored\n"})
    git(user, "add", "-f", ".")
    git(user, "commit", "-qm", "more")
    wanted = git(user, "rev-parse", "HEAD^{tree}")
    index = user / ".git/index"
    index.write_bytes(index.read_bytes()[:100])
    assert look(user, user).oid == wanted
    home = look(user).home
    (home / "index").write_bytes(b"DIRC")
    (home / "index.lock").write_bytes(b"")
    assert look(user, user).oid == wanted


def test_locks_of_the_users_git(user: Path) -> None:
    wanted = look(user).oid
    for name in ("index.lock", "HEAD.lock", "config.lock"):
        (user / ".git" / name).write_text("")
    assert look(user, user).oid == wanted


def test_what_the_users_settings_ignore(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(user, {"a.info": "", "b.global": "", "c.default": "", "d.c": ""})
    (user / ".git/info/exclude").write_text("*.info\n")
    put(tmp_path / "home", {".config/git/ignore": "*.default\n"})
    assert names(look(user, user)).keys() == {*FILES, "b.global", "d.c"}
    git(user, "worktree", "add", "-q", tmp_path / "worktree")
    put(tmp_path / "worktree", {"a.info": "", "d.c": ""})
    assert names(look(tmp_path / "worktree", user)).keys() == {*FILES, "d.c"}
    put(tmp_path / "home", {"globally": "*.global\n", ".gitconfig": "[core]\nexcludesFile = ~/globally\n"})
    assert names(look(user, user)).keys() == {*FILES, "c.default", "d.c"}
    # Started by a hook of another repository.
    monkeypatch.setenv("GIT_DIR", str(checkout(tmp_path / "other") / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other/.git/index"))
    assert names(look(user, user, tmp_path / "other")).keys() == {*FILES, "c.default", "d.c"}
    write(user / ".gitignore", "d.c\n")
    assert names(look(user, user)).keys() == {*FILES, "c.default"}


def test_programs_of_the_user_are_not_started(user: Path, tmp_path: Path) -> None:
    trap = put(tmp_path, {"trap": f"#!/bin/sh\necho $0 >{tmp_path}/sprung\ncat\n"}) / "trap"
    for name in ("core.fsmonitor", "filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.external"):
        git(user, "config", name, str(trap))
    home = f'[core]\nfsmonitor = {trap}\n[filter "x"]\nclean = {trap}\n'
    put(tmp_path / "home", {".config/git/attributes": "* filter=x\n", ".gitconfig": home})
    put(user, {".gitattributes": "*.c filter=x text eol=crlf\n"})
    hooks = user / ".git/hooks"
    for name in ("post-index-change", "post-checkout", "reference-transaction"):
        put(hooks, {name: trap.read_text()})
    write(user / "init/main.c", "int changed;\n")
    assert look(user, user).read("init/main.c", soon()) == "int changed;\n"
    assert not (tmp_path / "sprung").exists()


def test_objects_that_the_users_repository_no_longer_has(user: Path) -> None:
    git(user, "add", write(user / "init/new.c", "int new;\n"))
    wanted = look(user, user).oid
    git(user, "reset", "-q")
    git(user, "gc", "-q", "--prune=now")
    found = look(user, user)
    assert found.oid == wanted
    assert found.read("init/new.c", soon()) == "int new;\n"


def test_a_path_that_is_odd_itself(tmp_path: Path) -> None:
    for name in ("a b", 'quo"te\\', "Zürich", "#x", "c:d"):
        user = checkout(tmp_path / name)
        assert look(user, user).oid == git(user, "rev-parse", "HEAD^{tree}"), name
        write(user / "init/main.c", "int changed;\n")
        assert look(user, user).read("init/main.c", soon()) == "int changed;\n"
    for name in ("new\nline", "latin\udcff"):
        user = checkout(tmp_path / name)
        found = look(user, user)
        assert (found.oid, found.described) == (git(user, "rev-parse", "HEAD^{tree}"), "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_somebody_else(user: Path) -> None:
    wanted = git(user, "rev-parse", "HEAD^{tree}")
    for path in (user, *user.rglob("*")):
        os.lchown(path, 12345, 12345)
    write(user / "init/x.o", "ignored")
    found = look(user, user)
    assert (found.oid, bool(found.described)) == (wanted, True)


def test_a_directory_in_somebodys_repository_is_no_checkout(tmp_path: Path) -> None:
    outer = checkout(tmp_path / "outer", {"README": "x\n", ".gitignore": "linux/\n"})
    put(outer / "linux", FILES)
    found = look(outer / "linux", outer)
    assert (names(found).keys(), found.described) == (FILES.keys(), "")
    with pytest.raises(RequestError, match="is no git repository, so it has no revision HEAD"):
        look(f"{outer}/linux@HEAD", outer)


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

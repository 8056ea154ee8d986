# SPDX-License-Identifier: GPL-2.0-only
"""harness/tree.py and git.py: what is in a tree, in whatever it comes, and that nothing of the user's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from trees import FILES, ODD, checkout, git, look, names, own_cache, put, soon, user, write

from harness import tree
from harness.errors import RequestError

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")


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

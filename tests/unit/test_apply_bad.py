# SPDX-License-Identifier: GPL-2.0-only
"""Series that want what they may not: all of the user's files stay as they were, and nothing else is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from topics import LINES, applied, commit, hows, made, mails, series, topic
from trees import git, names, own_cache, put, user

from harness.errors import RequestError

__all__ = ["own_cache", "user"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_cache")

NEW = """\
From: a <a@b>
Subject: [PATCH 2/2] bad

---
diff --git a/fs/c.c b/fs/c.c
new file mode {mode}
index 0000000..1234567
--- /dev/null
+++ b/fs/c.c
@@ -0,0 +1 @@
+{text}
"""


def mail(path: str, text: str = "int evil;", mode: str = "100644") -> bytes:
    """One that makes a file."""
    return NEW.format(mode=mode, text=text).replace("fs/c.c", path).encode()


def good(top: Path) -> bytes:
    [text] = mails(top, f"{commit(top, {'fs/a.c': LINES})}~1..HEAD")
    git(top, "reset", "-q", "--hard", "HEAD~1")
    return text


@pytest.mark.parametrize(
    "path",
    ["../../x", "/tmp/x", "fs/../../x", ".git/hooks/pre-commit", ".GIT/config", "git~1/config", "fs/.git/config"],
)
def test_paths_out_of_the_tree(user: Path, own_cache: Path, path: str) -> None:
    what = made(good(user), mail(path))
    with pytest.raises(RequestError, match=rf"2/2 bad is refused: it writes to {re.escape(path)}\n"):
        applied(what, user, user, user.parent)
    assert not own_cache.exists()


@pytest.mark.parametrize("by", ["tree", "patch", "folder"])
def test_paths_through_a_link(user: Path, tmp_path: Path, by: str) -> None:
    outside = put(tmp_path / "outside", {"x": "mine\n"})
    first = good(user)
    if by == "tree":
        (user / "fs").mkdir(exist_ok=True)
        (user / "fs/link").symlink_to(outside)
        git(user, "add", ".")
        git(user, "commit", "-qm", "link")
    elif by == "folder":
        (user / "fs").symlink_to(outside)
        git(user, "add", ".")
        git(user, "commit", "-qm", "link")
        first = mail("init/fine.c")
    else:
        first = mail("fs/link", f"{outside}\n\\ No newline at end of file", "120000")
    what = made(first, mail("fs/link/x.c"))
    for spec in (f"{user}@HEAD", user):
        with pytest.raises(RequestError, match=r"2/2 bad is refused: it writes to fs/link/x\.c\n") as caught:
            applied(what, spec, user, outside)
        assert re.fullmatch("fs(/link)? is a symbolic link", caught.value.cause)
    assert [path.name for path in outside.iterdir()] == ["x"]


def test_a_link_that_a_patch_makes_is_no_place_for_us(user: Path, tmp_path: Path) -> None:
    """Where it leads is nobody's business: not of those that come after it, nor when somebody resolves one."""
    outside = put(tmp_path / "outside", {"x.c": "int mine;\n"})
    link = mail("fs/a.c", f"{outside}/x.c\n\\ No newline at end of file", "120000")
    change = mails(user, f"{topic(user)}..")[0].replace(b"[PATCH 1/3]", b"[PATCH 2/2]")
    git(user, "reset", "-q", "--hard", "HEAD~4")
    with pytest.raises(RequestError, match="2/2 one does not apply"):
        applied(made(link, change), f"{user}@HEAD", user, outside)
    found = applied(made(link), f"{user}@HEAD", user, outside)
    assert names(found.steps[1].tree)["fs/a.c"] == "120000"


@pytest.mark.parametrize("kind", ["makes", "removes", "directory", "file"])
def test_what_is_there_or_not_there(user: Path, kind: str) -> None:
    start = commit(user, {"fs/a.c": LINES, "fs/dir/x.c": "int x;\n"})
    if kind == "makes":
        what = made(mail("fs/a.c"))
        cause = "fs/a.c: it is made by the patch, and is there already"
    elif kind == "removes":
        commit(user, {"fs/gone.c": LINES})
        start = commit(user, {})
        what = series(user, f"{start}..{commit(user, {'fs/gone.c': None})}")
        git(user, "reset", "-q", "--hard", f"{start}~2")
        cause = "git can take it off again"
    else:
        path = "fs/dir" if kind == "directory" else "fs/a.c/x.c"
        what = made(mail(path))
        cause = "fs/dir" if kind == "directory" else "fs/a.c"
    with pytest.raises(RequestError, match=r"^1/1 \w+ does not apply to|all of it is already applied") as caught:
        applied(what, f"{user}@HEAD", user)
    assert cause in caught.value.cause


def test_a_mail_without_a_patch(user: Path) -> None:
    start = commit(user, {"fs/a.c": LINES})
    commit(user, {}, "nothing")
    commit(user, {"fs/a.c": "int a;\n"})
    with pytest.raises(RequestError, match="1/2 nothing has no patch in it"):
        applied(series(user, f"{start}.."), user, user)


def test_a_mail_without_an_author(user: Path) -> None:
    text = good(user)
    text = text[text.index(b"Subject:") :]
    with pytest.raises(RequestError, match="1/1 change cannot be read as a patch"):
        applied(made(text), f"{user}@HEAD", user)


def test_what_is_run_on_the_host_is_said(user: Path) -> None:
    start = git(user, "rev-parse", "HEAD")
    commit(user, {"fs/a.c": LINES})
    commit(user, {"scripts/x.sh": "#!/bin/sh\n", "fs/Makefile": "obj-y += a.o\n"})
    said: list[str] = []
    found = applied(series(user, f"{start}.."), f"{user}@{start}", user, said=said)
    assert found.on_host == ("2/2 fs/Makefile", "2/2 scripts/x.sh")
    assert said[1] == "this series runs code on the host at build time: 2/2 fs/Makefile, 2/2 scripts/x.sh"


def test_a_tree_that_is_no_kernel_any_more(user: Path) -> None:
    start = git(user, "rev-parse", "HEAD")
    commit(user, {"Kconfig": None})
    with pytest.raises(RequestError, match="is not a kernel source tree: it has no Kconfig"):
        applied(series(user, f"{start}.."), f"{user}@{start}", user)


@pytest.mark.parametrize("damage", ["record", "worktree", "lock", "half", "index"])
def test_what_a_killed_run_left(user: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    what = series(user, f"{topic(user)}..")
    spec = f"{user}@HEAD~3"

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.worktree.Worktree.grown", die)
        with pytest.raises(KeyboardInterrupt):
            applied(what, spec, user)
    [record] = own_cache.glob("trees/*/series/*.json")
    top = record.with_suffix("") / "tree"
    if damage == "record":
        record.write_text(record.read_text()[:100])
    elif damage == "worktree":
        shutil.rmtree(top)
    elif damage == "lock":
        (top / ".git/index.lock").write_text("")
        (top / ".git/rebase-apply").mkdir()
    elif damage == "half":  # killed between git am and our note of it
        facts = json.loads(record.read_text())
        record.write_text(json.dumps(facts | {"done": facts["done"][:-2]}))
    else:
        (top / ".git/index").write_bytes(b"DIRC")
    found = applied(what, spec, user)
    assert found.steps[-1].tree.oid == git(user, "rev-parse", "HEAD^{tree}")
    assert hows(found) == ["as it stands"] * 3
    assert not record.with_suffix("").exists()


RUN = """
import sys
from pathlib import Path
from harness import apply
from harness.deadline import Deadline
sys.path.insert(0, sys.argv[1])
from topics import series
what = series(Path(sys.argv[2]), "HEAD~3..HEAD")
found = apply.applied(what, sys.argv[2] + "@HEAD~3", apply.Wish(), Deadline.after(60), print)
print(found.steps[-1].tree.oid)
"""


def test_several_at_once(user: Path) -> None:
    topic(user)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, Path(__file__).parent, user],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    tree = git(user, "rev-parse", "HEAD^{tree}")
    for child in children:
        out, _ = child.communicate(timeout=180)
        assert (child.returncode, out.splitlines()[-1]) == (0, tree)

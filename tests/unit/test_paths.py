# SPDX-License-Identifier: GPL-2.0-only
"""harness/paths.py and misfit.py: where a series writes, what of it runs on the host, and why a hunk does not fit."""

from __future__ import annotations

import pytest

from harness import diff, misfit, paths
from harness.errors import RequestError
from harness.series import Patch, Series

FINE = ("fs/a.c", ".gitignore", ".github/x", "fs/.git-blame", "a..b", "...", "git", "fs/x.git", "-n", "a b", "Zürich")
BAD = {
    "/etc/passwd": "the path is absolute",
    "../x": "it leads out of the tree",
    "fs/../../x": "it leads out of the tree",
    "fs/..": "it leads out of the tree",
    ".git/hooks/pre-commit": "it leads into .git",
    "fs/.git": "it leads into .git",
    ".GIT/config": "it leads into .git",
    ".Git /config": "it leads into .git",
    ".git./config": "it leads into .git",
    ".git::$INDEX_ALLOCATION/config": "it leads into .git",
    "git~1/config": "it leads into .git",
    "fs\\.git\\config": "it leads into .git",
    ".g\u200cit/config": "it leads into .git",
    "fs//a.c": "git keeps no such path",
    "./a.c": "git keeps no such path",
    "fs/": "git keeps no such path",
    "": "git keeps no such path",
}
RUN = (
    *(
        "Makefile",
        "fs/Makefile",
        "drivers/x/Makefile.host",
        "Kbuild",
        "arch/x86/Kbuild",
        "init/Kconfig",
        "lib/Kconfig.debug",
    ),
    *("scripts/x.c", "tools/objtool/check.c", "certs/blacklist.c", "arch/x86/tools/relocs.h", "kernel/x.sh", "a.awk"),
    *("Documentation/x.py", "lib/gen_crc32table.c", "arch/x86/boot/mkcpustr.c", "arch/x86/entry/vdso/vdso2c.h", "x.mk"),
    *("usr/gen_init_cpio.c", "localversion-x", "arch/arm/vdso/vdsomunge.c"),
)
NOT_RUN = ("fs/a.c", "fs/generic.c", "include/linux/kconfig.h", "lib/mkdir", "fs/scripts.c", "net/tools.h",
           "Documentation/tools/x.rst", "lib/x.S", "arch/x86/kernel/tools.c", "MAINTAINERS", "fs/genhd.c")  # fmt: skip


def text(*changes: str) -> str:
    return "From: a <a@b>\nSubject: x\n\nwords\n---\n" + "\n".join(changes) + "\n"


def series(*texts: str) -> Series:
    of = len(texts)
    patches = (Patch(n, of, f"number {n}", each.encode("utf-8", "surrogateescape")) for n, each in enumerate(texts, 1))
    return Series("a.mbox", "toys", 1, tuple(patches))


def added(path: str, mode: str = "100644") -> str:
    name = f'"b/{path}"' if not path.isascii() or "\\" in path else f"b/{path}"
    name = name.replace("\\", "\\\\")
    head = f"diff --git {name.replace('b/', 'a/', 1)} {name}\nnew file mode {mode}\nindex 0000000..1234567"
    return f"{head}\n--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x"


def removed(path: str, mode: str = "100644") -> str:
    head = f"diff --git a/{path} b/{path}\ndeleted file mode {mode}\nindex 1234567..0000000"
    return f"{head}\n--- a/{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-x"


def test_paths_that_are_fine() -> None:
    assert {path: paths.outside(path) for path in FINE} == dict.fromkeys(FINE, "")


@pytest.mark.parametrize("path", BAD)
def test_paths_out_of_the_tree(path: str) -> None:
    assert paths.outside(path) == BAD[path]
    if path:
        rename = f"diff --git a/fs/a.c b/fs/b.c\nsimilarity index 100%\nrename from fs/a.c\nrename to {path}"
        for bad in (added(path), rename):
            with pytest.raises(RequestError, match=r"2/3 number 2 is refused: it writes to") as caught:
                paths.demand(series(text(added("fs/new.c")), text(bad), text(added("fs/more.c"))))
            assert BAD[path].split()[-1] in caught.value.cause


def test_paths_through_links() -> None:
    linked, through = text(added("fs/link", "120000")), text(added("fs/link/a/x.c"))
    paths.demand(series(linked, text(added("fs/linked/x.c"))))
    paths.demand(series(through))
    paths.demand(series(linked, text(removed("fs/link", "120000")), through))
    paths.demand(series(linked, text(removed("fs/link", "120000"), added("fs/link/x.c"))))
    for bad, links in (
        (series(linked, through), []),
        (series(text(added("fs/link/a/x.c"), added("fs/link", "120000"))), []),
        (series(through), ["fs/link"]),
        (series(text(removed("fs/link/a/x.c"))), ["fs/link/a"]),
    ):
        with pytest.raises(RequestError, match=r"refused: it writes to fs/link/a/x\.c") as caught:
            paths.demand(bad, links)
        assert caught.value.cause in ("fs/link is a symbolic link", "fs/link/a is a symbolic link")


def test_what_is_run_on_the_host() -> None:
    assert paths.on_host(series(*(text(added(path)) for path in NOT_RUN))) == ()
    of = len(RUN)
    expected = tuple(f"{n}/{of} {path}" for n, path in enumerate(RUN, start=1))
    assert paths.on_host(series(*(text(added(path)) for path in RUN))) == expected
    assert paths.on_host(series(text(removed("scripts/x.sh")))) == ()
    assert paths.on_host(series(text(added("fs/program", "100755")))) == ("1/1 fs/program",)
    assert paths.warning(series(text(added("fs/a.c")))) == ""
    words = "this series runs code on the host at build time: 1/1 scripts/x.sh"
    assert paths.warning(series(text(added("scripts/x.sh")))) == words
    assert paths.warning(series(*[text(added("scripts/x.sh"))] * 20)).endswith("8/20 scripts/x.sh and 12 more")


def hunk(*lines: str, at: int = 1) -> diff.Hunk:
    old, new = (sum(line[:1] in letters for line in lines) for letters in (" -", " +"))
    return diff.Hunk(at, old, at, new, "", lines, 1)


def test_why_a_hunk_does_not_fit() -> None:
    lines = [f"line {number}" for number in range(50)] + ["}", "", "}"] * 20
    three = hunk(" line 20", "-line 21", "+new", " line 22", at=21)
    assert misfit.hunk(three, lines) == ""
    assert misfit.hunk(three, ["x"] * 9 + lines) == ""
    other = [line.replace("line 22", "other") for line in lines]
    assert misfit.hunk(three, other) == "nearest is line 21, where 2 of its 3 lines are the same"
    between = lines[:22] + ["between"] * 3 + lines[22:]
    assert misfit.hunk(three, between) == "nearest is line 21, where 3 of its 3 lines are the same"
    assert misfit.hunk(three, [line.replace("line 21", "new") for line in lines]) == "is there already, at line 21"
    assert misfit.hunk(three, ["nothing", "}"]) == "no line of it is in the file"
    braces = hunk(" }", "", "-line 7 was here", " }", " line 40", at=2)
    assert misfit.hunk(braces, lines) == "nearest is line 37, where 1 of its 5 lines are the same"
    tabs = hunk(" if (x)", "-\treturn  1;", "+\treturn 2;")
    assert misfit.hunk(tabs, ["if (x)", "        return 1;"]).startswith("nearest is line 1, where 1 of its 2")


def test_the_nearest_of_several_places() -> None:
    wanted = hunk(" a", " b", "-gone", "+come", " c", at=30)
    lines = ["x"] * 10 + ["a", "b", "c"] + ["x"] * 20 + ["a", "b", "c"] + ["x"] * 10
    assert misfit.hunk(wanted, lines) == "nearest is line 34, where 3 of its 4 lines are the same"


def test_lines_that_are_no_utf_8() -> None:
    assert misfit.hunk(hunk(" line \udce4", "-x", "+y"), ["line \ufffd", "x"]) == ""

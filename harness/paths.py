# SPDX-License-Identifier: GPL-2.0-only
"""Where a series writes: never out of the tree, and what of it the build runs on the host."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from harness.errors import RequestError
from harness.series import Patch, Series

LINK = "120000"
EXECUTABLE = "100755"
#: Code points that Apple's file system does not see in a name (git: utf8.c, next_hfs_char).
UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
#: What make, the shell, or an interpreter reads, by file name (Documentation/kbuild/makefiles.rst).
READ = (
    *("Makefile", "Makefile.*", "*.mk", "Kbuild", "Kbuild.*", "Kconfig", "Kconfig.*", "localversion*"),
    *("*.sh", "*.py", "*.pl", "*.awk", "*.perl", "*.sed", "*.bc"),
)
#: Sources of programs that are compiled for the host, by file name: hostprogs of Linux 7.3 outside DIRECTORIES.
COMPILED = (
    *("gen_*.c", "gen-*.c", "mk[a-z]*.c", "vdso2c.*", "vdsomunge.c", "genvdso.*", "relocs*.[ch]", "makemapdata.c"),
    *("genmap.c", "conmakehash.c", "pnmtologo.c", "extract-cert.c", "elf2ecoff.c", "elf-entry.c", "piggyback.c"),
    *("addnote.c", "hack-coff.c", "calc_vmlinuz_load_addr.c", "genheaders.c", "xe_gen_wa_oob.c"),
)
#: Directories, at the top of the tree or of an architecture, whose files make programs of the host.
DIRECTORIES = ("scripts", "tools", "certs")
#: More places than anybody reads are not listed.
SHOWN = 8


def outside(path: str) -> str:
    """Why a file may not be written there: "it leads out of the tree"; empty if it may."""
    if path.startswith("/"):
        return "the path is absolute"
    parts = path.split("/")
    if ".." in parts:
        return "it leads out of the tree"
    if any(_is_git(name) for part in parts for name in part.split("\\")):
        return "it leads into .git"
    if "" in parts or "." in parts or "\0" in path:
        return "git keeps no such path"
    return ""


def _is_git(name: str) -> bool:
    """Whether that is .git on some file system: without regard to case, blanks and dots at its end, and streams."""
    plain = UNSEEN.sub("", name).casefold().partition(":")[0].rstrip(" .")
    return plain in (".git", "git~1")


def above(path: str) -> Iterator[str]:
    """The directories that ``path`` is in, the top one first: a, a/b of a/b/c."""
    yield from (path[: match.start()] for match in re.finditer("/", path))


def demand(series: Series, links: Collection[str] = ()) -> None:
    """Raise RequestError if a patch writes out of the tree, in which there are these symbolic ``links``."""
    there = set(links)
    for patch in series.patches:
        for path in patch.files:
            if why := outside(path):
                raise _refused(patch, path, why)
        gone = {change.old for change in patch.changes if change.new != change.old or change.new_mode != LINK}
        made = {change.new for change in patch.changes if change.new_mode == LINK and change.new}
        there = (there - gone) | made
        for path in patch.files:
            if link := next((name for name in above(path) if name in there), ""):
                raise _refused(patch, path, f"{link} is a symbolic link")


def _refused(patch: Patch, path: str, why: str) -> RequestError:
    name = path.encode("unicode_escape").decode()
    return RequestError(f"{patch} is refused: it writes to {name}", cause=why, hint="nothing was applied")


def on_host(series: Series) -> tuple[str, ...]:
    """What of the series is run on the host when a kernel is built: "3/5 scripts/x.sh"."""
    return tuple(
        f"{patch.n}/{patch.of} {path}"
        for patch in series.patches
        for path in dict.fromkeys(change.new for change in patch.changes if change.new is not None)
        if _is_run(path) or any(change.new == path and change.new_mode == EXECUTABLE for change in patch.changes)
    )


def _is_run(path: str) -> bool:
    *where, name = path.split("/")
    if any(fnmatchcase(name, pattern) for pattern in (*READ, *COMPILED)):
        return True
    return where[:1] in ([word] for word in DIRECTORIES) or (where[:1] == ["arch"] and where[2:3] == ["tools"])


def warning(series: Series) -> str:
    """One line about what of the series is run on the host; empty if nothing is."""
    found = on_host(series)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"this series runs code on the host at build time: {', '.join(found[:SHOWN])}{more}" if found else ""

# SPDX-License-Identifier: GPL-2.0-only
"""What compilers warn about in a whole kernel, though each build compiles only what has changed.

A build directory keeps a file with every compilation and warning since its first build; the last one of each object
counts. What a killed build has compiled is in it too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness import cache

#: In a build directory: the lines of make that matter.
RECORD = ".nullfs-harness-warnings"
WARNED = re.compile(r"^(\S+?):\d+(?::\d+)?: warning: .*")
#: A compiler is started (scripts/Kbuild.include, quiet output): what it makes.
STARTED = re.compile(r"^  (?:HOSTCC|CC|AS)(?: \[M\])? +(\S+)")
#: gcc and clang name the file that included what they warn about, the outermost last.
INCLUDER = re.compile(r"^(?:In file included|\s+) from (\S+?):\d+")
SOURCES = (".c", ".S")


def matters(line: str) -> bool:
    """Whether a line of make belongs into the record."""
    return bool(STARTED.match(line) or WARNED.match(line) or INCLUDER.match(line))


def read(lines: Iterable[str]) -> dict[str, list[str]]:
    """The warnings by what they are about, a path without its suffix, as the last compilation of each gave them."""
    found: dict[str, list[str]] = {}
    about = ""
    for line in lines:
        if started := STARTED.match(line):
            found[_stem(started[1])] = []
        elif includer := INCLUDER.match(line):
            about = _stem(includer[1]) if includer[1].endswith(SOURCES) else about
        elif warned := WARNED.match(line):
            about = _stem(warned[1]) if warned[1].endswith(SOURCES) else about
            found.setdefault(about or warned[1], []).append(line)
    return found


def whole(record: Path, source: Path) -> tuple[str, ...]:
    """All warnings in the kernel whose build directory has ``record``; what is no longer in ``source`` is left out."""
    output = record.parent
    found = {
        stem: warnings
        for stem, warnings in read(record.read_text(errors="replace").splitlines()).items()
        if warnings and any((top / f"{stem}{suffix}").exists() for top in (source, output) for suffix in (*SOURCES, ""))
    }
    # Each line of a warning in a header needs the one that says who included it.
    lines = [line for stem, warnings in found.items() for line in (f"  CC {stem}.o", f"  from {stem}.c:1", *warnings)]
    cache.write(record, "".join(f"{line}\n" for line in lines).encode())
    return tuple(warning for stem in sorted(found) for warning in found[stem])


def new(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """The warnings that came; that lines have moved makes no new one."""
    known = Counter(map(_placeless, before))
    came = []
    for warning in after:
        if known[_placeless(warning)]:
            known[_placeless(warning)] -= 1
        else:
            came.append(warning)
    return came


def _placeless(warning: str) -> str:
    return re.sub(r"^(\S+?):\d+(?::\d+)?:", r"\1:", warning)


def _stem(path: str) -> str:
    return re.sub(r"\.\w+$", "", path.removeprefix("./"))

# SPDX-License-Identifier: GPL-2.0-only
"""Unpacked packages seen as one root, and what a file in it needs to run: loader, libraries, interpreter."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HostError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

#: Directories that Debian has below usr/, with links to them.
MERGED = ("bin", "lib", "lib64", "sbin")
#: What no guest wants unless it is asked for.
DOCUMENTATION = ("usr/share/doc/", "usr/share/locale/", "usr/share/man/")
#: Links in a row after which a path leads nowhere (include/linux/namei.h: MAXSYMLINKS).
LINKS = 40
#: The type of a note that names libraries which a program loads when it first uses them (systemd's ELF_NOTE_DLOPEN).
DLOPEN = 0x407C0C0A


class Found(NamedTuple):
    """Where a path leads: ``real`` is empty if nowhere; ``passed`` is each directory, link and file on the way."""

    real: str
    passed: list[str]


class Linked(NamedTuple):
    """What an ELF file says that it needs."""

    loader: str
    libraries: list[str]
    #: Those that it can do without.
    optional: list[str]
    #: Its own directories to look for them.
    places: list[str]


class Overlay:
    """The trees of packages on top of each other. Paths are relative to its root."""

    def __init__(self, trees: Sequence[Path], triplet: str) -> None:
        self.triplet = triplet
        #: Each path in it, and where that lies on the host.
        self.files: dict[str, Path] = {}
        for tree in trees:
            for top, directories, names in os.walk(tree):
                for name in (*directories, *names):
                    path = Path(top, name)
                    inside = str(path.relative_to(tree))
                    if inside not in MERGED:
                        self.files.setdefault(merged(inside), path)

    def fitting(self, glob: str) -> list[str]:
        """The paths that fit ``glob``: `*` and `?` stand for no slash, `**` for anything."""
        glob = merged(glob.lstrip("/"))
        words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
        pattern = re.compile("".join(words.get(word) or re.escape(word) for word in re.split(r"(\*\*|\*|\?)", glob)))
        unwanted = tuple(place for place in DOCUMENTATION if not glob.startswith(place))
        return [path for path in self.files if pattern.fullmatch(path) and not path.startswith(unwanted)]

    def follow(self, path: str) -> Found:
        """Where ``path`` leads, links followed as a process would whose root this is."""
        ahead, at, links = deque(path.split("/")), "", 0
        passed: list[str] = []
        while ahead:
            part = ahead.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            at = merged(f"{at}/{part}" if at else part)
            host = self.files.get(at)
            if host is None:
                return Found("", passed)
            passed.append(at)
            if host.is_symlink():
                links += 1
                if links > LINKS:
                    return Found("", passed)
                target = str(host.readlink())
                ahead.extendleft(reversed(target.split("/")))
                at = "" if target.startswith("/") else at.rpartition("/")[0]
        return Found(at, passed)

    def needs(self, path: str) -> Iterator[str]:
        """What the file at ``path`` needs to run. Raises HostError if it is linked with what is not there."""
        if not stat.S_ISREG(self.files[path].stat().st_mode):
            return
        with self.files[path].open("rb") as file:
            head = file.readline(256)
        if head.startswith(b"#!") and (words := head[2:].split()):
            interpreter = words[0].decode(errors="replace")
            if self.follow(interpreter).real:  # else it is started by one who knows better, or never
                yield interpreter
        if head.startswith(b"\x7fELF"):
            yield from self._linked(path)

    def _linked(self, path: str) -> Iterator[str]:
        linked = read(self.files[path])
        origin = f"/{path}".rpartition("/")[0]
        places = [re.sub(r"\$ORIGIN|\$\{ORIGIN\}", origin, place) for place in linked.places]
        # Last its own neighbours: a program that found one before by its own RUNPATH has loaded it for both (systemd).
        places += [f"usr/lib/{self.triplet}", "usr/lib", "usr/lib64", origin]
        wanted = [("", linked.loader)] if linked.loader else []
        wanted += [(place, name) for name in (*linked.libraries, *linked.optional) for place in places]
        there = {name: f"{place}/{name}" for place, name in reversed(wanted) if self.follow(f"{place}/{name}").real}
        yield from there.values()
        for name in (linked.loader, *linked.libraries):
            if name and name not in there:
                raise HostError(f"/{path} is linked with {name}, and no package that was asked for has it")


def merged(path: str) -> str:
    """``path`` where Debian has it since /bin and its like are links."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


def read(path: Path) -> Linked:
    """What the ELF file ``path`` is linked with."""
    from elftools.elf.dynamic import DynamicSegment  # noqa: PLC0415 - most runs need none of it
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import InterpSegment  # noqa: PLC0415

    linked = Linked("", [], [], [])
    with path.open("rb") as file:
        elf = ELFFile(file)
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                linked = linked._replace(loader=segment.get_interp_name())
            elif isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    word = getattr(tag, str(tag.entry.d_tag).removeprefix("DT_").lower(), "")
                    if tag.entry.d_tag == "DT_NEEDED":
                        linked.libraries.append(word)
                    elif tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
                        linked.places.extend(word.split(":"))
        linked.optional.extend(_loaded_later(elf))
    return linked


def _loaded_later(elf: ELFFile) -> Iterator[str]:
    from elftools.elf.segments import NoteSegment  # noqa: PLC0415

    for segment in elf.iter_segments():
        for note in segment.iter_notes() if isinstance(segment, NoteSegment) else ():
            facts: Any = note  # of a type that pyelftools does not know: its number, and bytes
            if facts["n_type"] == DLOPEN:
                for group in json.loads(facts["n_desc"].rstrip(b"\0")):
                    yield from group["soname"]

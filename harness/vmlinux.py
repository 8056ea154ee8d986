# SPDX-License-Identifier: GPL-2.0-only
"""What a vmlinux has of the series, read before anything boots: a claim, which no verdict depends on.

Its symbol table names the objects, its type information (BTF, else DWARF) the members of struct task_struct.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness import cache, image
from harness.errors import HostError, RequestError

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE
    from elftools.elf.elffile import ELFFile

#: Objects: fs/nullfs.c, fs/fs_struct.c, fs/namespace.c.
SYMBOLS = ("nullfs_fs_type", "userspace_init_fs", "knullfs")
#: A member of struct task_struct (include/linux/sched.h).
MEMBER = "real_fs"
#: Raised when what is kept of a vmlinux changes its meaning.
FORMAT = 1
#: Units of DWARF that are looked at. Every other one in C has the whole task_struct; where the first ones have not,
#: it is elsewhere (CONFIG_DEBUG_INFO_SPLIT).
UNITS = 50
#: RELEASE (BY@HOST) #N …: the header of a bzImage (arch/x86/boot/version.c). The banner has the compiler, too
#: (init/version-timestamp.c). A second banner, without N, is for the first of the links of a build.
HEADER = re.compile(rb"(\d\S*) \(([^()\s\0]+)\) (#\d[^\n\0]*)")
BANNER = re.compile(rb"Linux version (\d\S*) \(([^()\s\0]+)\) \([^\n\0]*\) (#\d[^\n\0]*)")
#: include/uapi/linux/btf.h: struct btf_header, struct btf_type, and of each kind what follows it, as bytes and bytes
#: for each of its vlen parts. A kind that is not here ends the reading: nobody can tell where the next type begins.
BTF_HEADER = struct.Struct("<HBBIIIII")
BTF_TYPE = struct.Struct("<III")
BTF_MEMBER = struct.Struct("<III")
BTF_MAGIC = 0xEB9F
BTF_STRUCT = 4
BTF_SIZES = {
    **dict.fromkeys((2, 7, 8, 9, 10, 11, 12, 16, 18), (0, 0)),  # no more than their struct btf_type
    **dict.fromkeys((1, 14, 17), (4, 0)),  # INT, VAR, DECL_TAG
    3: (12, 0),  # ARRAY
    **dict.fromkeys((BTF_STRUCT, 5, 15, 19), (0, 12)),  # STRUCT, UNION, DATASEC, ENUM64
    **dict.fromkeys((6, 13), (0, 8)),  # ENUM, FUNC_PROTO
}


@dataclass(frozen=True)
class Claims:
    """What one vmlinux says of itself.

    ``build_id`` is in hex, "" if there is none; ``version`` as from version(). ``has`` tells for SYMBOLS and MEMBER
    whether they are there; None: it cannot be known from this file.
    """

    build_id: str
    version: str
    has: Mapping[str, bool | None] = field(hash=False)

    @property
    def words(self) -> str:
        """``has``, for people: "A, B without C; D unknown: why"."""
        there = ", ".join(name for name, known in self.has.items() if known)
        lacking = ", ".join(name for name, known in self.has.items() if known is False)
        parts = [f"{there} without {lacking}".strip() if lacking else there]
        if unknown := [name for name in SYMBOLS if self.has[name] is None]:
            parts.append(f"{', '.join(unknown)} unknown: no symbol table")
        if self.has[MEMBER] is None:
            parts.append(f"{MEMBER} unknown: no BTF or DWARF")
        return "; ".join(filter(None, parts))


def read(path: Path) -> Claims:
    """What the vmlinux at ``path`` claims; kept in the cache until the file changes. Raises RequestError."""
    try:
        kept = cache.root() / "vmlinux" / f"{cache.file_key(path)}-{FORMAT}.json"
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    with suppress(OSError, ValueError, TypeError):
        return Claims(**json.loads(kept.read_text(encoding="utf-8")))
    claims = examine(path)
    with suppress(HostError):  # then it is read once more the next time
        cache.write(kept, json.dumps(asdict(claims)).encode())
    return claims


def examine(path: Path) -> Claims:
    """Read it from the file. Raises RequestError if that is no kernel's ELF file, or is damaged."""
    if (facts := image.identify(path)).format != "vmlinux":
        raise RequestError(f"{path} is no vmlinux, but {facts.format}")
    from elftools.common.exceptions import DWARFError, ELFError  # noqa: PLC0415 - slow, and seldom needed
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    try:
        with path.open("rb") as handle:
            elf = ELFFile(handle)
            return Claims(build_id(elf), version(path), {**symbols(elf), MEMBER: has_member(elf)})
    except (DWARFError, ELFError, struct.error, zlib.error, LookupError, ValueError, TypeError) as error:
        raise RequestError(f"{path} is a damaged ELF file", cause=str(error), hint="copy or build it again") from error


def version(path: Path) -> str:
    """What the bzImage, Image or vmlinux at ``path`` says of its build: "RELEASE (BY@HOST) #N …", "" if it does not.

    A bzImage has no build id that could be read, but it has this: N grows with each link, and mostly there is a date.
    """
    with image.contents(path) as data:
        if data[0x202:0x206] == b"HdrS":  # Documentation/arch/x86/boot.rst: kernel_version
            (pointer,) = struct.unpack_from("<H", data, 0x20E)
            found = HEADER.search(data[pointer + 0x200 : pointer + 0x400])
        else:
            found = BANNER.search(data)
        parts = [part.decode("latin-1") for part in found.groups()] if found else []  # read while it is mapped
    return "{} ({}) {}".format(*parts) if parts else ""


def build_id(elf: ELFFile) -> str:
    """The description of the NT_GNU_BUILD_ID note, "" if there is none."""
    from elftools.elf.segments import NoteSegment  # noqa: PLC0415

    for part in elf.iter_segments():
        for note in part.iter_notes() if isinstance(part, NoteSegment) else ():
            # pyelftools takes XEN_ELFNOTE_VIRT_BASE, which has the same number, for one too.
            if (note["n_name"], note["n_type"]) == ("GNU", "NT_GNU_BUILD_ID"):
                return str(note["n_desc"])
    return ""


def symbols(elf: ELFFile) -> dict[str, bool | None]:
    """Which of SYMBOLS are defined; nobody knows if the table is stripped.

    The names are looked up first and the table is taken apart as a whole: pyelftools needs seconds for one of a
    kernel's size.
    """
    table = next(elf.iter_sections("SHT_SYMTAB"), None)
    if table is None:
        return dict.fromkeys(SYMBOLS)
    strings = elf.get_section(table["sh_link"]).data()
    wanted = {at: name for name in SYMBOLS for at in offsets(strings, name)}
    # Elf64_Sym (elf(5)): name, info, section, value and size; section 0 is that of what is used and not there.
    rows = struct.iter_unpack("<IBxH16x", table.data())
    found = {wanted[at] for at, _, section in rows if at in wanted and section}
    return {name: name in found for name in SYMBOLS}


def offsets(strings: bytes, name: str) -> Iterator[int]:
    """Where a string table has ``name``, also as the end of another name: linkers share these."""
    return (found.start() for found in re.finditer(re.escape(name.encode()) + rb"\0", strings))


def has_member(elf: ELFFile) -> bool | None:
    """Whether struct task_struct has MEMBER: by BTF, else by DWARF, else None."""
    section = elf.get_section_by_name(".BTF")
    members = btf_members(section.data(), "task_struct") if section else None
    if members is None and elf.has_dwarf_info():
        members = dwarf_members(elf, "task_struct")
    return None if members is None else MEMBER in members


def btf_members(data: bytes, name: str) -> set[str] | None:
    """The members of ``struct name`` (Documentation/bpf/btf.rst), None if there is no such struct.

    Those of structs without a name in it too: with CONFIG_RANDSTRUCT, most of task_struct is in one.
    Raises struct.error, LookupError or ValueError if the section is damaged.
    """
    magic, _, _, length, types_at, types_size, strings_at, strings_size = BTF_HEADER.unpack_from(data)
    types = data[length + types_at : length + types_at + types_size]
    strings = data[length + strings_at : length + strings_at + strings_size]
    if magic != BTF_MAGIC or len(types) < types_size or len(strings) < strings_size:
        raise ValueError("its .BTF is cut, or of another byte order")
    wanted = set(offsets(strings, name))
    places, at, todo = [0], 0, []  # types are counted from 1
    while at < len(types):
        label, info, _ = BTF_TYPE.unpack_from(types, at)
        kind, count = info >> 24 & 0x7F, info & 0xFFFFFF
        if kind == BTF_STRUCT and label in wanted:
            todo.append(len(places))
        places.append(at)
        if kind not in BTF_SIZES:
            return None
        fixed, each = BTF_SIZES[kind]
        at += BTF_TYPE.size + fixed + each * count
    if not todo:
        return None
    members, seen = set(), set(todo)
    while todo:
        at = places[todo.pop()]
        _, info, _ = BTF_TYPE.unpack_from(types, at)
        if info >> 24 & 0x7F not in (BTF_STRUCT, BTF_STRUCT + 1):  # a bit field without a name
            continue
        for number in range(info & 0xFFFFFF):
            label, kind, _ = BTF_MEMBER.unpack_from(types, at + BTF_TYPE.size + number * BTF_MEMBER.size)
            members.add(text(strings, label))
            if not label and kind not in seen:
                seen.add(kind)
                todo.append(kind)
    return members


def text(strings: bytes, at: int) -> str:
    """The string at an offset into a string table."""
    return strings[at : strings.index(b"\0", at)].decode()


def dwarf_members(elf: ELFFile, name: str) -> set[str] | None:
    """The members of ``struct name``, by the first unit that has it whole; None if none of the first UNITS has."""
    info = elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
    for unit in islice(info.iter_CUs(), UNITS):
        for die in unit.get_top_DIE().iter_children():
            if die.tag == "DW_TAG_structure_type" and label(die) == name and "DW_AT_declaration" not in die.attributes:
                return {found for member in die.iter_children() for found in names(member)}
    return None


def names(member: DIE) -> Iterator[str]:
    """The name of a member, or those of what is in it if it is a struct or union without one."""
    if member.tag != "DW_TAG_member":
        return
    if found := label(member):
        yield found
        return
    for inner in member.get_DIE_from_attribute("DW_AT_type").iter_children():
        yield from names(inner)


def label(die: DIE) -> str:
    """The DW_AT_name of a DIE, "" if it has none."""
    return str(die.attributes["DW_AT_name"].value.decode()) if "DW_AT_name" in die.attributes else ""

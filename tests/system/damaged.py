# SPDX-License-Identifier: GPL-2.0-only
"""Real modules with a few instructions changed, so that a real kernel oopses, warns or refuses. No tests here."""

from __future__ import annotations

import io
import lzma
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from harness import kernel, modules
from harness.arch import ARM64, X86_64, Arch
from harness.deadline import Deadline


@dataclass(frozen=True)
class Code:
    """Instructions for a module's init function from ``start`` on."""

    start: int
    read_null: bytes
    #: A trap, which is a WARN when the module's bug table says so, and a way out.
    warn: bytes
    #: Return -ENODEV.
    refuse: bytes
    #: Jump to itself.
    spin: bytes


CODE = {
    # In place of what saves registers, behind two instructions that are ftrace's: mov x0, #0; ldr x0, [x0]
    # and brk #0x800; mov w0, #0; ret and mov w0, #-19; ret and b .
    ARM64: Code(
        8, *map(bytes.fromhex, ("000080d2000040f9", "000021d400008052c0035fd6", "40028012c0035fd6", "00000014"))
    ),
    # In place of endbr64: xor eax, eax; mov eax, [rax] and ud2; nop; nop and push -19; pop rax; ret and jmp .
    X86_64: Code(0, *map(bytes.fromhex, ("31c08b00", "0f0b9090", "6aed58c3", "ebfe"))),
}


def copy(image: Path, arch: Arch, where: Path, names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """The same kernel with just these modules, neither compressed nor signed: its image, and where each module is."""
    [real] = kernel.resolve(str(image), [arch], Deadline.after(600))
    assert real.modules is not None
    top, bare = where / "lib/modules" / real.release, {}
    for module in modules.closure(real, names, Deadline.after(600)):
        bare[module.name] = (top / module.path).with_suffix("")
        bare[module.name].parent.mkdir(parents=True, exist_ok=True)
        bare[module.name].write_bytes(_unsigned(lzma.decompress((real.modules / module.path).read_bytes())))
    shutil.copy(image, top / "vmlinuz")
    shutil.copy(real.modules / "config", top / "config")
    return top / "vmlinuz", bare


def oops(module: Path, arch: Arch) -> None:
    """Let it read address 0 when it is loaded."""
    _patch(module, arch, CODE[arch].read_null)


def refuse(module: Path, arch: Arch) -> None:
    """Let it find no device when it is loaded."""
    _patch(module, arch, CODE[arch].refuse)


def spin(module: Path, arch: Arch) -> None:
    """Let it go round for ever when it is loaded."""
    _patch(module, arch, CODE[arch].spin)


def warn(module: Path, arch: Arch) -> None:
    """Let it run into its first WARN_ON, or what it has of that kind, when it is loaded."""
    _patch(module, arch, CODE[arch].warn)
    data = bytearray(module.read_bytes())
    elf = ELFFile(io.BytesIO(data))
    # struct bug_entry begins with where the trap is, and ends with flags (include/asm-generic/bug.h).
    at, offset, kind = min(_relocations(elf, "__bug_table"), key=lambda each: each[1])
    struct.pack_into("<QQ", data, at + 8, _symbols(elf).index("init_module") << 32 | kind, CODE[arch].start)
    flags = _section(elf, "__bug_table")["sh_offset"] + offset + (14 if arch is X86_64 else 10)
    struct.pack_into("<H", data, flags, 9 << 8 | 1)  # TAINT_WARN, BUGFLAG_WARNING: it may have been a BUG
    module.write_bytes(data)


def ask_for(module: Path, symbol: str) -> None:
    """Let it need a symbol that no kernel has, in place of one that is as long or longer."""
    data = module.read_bytes()
    elf = ELFFile(io.BytesIO(data))
    old = next(
        each.name.encode()
        for each in _section(elf, ".symtab").iter_symbols()
        if each["st_shndx"] == "SHN_UNDEF" and len(each.name) >= len(symbol)
    )
    at = data.index(b"\0" + old + b"\0", _section(elf, ".strtab")["sh_offset"]) + 1
    module.write_bytes(data[:at] + symbol.encode().ljust(len(old), b"\0") + data[at + len(old) :])


def age(module: Path) -> None:
    """Let it be built for a kernel of the same release that was configured otherwise."""
    data = module.read_bytes()
    assert b" mod_unload " in data
    module.write_bytes(data.replace(b" mod_unload ", b" no_unload  "))


def _unsigned(data: bytes) -> bytes:
    if not data.endswith(modules.SIGNED):
        return data
    end = len(data) - len(modules.SIGNED)
    (size,) = struct.unpack(">I", data[end - 4 : end])  # include/linux/module_signature.h
    return data[: end - 12 - size]


def _section(elf: ELFFile, name: str) -> Any:  # noqa: ANN401 - pyelftools has a class for each kind
    found = elf.get_section_by_name(name)
    assert found is not None, f"no {name}"
    return found


def _symbols(elf: ELFFile) -> list[str]:
    return [each.name for each in _section(elf, ".symtab").iter_symbols()]


def _relocations(elf: ELFFile, name: str) -> list[tuple[int, int, int]]:
    """Where in the file each relocation of a section is, what it is for, and its type (elf(5): Elf64_Rela)."""
    table = _section(elf, f".rela{name}")
    return [
        (table["sh_offset"] + n * table["sh_entsize"], each["r_offset"], each["r_info_type"])
        for n, each in enumerate(table.iter_relocations())
    ]


def _patch(module: Path, arch: Arch, code: bytes) -> None:
    data = bytearray(module.read_bytes())
    elf = ELFFile(io.BytesIO(data))
    init = _section(elf, ".symtab").get_symbol(_symbols(elf).index("init_module"))
    section, start = elf.get_section(init["st_shndx"]), init["st_value"] + CODE[arch].start
    data[section["sh_offset"] + start : section["sh_offset"] + start + len(code)] = code
    for at, offset, _ in _relocations(elf, section.name):
        if start - 4 < offset < start + len(code):
            struct.pack_into("<Q", data, at + 8, 0)  # R_AARCH64_NONE, R_X86_64_NONE
    module.write_bytes(data)

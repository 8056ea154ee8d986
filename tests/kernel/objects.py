# SPDX-License-Identifier: GPL-2.0-only
"""What checks share that read code instead of running it. No checks here."""

from __future__ import annotations

import io
from collections.abc import Iterator

#: SHF_EXECINSTR, elf(5).
EXECUTABLE = 4


def references(module: bytes) -> Iterator[tuple[str, set[str]]]:
    """Each function of a kernel module, and the names that it refers to: as relocations, for nothing is linked yet."""
    from elftools.elf.elffile import ELFFile  # here: slow to import
    from elftools.elf.relocation import RelocationSection
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(io.BytesIO(module))
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        code = section["sh_info"]
        if not elf.get_section(code)["sh_flags"] & EXECUTABLE:
            continue
        table = elf.get_section(section["sh_link"])
        assert isinstance(table, SymbolTableSection)
        symbols = list(table.iter_symbols())
        used = [(entry["r_offset"], symbols[entry["r_info_sym"]].name) for entry in section.iter_relocations()]
        for symbol in symbols:
            if symbol["st_shndx"] == code and symbol["st_info"]["type"] == "STT_FUNC":
                end = symbol["st_value"] + symbol["st_size"]
                yield symbol.name, {name for at, name in used if symbol["st_value"] <= at < end}

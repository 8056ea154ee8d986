# SPDX-License-Identifier: GPL-2.0-only
"""From names of modules to what a guest's image needs to load them: their files, and those they depend on.

Which ones these are is said by the modules themselves, in .modinfo: Debian's packages have no modules.dep, and one
that is there may be of another day. The guest gets a modules.dep of its own, for just its files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from harness import cache, process
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.kernel import Kernel

#: How a module's file may end, and what a kernel that unpacks it by itself has besides CONFIG_MODULE_DECOMPRESS
#: (kernel/module/decompress.c).
ENDINGS = {
    ".ko": "",
    ".ko.gz": "CONFIG_MODULE_COMPRESS_GZIP",
    ".ko.xz": "CONFIG_MODULE_COMPRESS_XZ",
    ".ko.zst": "CONFIG_MODULE_COMPRESS_ZSTD",
}
#: linux/module.h
MODULE_INIT_COMPRESSED_FILE = 4
#: Where modules are in a guest; the kernel's release comes next. Not lib/: with programs of Debian that is a link.
GUEST = "usr/lib/modules"
#: What modules_install and depmod write anew whenever they change anything below.
LISTS = ("", "modules.order", "modules.builtin", "modules.dep")
#: At the end of a file whose bytes are signed (include/linux/module_signature.h).
SIGNED = b"~Module signature appended~\n"
#: An ELF file's section header (elf(5): Elf64_Shdr).
SECTION = struct.Struct("<IIQQQQIIQQ")


@dataclass(frozen=True)
class Module:
    """One module that a guest gets. ``name`` is spelt with underscores, as the kernel does."""

    name: str
    #: Below the kernel's modules directory.
    path: str
    #: What has to be loaded before it.
    after: tuple[str, ...]
    #: Whether it stays compressed, because the kernel unpacks it.
    kept: bool
    #: Changes with the file.
    stamp: str

    @property
    def place(self) -> str:
        """Where it is in the guest, below lib/modules/<release>."""
        return self.path if self.kept else self.path[: self.path.rindex(".ko")] + ".ko"


def spelt(name: str) -> str:
    """A module's name, in which ``-`` and ``_`` are the same."""
    return name.replace("-", "_")


def closure(kernel: Kernel, names: Iterable[str], deadline: Deadline) -> list[Module]:
    """The modules ``names`` and all they depend on, in load order, without what is built in or not there at all.

    What was found is kept in the cache until one of the files changes. Raises RequestError if a module is damaged, of
    another kernel, or needs one that is not there; HostError.
    """
    wanted = sorted({spelt(name) for name in names})
    if kernel.modules is None or not wanted:
        return []
    stamps = [cache.file_key(path) for name in LISTS if (path := kernel.modules / name).exists()]
    kept = [ending for ending in ENDINGS if _unpacks(kernel, ending)]
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    facts = (code, str(kernel.modules), kernel.release, kernel.arch.name, wanted, stamps, kept)
    known = cache.directory("modules") / hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    found = _known(known, kernel.modules)
    if found is None:
        found = _ordered(_needed(kernel, kernel.modules, wanted, deadline), kernel.modules)
        cache.write(known, json.dumps([asdict(module) for module in found]).encode())
    return found


def files(kernel: Kernel, loadable: Iterable[Module], deadline: Deadline) -> dict[str, bytes]:
    """What has to be in a guest's image, by path, so that it can load ``loadable``. Raises RequestError, HostError."""
    top, made = f"{GUEST}/{kernel.release}", {}
    for module in loadable:
        path = (kernel.modules or Path()) / module.path
        made[f"{top}/{module.place}"] = path.read_bytes() if module.kept else slim(_unpacked(path, deadline))
    return made | {f"{top}/modules.dep": modules_dep(loadable).encode()}


def read(kernel: Kernel, name: str, deadline: Deadline) -> bytes | None:
    """The module ``name`` as it was built; None if it is built in, or not there. Raises RequestError, HostError."""
    path = _files(kernel.modules).get(spelt(name)) if kernel.modules else None
    return _unpacked(kernel.modules / path, deadline) if kernel.modules and path else None


def modules_dep(loadable: Iterable[Module]) -> str:
    """The modules.dep for modules in load order: behind each what it needs, the first to be loaded last.

    What depmod would put into modules.softdep is in it too: busybox looks only here.
    """
    text, places, needs = "", {}, dict[str, list[str]]()
    for module in loadable:
        places[module.name] = module.place
        before = [name for direct in module.after for name in (*needs[direct], direct)]
        needs[module.name] = list(dict.fromkeys(before))
        text += " ".join([f"{module.place}:", *(places[name] for name in reversed(needs[module.name]))]) + "\n"
    return text


def load_order(dep: str, name: str) -> list[str]:
    """What a modules.dep says has to be loaded for ``name``, itself the last; empty if it is not in there."""
    for line in dep.splitlines():
        place, _, needs = line.partition(":")
        if _name(place) == spelt(name):
            return [*reversed(needs.split()), place]
    return []


def load_flags(path: str) -> int:
    """The flags by which finit_module(2) takes the file at ``path``."""
    return 0 if path.endswith(".ko") else MODULE_INIT_COMPRESSED_FILE


def built_in(kernel: Kernel, name: str) -> bool:
    """Whether the module ``name`` is a part of ``kernel``: in modules.builtin, or y in its configuration."""
    # Not every module is called as its symbol, but one that is, is it.
    symbol = f"CONFIG_{spelt(name).upper()}"
    return (kernel.config or {}).get(symbol) == "y" or spelt(name) in _built_in(kernel.modules)


def missing(kernel: Kernel, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that ``kernel`` neither has built in nor as a file.

    Where there is a configuration and no modules, what is needed is built in, or that configuration lacks it.
    """
    if kernel.modules is None and kernel.config is not None:
        return set()
    there = _files(kernel.modules) if kernel.modules and names else {}
    return {name for name in names if spelt(name) not in there and not built_in(kernel, name)}


def slim(data: bytes) -> bytes:
    """A module without its debug sections: the kernel takes only what has SHF_ALLOC, and its symbol table.

    They keep their numbers, to which symbols and relocations refer, and become SHT_NULL, which the kernel passes over
    (kernel/module/main.c: elf_validity_cache_sechdrs()). A signed module stays as it is.
    """
    if data.endswith(SIGNED):
        return data
    table, size, count, names = struct.unpack_from("<Q10xHHH", data, 0x28)
    heads = [list(SECTION.unpack_from(data, table + size * number)) for number in range(count)]
    first = heads[names][4]
    made = bytearray(data[:64])
    for head in heads:
        name = data[first + head[0] : data.index(b"\0", first + head[0])]
        if name.startswith((b".debug_", b".rela.debug_")):
            head[1:] = [0] * 9
        elif head[1] not in (0, 8):  # SHT_NULL, SHT_NOBITS
            made += bytes(-len(made) % max(head[8], 1))
            start, head[4] = head[4], len(made)
            made += data[start : start + head[5]]
    made += bytes(-len(made) % 8)
    struct.pack_into("<Q", made, 0x28, len(made))
    return bytes(made) + b"".join(SECTION.pack(*head) for head in heads)


def _name(path: str) -> str:
    return spelt(path.rpartition("/")[2].partition(".ko")[0])


def _files(top: Path) -> dict[str, str]:
    """The path of each module below ``top``, by its name. One in updates/ goes before one in kernel/, as in depmod."""
    found = []
    for where, directories, names in os.walk(top):  # not into `build` and `source`, which are links
        directories.sort()
        paths = (os.path.relpath(Path(where, name), top) for name in sorted(names) if name.endswith(tuple(ENDINGS)))
        found += [(_name(path), path) for path in paths]
    return dict(found)


def _built_in(top: Path | None) -> set[str]:
    listed = top / "modules.builtin" if top else None
    lines = listed.read_text(encoding="utf-8").split() if listed and listed.is_file() else []
    return {_name(line) for line in lines}


def _unpacks(kernel: Kernel, ending: str) -> bool:
    """Whether a module with that ending is compressed, and ``kernel`` unpacks it by itself."""
    return (kernel.config or {}).get("CONFIG_MODULE_DECOMPRESS") == (kernel.config or {}).get(ENDINGS[ending]) == "y"


def _known(path: Path, top: Path) -> list[Module] | None:
    """What an earlier run has found, if all the files are still the same."""
    try:
        found = [Module(**fields | {"after": tuple(fields["after"])}) for fields in json.loads(path.read_bytes())]
        same = all(cache.file_key(top / module.path) == module.stamp for module in found)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if same else None


def _needed(kernel: Kernel, top: Path, names: list[str], deadline: Deadline) -> dict[str, Module]:
    """``names`` and all they depend on, in no order."""
    paths = _files(top)
    builtin = _built_in(top) | {name for name in names if built_in(kernel, name)}
    found: dict[str, Module] = {}
    wanted = [(name, "") for name in names if name in paths]
    for name, needing in wanted:  # which grows meanwhile
        if name in found or name in builtin:
            continue
        if name not in paths:
            raise RequestError(
                f"the module {needing} of {kernel.release} needs {name}, which is not there",
                cause=f"no {name}.ko below {top}, nor is it in modules.builtin",
                hint="give a kernel with all its modules, as `make modules_install` or all of its packages have them",
            )
        path = top / paths[name]
        facts = _modinfo(_unpacked(path, deadline), path, kernel)
        # A softdep may be an alias, or of another architecture: what is not there is not needed.
        soft = [each for each in map(spelt, facts["softdep"]) if each in paths and each not in builtin]
        hard = [each for each in map(spelt, facts["depends"]) if each not in builtin]
        kept = _unpacks(kernel, paths[name][paths[name].rindex(".ko") :])
        found[name] = Module(name, paths[name], (*soft, *hard), kept, cache.file_key(path))
        wanted += [(each, name) for each in (*soft, *hard)]
    return found


def _ordered(found: dict[str, Module], top: Path) -> list[Module]:
    try:
        order = list(TopologicalSorter({name: module.after for name, module in found.items()}).static_order())
    except CycleError as error:
        raise RequestError(
            f"modules need each other: {' -> '.join(error.args[1])}",
            cause=f"depends and softdep in the .modinfo of those below {top}",
            hint="no kernel can load them; build them again, from scratch",
        ) from error
    return [found[name] for name in order]


def _modinfo(data: bytes, path: Path, kernel: Kernel) -> dict[str, list[str]]:
    """The names in ``depends`` and in the first half of ``softdep`` of a module that fits ``kernel``."""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - slow, and only needed once for each module
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    try:
        elf = ELFFile(io.BytesIO(data))
        machine, section = str(elf["e_machine"]), elf.get_section_by_name(".modinfo")
        text = section.data().decode(errors="replace") if section else ""
    except (ELFError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(path, str(error) or "it is no ELF file") from error
    pairs = [line.partition("=")[::2] for line in text.split("\0")]
    # scripts/mod/modpost.c: the first word is the release, the others are checked by the kernel itself.
    release = next((value.split()[0] for key, value in pairs if key == "vermagic" and value), "")
    if not release:
        raise _damaged(path, "its .modinfo has no vermagic")
    if (machine, release) != (kernel.arch.elf_machine, kernel.release):
        raise RequestError(
            f"{path} is a module of {release} for {machine.removeprefix('EM_')}, not of {kernel.release}",
            cause="its ELF header, and vermagic in its .modinfo",
            hint="build and install the modules together with the kernel (make modules_install)",
        )
    # softdep=pre: a b post: c
    soft = [value.partition("pre:")[2].partition("post:")[0] for key, value in pairs if key == "softdep"]
    hard = [value.replace(",", " ") for key, value in pairs if key == "depends"]
    return {"softdep": " ".join(soft).split(), "depends": " ".join(hard).split()}


def _damaged(path: Path, cause: str) -> RequestError:
    return RequestError(f"{path} is no kernel module, or a damaged one", cause=cause, hint="install the modules again")


def _unpacked(path: Path, deadline: Deadline) -> bytes:
    """A module as it was before it was compressed. Raises RequestError, HostError."""
    if path.suffix == ".zst":
        return _unzstd(path, deadline)
    unpack: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress}
    try:
        return unpack.get(path.suffix, bytes)(path.read_bytes())
    except (lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error


def _unzstd(path: Path, deadline: Deadline) -> bytes:
    # Python has no zstd before 3.14.
    with cache.scratch("module") as scratch:
        try:
            done = process.run(["zstd", "-d", "-q", path, "-o", scratch / "module"], deadline, merge=True)
        except HostError as error:
            if "is not installed" in error.what:
                error.what, error.hint = f"{path.name} cannot be unpacked: {error.what}", "apt-get install zstd"
            raise
        if done.returncode:
            cache.full(done.stdout, scratch)
            raise _damaged(path, done.stdout.strip())
        return (scratch / "module").read_bytes()

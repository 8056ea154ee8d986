# SPDX-License-Identifier: GPL-2.0-only
"""kselftest: the tests that a kernel's tree brings, built from it for a guest, once for all who ask for the same files.

They are linked with Debian's libraries of the guest's architecture, which lie beside them in the guest: so neither a
libc for cross compilers nor anything of the host's is needed. A program of theirs is 40 KB, and 800 KB if it is static.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness import base, cache, checkout, process, toolchain, userland
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.initramfs import Archive, Entry
from harness.kernel import Kernel
from harness.make import ALWAYS, Make
from harness.spec import TreeSpec
from harness.tree import Tree

#: Where a tree has them.
TOP = "tools/testing/selftests"
#: Where they are in a guest, from its root.
GUEST = "kselftest"
#: What is there beside them: which program belongs to which directory, as `make emit_tests` says it.
LIST = "tests.json"
#: What they are compiled and linked with, of the guest's architecture. Without libfuse, so one program is not made.
PACKAGES = ("libc6", "libc6-dev", "libcap-dev", "libcap2")
#: The last one is loaded when a thread ends.
LIBRARIES = ("libc.so.6", "libcap.so.2", "libgcc_s.so.1")
#: Whose kernels have no tree at hand get the tests of this one.
NEWEST = "isolated"
#: What they are made from, beside their own directory: the kernel's headers.
HEADERS = ("include/uapi", "arch", "tools/include", "scripts", "Makefile")
#: Of these built things the cache keeps so many, 5 MB each.
KEPT = 20


def of(kernel: Kernel, directories: Sequence[str], deadline: Deadline) -> Path:
    """Where the selftests for a guest of ``kernel`` are: those of its own tree, else of Debian's newest.

    ``directories``: globs below TOP. Raises RequestError, BuildError, HostError.
    """
    tree = kernel.tree or base.seen(TreeSpec(f"debian:{NEWEST}:source", NEWEST), deadline)
    return built(tree, kernel.arch, directories, deadline)


def built(tree: Tree, arch: Arch, directories: Sequence[str], deadline: Deadline) -> Path:
    """The selftests of ``tree``: a directory with those of TOP, ``lib``, and LIST. Raises as ``of`` does."""
    tools = toolchain.choose(arch, deadline, several=True)
    trees = userland.unpacked(arch, PACKAGES, deadline)
    listed = tree.repository.git("ls-tree", tree.oid, "--", TOP, *HEADERS, deadline=deadline)
    # The code too, so that nobody has to remember to delete the cache after an edit.
    facts = [
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        listed,
        arch.name,
        tools.version,
        sorted(tools.make.items()),
        sorted(directories),
        *map(str, trees),
    ]
    final = cache.directory("selftests") / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    with cache.locked(deadline, "selftests", final.name):
        if final.is_dir():
            final.touch()
            return final
        with checkout.checked_out(tree, deadline) as slot, cache.scratch("selftests") as scratch:
            log = cache.directory("log") / f"selftests-{final.name[:16]}.log"
            made = scratch / "made"
            with cache.writing(scratch):
                made.mkdir()
                sysroot = _sysroot(trees, scratch / "sysroot")
                log.write_text(f"{tree.spec}: {tree.oid} for {arch.name}\n{tools.version}\n")
            _make(Make(slot / "source", scratch / "output", tools, log), sysroot, directories, made, deadline)
            cache.publish(made, final)
    cache.prune(final.parent.iterdir(), KEPT, sparing=final)
    return final


def archive(place: Path) -> Archive:
    """What ``built`` has left, as a part of a guest's image: below GUEST, with the modes of the files."""
    paths = sorted(path for path in place.rglob("*") if path.name != "build.log")
    entries = [Entry(GUEST, stat.S_IFDIR | 0o755)]
    for path in paths:
        name, body = f"{GUEST}/{path.relative_to(place)}", b"" if path.is_dir() else path.read_bytes()
        entries.append(Entry(name, (stat.S_IFDIR if path.is_dir() else stat.S_IFREG) | 0o755, body=body))
    return Archive(entries=entries)


def _sysroot(trees: Iterable[Path], place: Path) -> Path:
    """Debian's packages as a compiler wants them: together, and merged below usr (the .so files name /lib)."""
    place.mkdir()
    for tree in trees:
        shutil.copytree(tree, place, symlinks=True, dirs_exist_ok=True)
    for name in ("lib", "lib64"):
        if not (place / name).exists():
            (place / name).symlink_to(f"usr/{name}")
    return place


def _make(make: Make, sysroot: Path, directories: Sequence[str], into: Path, deadline: Deadline) -> None:
    """Build the directories and put what a guest needs of them below ``into``. Raises BuildError, HostError."""
    arch = make.toolchain.arch
    top = make.source / TOP
    found = {path.parent.relative_to(top) for glob in directories for path in top.glob(f"{glob}/Makefile")}
    if not found:
        raise RequestError(f"this tree has no {TOP}/{directories[0]}")
    names = sorted(map(str, found))
    make.output.mkdir(parents=True)
    make.run("headers", deadline=deadline)
    libraries = sysroot / "usr/lib" / arch.cross.removesuffix("-")
    flags = [f"--sysroot={sysroot}", f"-B{libraries}/", f"-L{libraries}", f"-isystem {make.output}/usr/include"]
    flags += [f"-Wl,--dynamic-linker=/{GUEST}/lib/{arch.loader}", f"-Wl,-rpath,/{GUEST}/lib,--disable-new-dtags"]
    # Some want the address sanitizer, which is not what is tested here; -w: their warnings are their authors'.
    words = " ".join([*flags, "-fno-sanitize=all", "-s", "-w"])
    own = replace(make, source=top)
    own.run("--keep-going", "all", deadline=deadline, TARGETS=" ".join(names), USERCFLAGS=words)
    listed: dict[str, list[str]] = {}
    for name in names:
        output = make.output / "kselftest" / name
        argv = ["make", "-s", "-C", str(top / name), f"OUTPUT={output}", f"COLLECTION={name}", "emit_tests"]
        said = process.run(argv, deadline, env=make.environment() | ALWAYS)
        if said.returncode:
            raise HostError(f"make emit_tests failed in {TOP}/{name}", cause=said.stderr.strip()[-300:], log=make.log)
        (into / name).mkdir(parents=True, exist_ok=True)
        listed[name] = [line.partition(":")[2] for line in said.stdout.splitlines() if line.startswith(f"{name}:")]
        for path in [*(top / name).iterdir(), *output.iterdir()]:
            if path.is_file() and path.stat().st_mode & stat.S_IXUSR:
                shutil.copy(path, into / name / path.name)
    (into / "lib").mkdir()
    for name in (arch.loader, *LIBRARIES):
        shutil.copy((libraries / name).resolve(), into / "lib" / name)
    (into / LIST).write_text(json.dumps(listed, indent=1) + "\n")
    shutil.copy(make.log, into / "build.log")

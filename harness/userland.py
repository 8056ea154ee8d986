# SPDX-License-Identifier: GPL-2.0-only
"""Debian's real programs for a guest: chosen files of packages, with all that they need to run, as one cpio archive.

No maintainer script is run, and nothing of the host gets in. An archive is made once and stays as it is, whatever the
mirror has since; what it is made from is kept too, so that another choice of files needs no network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import apt, cache, initramfs, overlay
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import RequestError
from harness.initramfs import Archive, Entry
from harness.overlay import MERGED, Overlay, merged

log = logging.getLogger(__name__)

#: What is kept for each architecture, the last used ones: archives of 3 to 40 MB, lists of what belongs together, and
#: unpacked packages, of which systemd alone takes some 60.
KEPT, KEPT_PACKAGES = 24, 400

#: What Debian calls a package (Debian Policy 5.6.7).
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def archive(arch: Arch, packages: Sequence[str], files: Sequence[str], deadline: Deadline) -> Path:
    """The cpio archive, not compressed, with those ``files`` of Debian's ``packages`` and what those depend on.

    ``files`` are globs relative to the root (`usr/lib/systemd/**`). Beside what fits them there are the loaders,
    libraries, interpreters and targets of links that those need. Raises RequestError for a glob that nothing fits,
    HostError for a package or a library that is not to be had.
    """
    final = cache.directory("userland") / f"{arch.name}-{_key(arch, packages, files)}.cpio"
    if not cache.used(final):
        packed = Archive(entries=entries(arch, packages, files, deadline)).pack()
        log.info("a guest's programs for %s: %d KiB", arch.name, len(packed) >> 10)
        cache.write(final, packed)
        cache.prune(final.parent.glob(f"{arch.name}-*"), KEPT, sparing=final)
    return final


def _key(arch: Arch, packages: Sequence[str], files: Sequence[str]) -> str:
    # The code too, so that nobody has to remember to delete the cache after an edit.
    code = [Path(module.__file__ or "").read_bytes() for module in (sys.modules[__name__], overlay, initramfs)]
    facts = json.dumps([arch.name, sorted(set(packages)), sorted(set(files))]).encode()
    return hashlib.sha256(b"\0".join([facts, *code])).hexdigest()[:16]


def entries(arch: Arch, packages: Sequence[str], files: Sequence[str], deadline: Deadline) -> list[Entry]:
    """What is in such an archive, in order. Raises RequestError, HostError."""
    root = Overlay(unpacked(arch, packages, deadline), f"{arch.qemu}-linux-gnu")
    ahead, looked_at, chosen = [], set(), set[str]()
    for glob in files:
        if not (fitting := root.fitting(glob)):
            raise RequestError(
                f"no file of Debian's {', '.join(sorted(set(packages)))} for {arch.name} fits {glob}",
                hint="see what they have: https://packages.debian.org/sid/PACKAGE, list of files",
            )
        ahead += fitting
    while ahead:
        found = root.follow(ahead.pop())
        chosen.update(found.passed)
        if found.real and found.real not in looked_at:
            looked_at.add(found.real)
            ahead += root.needs(found.real)
    return _pack(root, chosen) if chosen else []


def _pack(root: Overlay, chosen: set[str]) -> list[Entry]:
    made = {path: _entry(path, root.files[path]) for path in chosen}
    for name in MERGED:
        made[name] = Entry(name, stat.S_IFLNK | 0o777, body=f"usr/{name}".encode())
        for path in ("usr", f"usr/{name}"):
            made.setdefault(path, Entry(path, stat.S_IFDIR | 0o755))
    return [made[path] for path in sorted(made, key=lambda path: path.split("/"))]


def _entry(path: str, host: Path) -> Entry:
    mode = host.lstat().st_mode
    if stat.S_ISLNK(mode):
        return Entry(path, stat.S_IFLNK | 0o777, body=os.fsencode(host.readlink()))
    return Entry(path, mode, body=host.read_bytes() if stat.S_ISREG(mode) else b"")


def unpacked(arch: Arch, packages: Sequence[str], deadline: Deadline) -> list[Path]:
    """The trees of ``packages`` and of all that they depend on, fetched where they are not in the cache.

    Raises RequestError for what is no name, HostError.
    """
    names = sorted(set(packages))
    for name in names:
        if not NAME.fullmatch(name):
            raise RequestError(f"{name!r} is not the name of a Debian package")
    key = hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]
    known = cache.root() / "closures" / arch.debian / f"{key}.json"
    if (trees := _known(arch, known)) is not None or not names:
        return trees or []
    with cache.locked(deadline, "apt", arch.debian):
        if (trees := _known(arch, known)) is not None:
            return trees
        with apt.fetching(f"Debian's {', '.join(names)}", arch):
            private = apt.Apt(arch)
            try:
                found = _fetch(private, names, deadline)
            except apt.AptError as failure:  # there are no lists yet, or the mirror has moved on since
                log.debug("%s", failure)
                private.update(deadline)
                found = _fetch(private, names, deadline)
        cache.write(known, json.dumps(found).encode())
        cache.prune(known.parent.iterdir(), KEPT, sparing=known)
        cache.prune((cache.root() / "packages" / arch.debian).iterdir(), KEPT_PACKAGES)
    return [_place(arch, package) for package in found]


def owners(arch: Arch, path: str) -> list[str]:
    """The packages in the cache that have ``path``, an absolute one."""
    inside = merged(path.lstrip("/"))
    packages = cache.root() / "packages" / arch.debian
    return sorted({tree.name.partition("_")[0] for tree in packages.glob("*") if os.path.lexists(tree / inside)})


def _place(arch: Arch, package: apt.Package) -> Path:
    return cache.root() / "packages" / arch.debian / f"{package.name}_{package.version}"


def _known(arch: Arch, known: Path) -> list[Path] | None:
    try:
        trees = [_place(arch, apt.Package(*words)) for words in json.loads(known.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None
    return trees if cache.used(known) and all(cache.used(tree) for tree in trees) else None


def _fetch(private: apt.Apt, names: Sequence[str], deadline: Deadline) -> list[apt.Package]:
    """Have the closure of ``names`` unpacked in the cache; returns what it is."""
    arch = private.arch
    closure = private.closure(names, deadline)
    missing = [package for package in closure if not cache.used(_place(arch, package))]
    log.info("fetching %d of Debian's packages for %s", len(missing), arch.name)
    with cache.scratch("packages") as scratch:
        if missing:
            private.download(missing, scratch, deadline)
        for package in missing:
            [deb] = scratch.glob(f"{package.name}_*.deb")
            tree = scratch / package.name
            apt.extract(deb, tree, deadline)
            with cache.writing(tree):
                tree.mkdir(exist_ok=True)  # one without any file
            cache.used(cache.publish(tree, _place(arch, package)))  # it has the time of the package's own directory
    return closure

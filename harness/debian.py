# SPDX-License-Identifier: GPL-2.0-only
"""Debian's kernels: chosen by version or era, fetched by apt, unpacked into the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from harness import apt, cache
from harness.apt import Apt, AptError, Package
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

log = logging.getLogger(__name__)

#: An era and the half-open ranges of versions that are in it, the preferred one first.
ERAS: dict[str, tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]] = {
    "isolated": (((7, 3), (1000,)),),
    "rootfs": (((7, 0), (7, 3)),),
    "none": (((0,), (7, 0)),),
    "shared": (((7, 0), (7, 3)), ((0,), (7, 0))),
}
#: Flavour and the word of it in a package's name.
FLAVOURS = {"cloud": "-cloud", "full": ""}
#: What passes for a flavour, and is the source tree that Debian builds them from: one for all architectures.
SOURCE = "source"
#: Seconds after which the lists of packages are fetched again.
FRESH = 24 * 3600.0
#: Seconds after which lists that could not be fetched are tried again, though older ones have what is wanted.
PATIENCE = 300.0
#: In an unpacked kernel: its Debian packages, their versions and sizes.
MANIFEST = "packages.json"
#: What of a package nobody needs to boot: documentation, and the device trees of real boards.
SUPERFLUOUS = ("usr/share", "usr/lib/linux-image-*", "usr/lib/modules/*/dtb")
#: Bytes below which a linux-image-* package is an empty one that only depends on others.
EMPTY = 1 << 20

KERNEL = re.compile(
    r"linux-(?P<kind>binary-unsigned|binary|image|modules|base)-(?P<release>\d[\w.+~]*(?:-\d+)?(?:-rc\d+)?"
    r"(?P<flavour>-cloud)?-(?:amd64|arm64))(?P<unsigned>-unsigned)?"
)
SOURCES = re.compile(r"linux-source-\d+\.\d+")


@dataclass(frozen=True)
class Candidate:
    """A kernel that Debian has: ``packages`` make it up, ``key`` orders it among the others."""

    release: str
    upstream: str
    packages: tuple[Package, ...]
    modules: bool

    @property
    def key(self) -> tuple[tuple[int, ...], bool, int, tuple[int, ...]]:
        """Compares as the versions do: 7.3-rc7 < 7.3 < 7.3.4 < 7.10, then Debian's +deb13 < +deb14."""
        base, _, candidate = self.upstream.partition("~rc")
        parts = numbers(base)
        suffix = numbers(self.release.partition("-")[0].partition("+")[2])
        return parts[:2], not candidate, int(candidate) if candidate.isdigit() else (parts + (0,) * 3)[2], suffix


def numbers(text: str) -> tuple[int, ...]:
    """All the numbers in ``text``."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def candidates(packages: Iterable[Package], flavour: str) -> list[Candidate]:
    """The kernels among ``packages``, oldest first.

    Since 6.19 a kernel is split: linux-binary-R is the image, linux-modules-R the modules, linux-base-R the config, and
    linux-image-R an empty package that depends on them. Before, linux-image-R is all of it.
    """
    if flavour == SOURCE:
        trees = [one for one in packages if SOURCES.fullmatch(one.name)]
        sources = [
            Candidate(f"{one.name}-{one.version}", one.version.rpartition("-")[0], (one,), modules=True)
            for one in trees
        ]
        return sorted(sources, key=lambda candidate: candidate.key)
    parts: dict[str, dict[str, Package]] = {}
    for package in packages:
        match = KERNEL.fullmatch(package.name)
        if match and (match["flavour"] or "") == FLAVOURS[flavour]:
            kind = match["kind"] + (match["unsigned"] or "")
            parts.setdefault(match["release"], {})[kind] = package
    found = []
    for release, has in parts.items():
        images = [has[kind] for kind in ("image", "image-unsigned") if kind in has and has[kind].size > EMPTY]
        whole = images[0] if images else None
        binary = has.get("binary") or has.get("binary-unsigned")
        chosen = [whole] if whole else [binary, has.get("modules"), has.get("base")]
        if first := whole or binary:
            upstream = first.version.rpartition(":")[2]
            files = tuple(package for package in chosen if package)
            complete = bool(whole) or "modules" in has
            found.append(Candidate(release, upstream.rpartition("-")[0] or upstream, files, complete))
    return sorted(found, key=lambda candidate: candidate.key)


def choose(words: str, among: Sequence[Candidate]) -> Candidate | None:
    """The newest kernel that ``words`` (an era, or the start of a version) means, with modules if there is one."""
    if words in ERAS:
        ranges = [[one for one in among if low <= one.key[0] < high] for low, high in ERAS[words]]
    else:
        base, _, suffix = words.partition("+")
        wanted = numbers(base)
        same = [one for one in among if numbers(one.upstream.partition("~")[0])[: len(wanted)] == wanted]
        ranges = [[one for one in same if not suffix or one.release.startswith(words + "-")]]
    for fitting in ranges:
        if fitting:
            return max(fitting, key=lambda one: (one.modules, one.key))
    return None


def check(words: str, flavour: str) -> None:
    """Raise RequestError unless debian:WORDS:FLAVOUR can be meant."""
    if words not in ERAS and not re.fullmatch(r"\d+(\.\d+)*(\+[\w.]+)?", words):
        raise RequestError(
            f"debian:{words} is neither a version nor an era", hint=f"debian:7.3, for example, or {', '.join(ERAS)}"
        )
    if flavour not in (*FLAVOURS, SOURCE):
        known = ", ".join((*FLAVOURS, SOURCE))
        raise RequestError(f"Debian's kernel flavour {flavour!r} is unknown", hint=f"one of: {known}")


def newest(words: str, arch: Arch, flavour: str, deadline: Deadline) -> Candidate:
    """The newest kernel for ``words``, from lists no older than a day. Raises RequestError, HostError."""
    check(words, flavour)
    with cache.locked(deadline, "apt", arch.debian):
        search = Search(words, arch, flavour, deadline)
        try:
            return search.newest()
        except AptError as failure:
            raise search.unreachable(failure) from failure


def fetch(words: str, arch: Arch, flavour: str, deadline: Deadline) -> Path:
    """The directory of that kernel, unpacked; fetched if it is not in the cache. Raises RequestError, HostError.

    With fresh lists and an unpacked kernel neither apt nor the network is used (milliseconds). When the mirror cannot
    be reached, an unpacked kernel that fits will do.
    """
    check(words, flavour)
    with cache.locked(deadline, "apt", arch.debian):
        search = Search(words, arch, flavour, deadline)
        try:
            chosen = search.newest()
            place = cache.directory("debian") / chosen.release
            if place.is_dir():
                return place
            try:
                return download(chosen, search.apt, deadline)
            except AptError as gone:
                # The version may have moved on since the lists were fetched: once more with new ones.
                if search.refreshed:
                    raise
                log.debug("%s", gone)
                search.refresh()
                return download(search.newest(), search.apt, deadline)
        except AptError as failure:
            if fallback := choose(words, unpacked(arch, flavour)):
                log.warning("no mirror (%s); using %s, which is here", failure.cause, fallback.release)
                return cache.directory("debian") / fallback.release
            raise search.unreachable(failure) from failure


class Search:
    """One look for a kernel in the lists, which are fetched at most once on the way."""

    def __init__(self, words: str, arch: Arch, flavour: str, deadline: Deadline) -> None:
        self.words, self.arch, self.flavour, self.deadline = words, arch, flavour, deadline
        self.apt = Apt(arch)
        self.index = cache.directory("apt", arch.debian) / "kernels.json"
        self.refreshed = False
        self.failure: AptError | None = None

    def refresh(self) -> None:
        """Fetch the lists and write down the kernels in them; a failure is kept for when it matters."""
        self.refreshed = True
        log.info("fetching Debian's list of kernels for %s", self.arch.name)
        try:
            self.apt.update(self.deadline)
        except AptError as failure:
            self.failure = failure
            log.debug("%s", failure)
        # After a failure there may still be lists: older ones, or those of other suites.
        pattern = rf"^linux-((binary|image|modules|base)-.*[0-9].*-{self.arch.debian}(-unsigned)?|source-[0-9.]+)$"
        listed = self.apt.search(pattern, self.deadline)
        kernels = [one for one in listed if KERNEL.fullmatch(one.name) or SOURCES.fullmatch(one.name)]
        with cache.writing(self.index):
            partial = self.index.with_suffix(".new")
            partial.write_text(json.dumps(kernels))
            if self.failure:
                # Good for this run, so that it waits for the mirror once; the next one tries again.
                os.utime(partial, (time.time(), time.time() - FRESH + PATIENCE))
            partial.replace(self.index)

    def known(self) -> list[Candidate]:
        """The kernels in the lists as they are."""
        try:
            return candidates(starmap(Package, json.loads(self.index.read_text())), self.flavour)
        except (OSError, ValueError, TypeError):
            return []

    def newest(self) -> Candidate:
        """The kernel wanted. Raises AptError if the mirror is away, RequestError if it has no such kernel."""
        if not self.refreshed and (not self.index.is_file() or time.time() - self.index.stat().st_mtime > FRESH):
            self.refresh()
        chosen = choose(self.words, self.known())
        if chosen is None and not self.refreshed:
            self.refresh()
            chosen = choose(self.words, self.known())
        if chosen is not None:
            return chosen
        if self.failure:
            raise self.failure
        raise self.missing()

    def missing(self) -> RequestError:
        """The error for a version that Debian does not have, with those nearest to it."""
        versions = {one.key[:3]: one.upstream.replace("~", "-") for one in self.known()}
        keys = sorted(versions)
        parts = (*numbers(self.words), 0, 0, 0) if self.words not in ERAS else (1000, 0, 0)
        at = bisect(keys, (parts[:2], True, parts[2]))
        near = ", ".join(versions[key] for key in keys[max(0, at - 3) : at + 2])
        return RequestError(
            f"Debian has no kernel {self.words} ({self.flavour}) for {self.arch.name}",
            hint=f"nearest are: {near}" if near else "the mirror lists no kernel of that flavour at all",
        )

    def unreachable(self, failure: AptError) -> HostError:
        """The error for a mirror that cannot be reached when nothing in the cache will do."""
        return HostError(
            f"Debian's kernel {self.words} ({self.flavour}) for {self.arch.name} could not be fetched",
            cause=failure.cause,
            log=failure.log,
            hint="check the network and http_proxy, or give a kernel that is here: an image or .deb files",
        )


def unpacked(arch: Arch, flavour: str) -> list[Candidate]:
    """The kernels that earlier runs left in the cache."""
    packages: list[Package] = []
    which = "linux-source-*" if flavour == SOURCE else f"*-{arch.debian}"
    for manifest in cache.directory("debian").glob(f"{which}/{MANIFEST}"):
        packages += starmap(Package, json.loads(manifest.read_text()))
    return candidates(packages, flavour)


def download(chosen: Candidate, mirror: Apt, deadline: Deadline) -> Path:
    """Fetch and unpack ``chosen``. Raises AptError if the mirror does not give it, HostError."""
    log.info("fetching Debian's kernel %s", chosen.release)
    with cache.scratch("debian") as scratch:
        mirror.download(chosen.packages, scratch, deadline)
        tree = scratch / "tree"
        for deb in sorted(scratch.glob("*.deb")):
            extract(deb, tree, deadline)
            deb.unlink()
        with cache.writing(tree):
            (tree / MANIFEST).write_text(json.dumps(chosen.packages))
        return cache.publish(tree, cache.directory("debian") / chosen.release)


def unpack(debs: Sequence[Path], deadline: Deadline) -> Path:
    """The directory with the contents of ``debs`` together, in the cache by what is in them. Raises RequestError."""
    digest = hashlib.sha256()
    for deb in debs:
        try:
            with deb.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        except FileNotFoundError as error:
            raise RequestError(f"{deb} does not exist") from error
        except OSError as error:
            raise RequestError(f"{deb} cannot be read", cause=error.strerror or str(error)) from error
    name = digest.hexdigest()[:32]
    with cache.locked(deadline, "debs", name):
        place = cache.directory("debs") / name
        if not place.is_dir():
            with cache.scratch("debs") as scratch:
                for deb in debs:
                    extract(deb, scratch / "tree", deadline)
                cache.publish(scratch / "tree", place)
    return place


def extract(deb: Path, tree: Path, deadline: Deadline) -> None:
    """Unpack one package into ``tree``, without what nobody boots. Raises RequestError if it is none, HostError."""
    apt.extract(deb, tree, deadline)
    for pattern in SUPERFLUOUS:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

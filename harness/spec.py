# SPDX-License-Identifier: GPL-2.0-only
"""What the words of a SPEC and of a TREE ask for; nothing is fetched, unpacked or built for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import debian, tree
from harness.arch import ARCHES
from harness.errors import RequestError

DEBIAN = "debian:"
TREES = "a TREE is a directory, DIRECTORY@REVISION, a .tar.xz, or debian:VERSION"
SPECS = (
    "a SPEC is a bzImage, Image, vmlinuz or vmlinux, a build directory, .deb files (a.deb,b.deb), debian:VERSION, "
    "or a source tree: a directory, DIRECTORY@REVISION, a .tar.xz, debian:VERSION:source"
)


@dataclass(frozen=True)
class DebianSpec:
    """``debian:WORDS[:FLAVOUR]``; ``words`` is the start of a version, or an era."""

    words: str
    flavour: str


@dataclass(frozen=True)
class TreeSpec:
    """What has to be built first. ``source``: of Debian's, as DebianSpec; else ``spec`` says where the tree is."""

    spec: str
    source: str = ""


Spec = DebianSpec | TreeSpec | tuple[Path, ...]


def parse_spec(spec: str) -> Spec:
    """What ``spec`` asks for: a Debian kernel, or a path, or several .deb files. Raises RequestError."""
    if spec.startswith(DEBIAN):
        words, *rest = spec.removeprefix(DEBIAN).split(":")
        if len(rest) > 1:
            raise RequestError(f"{spec} has too many colons", hint="debian:VERSION or debian:VERSION:full")
        wanted = DebianSpec(words, rest[0] if rest else "cloud")
        debian.check(wanted.words, wanted.flavour)
        return TreeSpec(spec, wanted.words) if wanted.flavour == debian.SOURCE else wanted
    if not spec:
        raise RequestError("an empty SPEC names no kernel", hint=SPECS)
    path = tree.named(spec)
    if path.exists():
        built = any((path / arch.image).is_file() for arch in ARCHES)
        return TreeSpec(spec) if tree.is_tree(path) and not built else (path,)
    if tree.split(spec)[1]:
        return TreeSpec(spec)
    paths = tuple(tree.named(part) for part in spec.split(",") if part)
    if len(paths) > 1 and any(path.suffix != ".deb" for path in paths):
        raise RequestError(f"{spec} does not exist, nor is it a list of .deb files", hint=SPECS)
    for path in paths:
        if not path.exists():
            raise RequestError(f"{path} does not exist", hint=SPECS)
    return paths


def parse_tree(spec: str) -> TreeSpec:
    """The tree that ``spec`` asks for, though it may have an image in it. Raises RequestError if there is none.

    ``debian:VERSION`` is Debian's source.
    """
    if spec.startswith(DEBIAN):
        spec += f":{debian.SOURCE}" if spec.count(":") == 1 else ""
        wanted = parse_spec(spec)
        if isinstance(wanted, TreeSpec):
            return wanted
        raise RequestError(f"{spec} is a kernel, not a tree", hint=TREES)
    if not spec or not tree.split(spec)[0].exists():
        raise RequestError(f"{spec or 'an empty TREE'} does not exist", hint=TREES)
    return TreeSpec(spec)

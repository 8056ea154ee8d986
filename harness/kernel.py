# SPDX-License-Identifier: GPL-2.0-only
"""From a SPEC to a Kernel: something that boots, and what is known of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from harness import base, build, cache, debian, image, kconfig, vmlinux
from harness.arch import ARCHES, Arch
from harness.build import Built, Order
from harness.deadline import Deadline
from harness.errors import HostError, RequestError
from harness.spec import SPECS, TREES, DebianSpec, TreeSpec, parse_spec, parse_tree
from harness.tree import Tree

#: Where packages put their images: Debian since 6.19, others and `make bindeb-pkg`.
IMAGES = ("usr/lib/modules/*/vmlinuz*", "lib/modules/*/vmlinuz*", "boot/vmlinuz-*", "boot/vmlinux-*")
#: Where modules are, below the root of a package or of a host.
MODULES = ("usr/lib/modules", "lib/modules")


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot. ``image`` is the file the user meant, ``boot`` the one that QEMU's -kernel is given.

    ``modules`` is its lib/modules/<release> directory. ``config`` maps CONFIG_X to y, m or a value without quotes;
    what is not set is not in it. ``elf`` lies where its vmlinux would be, and may be of another build. Each is None if
    it was not found.
    """

    spec: str
    image: Path
    boot: Path
    arch: Arch = field(hash=False)
    release: str
    modules: Path | None
    config: Mapping[str, str] | None = field(hash=False, repr=False)
    elf: Path | None = None
    #: What it was built from, for one that was built here: the commit or the tree object, shortened.
    source: str = ""
    #: That tree; None for one that was not built here.
    tree: Tree | None = field(default=None, repr=False)
    #: Of the compilers, in all of it; None where nobody knows.
    warnings: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """A short label; it does not say the architecture."""
        return "-".join(part for part in (self.release.removesuffix(f"-{self.arch.debian}"), self.source) if part)

    @property
    def label(self) -> str:
        """Unlike that of any other kernel in a run: release and architecture."""
        return f"{self.name}-{self.arch.name}"

    @cached_property
    def claims(self) -> vmlinux.Claims | None:
        """What the vmlinux of this very build says of itself, None if there is none.

        Raises RequestError if what lies in its place cannot be read.
        """
        if self.elf is None:
            return None
        claims = vmlinux.read(self.elf)
        same = self.boot.samefile(self.elf) or (claims.version and claims.version == vmlinux.version(self.boot))
        return claims if same else None

    @property
    def version(self) -> tuple[int, int]:
        """The series, (7, 3)."""
        major, minor = re.findall(r"\d+", self.release)[:2]
        return int(major), int(minor)


def resolve(
    spec: str, arches: Sequence[Arch], deadline: Deadline, order: Order | None = None, *, trees: bool = False
) -> list[Kernel]:
    """The kernels that ``spec`` means: of debian: and of a tree one for each of ``arches``, else one for one of them.

    Where there are none, it is both architectures of debian:, and for a tree that of $ARCH or the host's own. A tree
    is built as ``order`` says; with ``trees`` also one that has an image in it. Raises RequestError if it is no kernel
    or one for another architecture; BuildError; HostError if it cannot be fetched, unpacked or built.
    """
    order = order or Order()
    wanted = parse_tree(spec) if trees else parse_spec(spec)
    if order.series and not isinstance(wanted, TreeSpec):
        hint = f"Debian's source of it is {spec}:source" if spec.count(":") == 1 else TREES
        raise RequestError(f"{spec} is a kernel, and a series is applied to a tree", hint=hint)
    if isinstance(wanted, DebianSpec):
        return [from_debian(spec, wanted, each, deadline) for each in arches or ARCHES]
    if isinstance(wanted, TreeSpec):
        return list(from_tree(source(wanted, deadline, order), arches, deadline, order))
    arch = arches[0] if len(arches) == 1 else None
    if wanted[0].suffix == ".deb" and wanted[0].is_file():
        return [from_debs(spec, wanted, arch, deadline)]
    if wanted[0].is_dir():
        return [from_directory(spec, wanted[0].absolute(), arch, deadline)]
    return [from_image(spec, wanted[0].absolute(), arch, deadline)]


def source(wanted: TreeSpec, deadline: Deadline, order: Order) -> Tree:
    """The tree that has to be built, with the series of ``order`` on it. Raises RequestError, HostError."""
    if not order.series:
        return base.seen(wanted, deadline)
    from harness import apply  # noqa: PLC0415 - most runs have no series
    from harness import source as sources  # noqa: PLC0415

    series = sources.read(order.series, deadline)
    return apply.applied(series, wanted.spec, apply.Wish(), deadline, order.say).steps[-1].tree


def from_tree(seen: Tree, arches: Sequence[Arch], deadline: Deadline, order: Order) -> Iterator[Kernel]:
    """The kernels built from a tree, one after the other. Raises RequestError, BuildError, HostError."""
    for built in build.ordered(seen, arches or [build.default_arch()], order, deadline):
        yield replace(from_built(seen.spec, built, deadline), source=seen.short, tree=seen)


def from_built(spec: str, built: Built, deadline: Deadline) -> Kernel:
    """A kernel that was built here."""
    modules = first(place for place in built.place.glob("lib/modules/*") if (place / "kernel").is_dir())
    return replace(from_image(spec, built.image, None, deadline), modules=modules)


def from_debian(spec: str, wanted: DebianSpec, arch: Arch, deadline: Deadline) -> Kernel:
    """A kernel of Debian's, fetched if it is not in the cache."""
    tree = debian.fetch(wanted.words, arch, wanted.flavour, deadline)
    return from_image(spec, packaged(tree, spec), arch, deadline)


def from_debs(spec: str, debs: tuple[Path, ...], arch: Arch | None, deadline: Deadline) -> Kernel:
    """The kernel in packages that the user has."""
    tree = debian.unpack(debs, deadline)
    try:
        return from_image(spec, packaged(tree, spec), arch, deadline)
    except RequestError:
        shutil.rmtree(tree, ignore_errors=True)
        raise


def packaged(tree: Path, spec: str) -> Path:
    """The one image in unpacked packages. Raises RequestError if there is none, or more than one."""
    # A package of debug symbols has its vmlinux elsewhere (usr/lib/debug), and is not meant.
    images = sorted({path.resolve() for pattern in IMAGES for path in tree.glob(pattern) if path.is_file()})
    if not images:
        raise RequestError(
            f"{spec} has no kernel in it (no {' or '.join(IMAGES[:3])})",
            hint="the image is in linux-binary-* or linux-binary-unsigned-*, until 6.18 in linux-image-*",
        )
    if len(images) > 1:
        names = ", ".join(str(path.relative_to(tree.resolve())) for path in images)
        raise RequestError(f"{spec} has several kernels in it: {names}", hint="give the packages of one kernel")
    return images[0]


def from_directory(spec: str, directory: Path, arch: Arch | None, deadline: Deadline) -> Kernel:
    """The kernel built in ``directory``: the bootable image of ``arch``, or of the only architecture built there."""
    built = [each for each in ARCHES if (directory / each.image).is_file()]
    fitting = [each for each in built if arch in (None, each)]
    if len(fitting) == 1:
        return from_image(spec, directory / fitting[0].image, arch, deadline)
    images = " and ".join(each.image for each in built)
    if fitting:
        raise RequestError(f"{directory} has several images: {images}", hint="choose one with --arch")
    if built and arch:
        raise RequestError(f"{directory} has {images}, but no image for {arch.name}", hint=f"build {arch.image} there")
    targets = " or ".join(each.image for each in ARCHES)
    if (directory / ".config").is_file():
        raise RequestError(f"{directory} is a build directory without an image", hint=f"build {targets} there first")
    raise RequestError(f"{directory} is a directory with no kernel in it (no {targets})", hint=SPECS)


def from_image(spec: str, path: Path, arch: Arch | None, deadline: Deadline) -> Kernel:
    """The kernel in the file at ``path``, with the modules and the config that lie where they usually do."""
    boot = unwrapped(path, deadline)
    facts = image.identify(path, boot)
    if boot != path:
        facts = replace(facts, format=image.wrapping(path))
    if arch is not None and arch is not facts.arch:
        raise RequestError(
            f"{path} is a kernel for {facts.arch.name}, not for {arch.name}",
            cause=f"its contents: {facts.format}, release {facts.release}",
            hint=f"leave out --arch, or give --arch {facts.arch.name}",
        )
    if not facts.direct:
        boot = beside(path, facts)
    real = path.resolve()  # /boot/vmlinuz is a link to the file with a release in its name
    modules = find_modules(real, facts.release)
    config = find_config(real, facts.arch, facts.release, modules)
    symbols = parse_config(config) if config else None
    elf = path if facts.format == "vmlinux" else find_vmlinux(real, facts.arch, facts.release)
    warnings = build.warnings_of(path)
    return Kernel(spec, path, boot, facts.arch, facts.release, modules, symbols, elf, warnings=warnings)


def unwrapped(path: Path, deadline: Deadline) -> Path:
    """The plain Image inside a gzip'd or EFI zboot one, kept in the cache by its contents; else ``path`` itself."""
    if not image.wrapping(path):
        return path
    # Slow to import, and few images are wrapped.
    from virtme import architectures  # noqa: PLC0415
    from virtme.kernel_image import KernelImageError, normalize_kernel_image  # noqa: PLC0415

    where = cache.directory("images")
    with cache.locked(deadline, "images"), cache.writing(where):
        try:
            return Path(normalize_kernel_image(architectures.get("aarch64"), str(path), where))
        except KernelImageError as error:
            cache.full(str(error), where)
            if "not installed" in str(error):
                raise HostError(f"{path} cannot be unpacked", cause=str(error), hint="apt-get install zstd") from error
            image.identify(path)  # says it better
            raise RequestError(f"{path} cannot be unpacked", cause=str(error), hint=image.ACCEPTED) from error
        finally:
            for left in where.glob("kernel-images/*/*/tmp*"):  # virtme's, when the disk is full
                left.unlink(missing_ok=True)


def beside(path: Path, facts: image.ImageFacts) -> Path:
    """The image of the same build as a vmlinux that QEMU cannot start. Raises RequestError if there is none."""
    other = path.parent / facts.arch.image
    if other.is_file() and image.identify(other).release == facts.release:
        return other
    raise RequestError(
        f"{path} is a vmlinux for {facts.arch.name} that QEMU cannot start: it has no PVH entry (CONFIG_PVH, x86 only)",
        cause=f"release {facts.release}; there is no {facts.arch.image} of the same build beside it",
        hint=f"give {facts.arch.image} of the same build",
    )


def find_modules(path: Path, release: str) -> Path | None:
    """The modules of the image at ``path``: beside it (Debian's layout), or below the root that has its /boot."""
    places = [path.parent] if path.parent.name == release else []
    if path.parent.name == "boot" and path.name.endswith(release):
        places += [path.parent.parent / below / release for below in MODULES]
    return first(place for place in places if (place / "kernel").is_dir())


def find_vmlinux(path: Path, arch: Arch, release: str) -> Path | None:
    """Where the vmlinux of the image at ``path`` would be: at the top of its build directory, or beside it."""
    places = [top / "vmlinux" for top in build_directory(path, arch)]
    places += [path.parent / f"vmlinux-{release}", path.parent / "vmlinux"]
    return first(place for place in places if place.is_file())


def build_directory(path: Path, arch: Arch) -> list[Path]:
    """The top of the build directory that the image at ``path`` lies in, if it does."""
    return [path.parents[len(Path(arch.image).parts) - 1]] if str(path).endswith(f"/{arch.image}") else []


def find_config(path: Path, arch: Arch, release: str, modules: Path | None) -> Path | None:
    """The config of the image at ``path``: beside it, among its modules, or at the top of its build directory."""
    places = [path.parent / f"config-{release}"]
    if path.parent.name == release:
        places.append(path.parent / "config")
    if modules:
        places.append(modules / "config")
    places += [top / ".config" for top in build_directory(path, arch)]
    return first(place for place in [*places, path.parent / "config", path.parent / ".config"] if place.is_file())


def first(paths: Iterable[Path]) -> Path | None:
    """The first of ``paths``, if there is one."""
    return next(iter(paths), None)


def parse_config(path: Path) -> dict[str, str]:
    """The symbols set in a .config (Documentation/kbuild/kconfig-language.rst). Raises RequestError."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise RequestError(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    return {name: value.strip('"') for name, value in kconfig.parse(text).items() if value != "n"}

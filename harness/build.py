# SPDX-License-Identifier: GPL-2.0-only
"""From a tree and what is wanted of it to a kernel in the cache, built once for all who ask for the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import cache, checkout, configure, kconfig, packages, process, toolchain, warned
from harness.arch import Arch, by_name
from harness.deadline import Deadline
from harness.errors import HostError
from harness.kconfig import Wish
from harness.make import ALWAYS, BuildError, Make, Watch
from harness.toolchain import Toolchain
from harness.tree import Tree

#: Seconds that one build may take: a kernel with all profiles on a slow machine.
LIMIT = 4 * 3600.0
#: Kernels and, for each checkout, build directories that are kept; those used longest ago go first. All mutants on
#: both architectures are some 130 kernels of 12 MB: if one less is kept, none of them is there the next time.
KEPT_KERNELS = 160
KEPT_OUTPUTS = 8
#: Objects for each symbol that is set, before a kernel was built here: measured with 7.3's minimal ones.
OBJECTS = 1.7
#: Raised when the same key would stand for another kernel.
FORMAT = 2
#: In a build directory: make is at work there, or was killed at it.
UNFINISHED = ".nullfs-harness-unfinished"
#: What the kernel's Makefile also calls an architecture of ours ($ARCH).
ALIASES = {"x86": "x86_64"}
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Plan:
    """All that goes into a kernel."""

    tree: Tree
    arch: Arch
    toolchain: Toolchain
    wanted: Sequence[Wish]

    @cached_property
    def setting(self) -> str:
        """Names what is built apart from the files of the tree: builds of the same go on from each other."""
        symbols = sorted(wish.line for wish in self.wanted)
        make = sorted(self.toolchain.make.items())
        return _digest([FORMAT, self.arch.name, self.toolchain.version, make, sorted(ALWAYS.items()), symbols])

    @cached_property
    def key(self) -> str:
        """Names the kernel that comes out."""
        return _digest([self.tree.oid, self.setting])


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Built:
    """A kernel in the cache: ``image``, and beside it vmlinux, config, build.log, and lib/modules if it has any."""

    place: Path
    image: Path
    #: Wall and CPU seconds that make took, and objects it made; of this build, which may have gone on from another.
    seconds: float
    cpu: float
    objects: int
    #: Of the compilers, in all of the kernel.
    warnings: tuple[str, ...]
    #: Of the image: bytes, and their sha256.
    size: int
    digest: str

    @property
    def log(self) -> Path:
        """What the tools said."""
        return self.place / "build.log"


@dataclass(frozen=True)
class Order:
    """What is wanted of a kernel that has to be built: profiles and fragments, and what each check needs, by its id."""

    profiles: Sequence[str] = ()
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fragments: Sequence[Path] = ()
    #: Told what goes on, and how far it is.
    say: Callable[[str], None] = lambda _: None
    watch: Watch | None = None
    #: What the tree is patched with before.
    series: str = ""


def default_arch(environ: Mapping[str, str] = os.environ) -> Arch:
    """What make would build for: $ARCH, else the host's own architecture. Raises RequestError."""
    named = environ.get("ARCH", "")
    return by_name(ALIASES.get(named, named) or platform.machine())


def arches_of(names: Sequence[str]) -> list[Arch]:
    """Those that are named, each once; else the one that make would build for. Raises RequestError."""
    return [by_name(name) for name in dict.fromkeys(names)] or [default_arch()]


def ordered(tree: Tree, arches: Sequence[Arch], order: Order, deadline: Deadline) -> Iterator[Built]:
    """A kernel of ``tree`` for each of ``arches``, one after the other. Raises RequestError, BuildError, HostError.

    ``deadline`` is for what comes before; each build has LIMIT seconds of its own.
    """
    plans = []
    for arch in arches:  # so that what is wrong with the last one is told before the first one is built
        wanted = kconfig.wishes(arch, order.profiles, order.needs, order.fragments)
        plans.append(Plan(tree, arch, toolchain.choose(arch, deadline, several=len(arches) > 1), wanted))
    for plan in plans:
        compiler = plan.toolchain.version.partition("\n")[0]
        built = found(plan)
        if built is None:
            packages.provide(packages.builders(deadline), allowed=False)
            order.say(f"building {tree.release} ({tree.short}) for {plan.arch.name} with {compiler}")
            built = build(plan, Deadline.after(LIMIT), order.watch)
            order.say(f"built in {built.seconds:.0f} s ({built.cpu:.0f} s of CPU): {built.image}")
        yield built


def found(wanted: Plan) -> Built | None:
    """The kernel, if it is in the cache."""
    place = cache.root() / "kernels" / wanted.key
    try:
        facts = json.loads((place / "build.json").read_text())
        os.utime(place)
        return _built(place, facts, wanted.arch)
    except (OSError, ValueError, KeyError):
        return None


def _built(place: Path, facts: dict[str, Any], arch: Arch) -> Built:
    numbers = (facts["seconds"], facts["cpu"], facts["objects"], tuple(facts["warnings"]))
    of_image = (facts["image_bytes"], facts["image_sha256"])
    return Built(place, place / Path(arch.image).name, *numbers, *of_image)


def warnings_of(image: Path) -> tuple[str, ...] | None:
    """What compilers warned about in the kernel with that image, if it was built here; None if that is not known."""
    try:
        return tuple(json.loads((image.parent / "build.json").read_text())["warnings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(wanted: Plan, deadline: Deadline, watch: Watch | None = None) -> Built:
    """The kernel that is wanted, built unless it is in the cache; another run that builds the same is waited for.

    Raises TreeError if the tree cannot be configured like that, BuildError if it does not compile, HostError.
    """
    if built := found(wanted):
        return built
    if any(letter in str(cache.root()) for letter in " :"):
        raise HostError(
            f"Kbuild cannot work below {cache.root()}", cause="there is a blank or a colon in that path",
            hint=f"set {cache.VARIABLE} to another directory",
        )  # fmt: skip
    with cache.locked(deadline, "build", wanted.key):
        if built := found(wanted):
            return built
        name = f"build-{wanted.setting[:16]}"
        with checkout.checked_out(wanted.tree, deadline, name) as slot:
            return _build(wanted, slot, slot / name, deadline, watch)


def _build(wanted: Plan, slot: Path, output: Path, deadline: Deadline, watch: Watch | None) -> Built:
    source = slot / "source"
    toolchain.check(wanted.toolchain, source, deadline)
    log = cache.directory("log") / f"build-{wanted.key[:16]}.log"
    make = Make(source, output, wanted.toolchain, log)
    with cache.writing(log):
        log.write_text(f"{wanted.tree.spec}: {wanted.tree.oid} for {wanted.arch.name}\n{wanted.toolchain.version}\n")
    _recover(output)
    again, there = (output / "vmlinux").exists(), sum(1 for _ in output.rglob("*.o"))
    with cache.writing(output):
        output.mkdir(exist_ok=True)
        os.utime(output)
        (output / UNFINISHED).write_text(BOOT_ID.read_text())
    cache.prune(slot.glob("build-*"), KEPT_OUTPUTS, sparing=output)
    try:
        return _made(wanted, make, deadline, watch, there=None if again else there)
    except BuildError:
        (output / UNFINISHED).unlink()  # make has ended by itself, and left all in order
        raise


def _made(wanted: Plan, make: Make, deadline: Deadline, watch: Watch | None, *, there: int | None) -> Built:
    """Make it, and put it into the cache. ``there``: objects that are made; None: nobody knows how many come."""
    begun, before = time.monotonic(), process.children_cpu()
    config = configure.configured(make, wanted.tree, wanted.wanted, deadline)
    symbols = sum(value in ("y", "m") for value in config.values())
    planned = None if there is None else max(1, round(symbols * _ratio(wanted.arch)) - there)
    target = Path(wanted.arch.image).name
    # What nobody asked for, and is a module by default, is not made.
    modular = any(config.get(wish.symbol) == "m" for wish in wanted.wanted)
    modules = [target, "modules"] if modular else [target]
    made = make.run(*modules, deadline=deadline, watch=watch, planned=planned)
    if there is not None:
        _remember(wanted.arch, (made.objects + there) / symbols)
    output = make.output
    files = {target: output / wanted.arch.image, "vmlinux": output / "vmlinux", "config": output / ".config"}
    with files[target].open("rb") as image:
        digest = hashlib.file_digest(image, "sha256").hexdigest()
    facts = {
        "tree": wanted.tree.oid,
        "spec": wanted.tree.spec,
        "release": wanted.tree.release,
        "arch": wanted.arch.name,
        "toolchain": wanted.toolchain.version,
        "objects": made.objects,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu": round(process.children_cpu() - before, 1),
        "warnings": warned.whole(make.record, make.source),
        "image_bytes": files[target].stat().st_size,
        "image_sha256": digest,
    }
    with cache.scratch("kernel") as scratch, cache.writing(scratch):
        place = scratch / "kernel"
        place.mkdir()
        if len(modules) > 1:
            make.run("modules_install", deadline=deadline, INSTALL_MOD_PATH=place, INSTALL_MOD_STRIP="1")
        for name, path in {**files, "build.log": make.log}.items():
            shutil.copyfile(path, place / name)
        (place / "build.json").write_text(json.dumps(facts, indent=1) + "\n")
        final = cache.publish(place, cache.directory("kernels") / wanted.key)
    (make.output / UNFINISHED).unlink()
    cache.prune(final.parent.iterdir(), KEPT_KERNELS, sparing=final)
    return _built(final, facts, wanted.arch)


def _recover(output: Path) -> None:
    """Make what a killed build left good for going on: what was being written when it was killed goes.

    Kbuild writes a target first and then its .cmd file (scripts/Kbuild.include: if_changed), and believes a target
    that is newer than its sources. After a crash of the host nothing is believed: what was written last may be empty.
    """
    with suppress(OSError):
        same = (output / UNFINISHED).read_text() == BOOT_ID.read_text()
        if not same:
            shutil.rmtree(output)
            return
        for command in output.rglob(".*.cmd"):
            target = command.with_name(command.name.removeprefix(".").removesuffix(".cmd"))
            whole = command.read_bytes().endswith(b"\n")
            if not whole or (target.exists() and target.stat().st_mtime_ns > command.stat().st_mtime_ns):
                target.unlink(missing_ok=True)
                command.unlink()


def _ratios() -> dict[str, float]:
    try:
        return {str(name): float(ratio) for name, ratio in json.loads(_file().read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _ratio(arch: Arch) -> float:
    return _ratios().get(arch.name, OBJECTS)


def _remember(arch: Arch, ratio: float) -> None:
    cache.write(_file(), json.dumps(_ratios() | {arch.name: ratio}).encode())


def _file() -> Path:
    return cache.root() / "objects.json"

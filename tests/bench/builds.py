# SPDX-License-Identifier: GPL-2.0-only
"""What it costs to build a kernel for the checks: by the harness, by hand, and by virtme-ng.

In CPU seconds where two ways are compared, for those do not depend on what else the machine does. Without ccache.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import arch, cache, pool, process, toolchain
from harness.arch import Arch
from harness.deadline import Deadline

from .figures import CannotError, Figure, Measured, Way, compared, interleaved, medians
from .subject import TOP, environment, failure, timed

#: Seconds that one build may take: virtme-ng's configuration has thousands of objects.
LIMIT = 6 * 3600.0
#: A file of the series, of which one comment is changed.
TOUCHED = "fs/namespace.c"


@dataclass(frozen=True)
class Yard:
    """A tree, and a cache of its own to build it in, below ``scratch``."""

    spec: str
    arch: Arch
    scratch: Path
    repeats: int

    @property
    def environment(self) -> dict[str, str]:
        """That of the builds."""
        return environment() | {cache.VARIABLE: str(self.scratch / "cache"), "CCACHE_DISABLE": "1"}

    @property
    def words(self) -> list[str | Path]:
        """The command that builds it."""
        return [sys.executable, "-m", "harness", "build", "--no-install", self.spec, "--arch", self.arch.name]

    def place(self, pattern: str) -> Path:
        """The one thing in the cache that is called so. Raises CannotError."""
        found = sorted((self.scratch / "cache").glob(pattern))
        if not found:
            raise CannotError(f"no {pattern} came out of {process.pasteable(self.words)}")
        return found[0]

    def unpack(self) -> None:
        """Have the tree in the cache; an archive is unpacked there as well."""
        if not (self.scratch / "cache").exists():
            # A fragment without a symbol is refused, but only after the tree has been looked at.
            process.run([*self.words, "--fragment", os.devnull], Deadline.after(LIMIT), cwd=TOP, env=self.environment)

    def cold(self) -> float:
        """CPU seconds of a build from nothing; only the tree is in the cache."""
        self.unpack()
        shutil.rmtree(self.scratch / "cache/kernels", ignore_errors=True)
        for left in (self.scratch / "cache").glob("trees/*/slots/*/build-*"):
            shutil.rmtree(left)
        return cpu(self.words, self.environment)

    def by_hand(self) -> float:
        """CPU seconds of tinyconfig, the same symbols on top, and make. After ``cold``."""
        source, output = self.place("trees/*/slots/0/source"), self.scratch / "hand"
        fragment = self.place("trees/*/slots/0/build-*/nullfs-harness.config")
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        chosen = toolchain.choose(self.arch, Deadline.after(60))
        make: list[str | Path] = ["make", "-C", source, f"O={output}", f"-j{pool.processors()}"]
        make += [f"{name}={value}" for name, value in chosen.make.items()]
        merge: list[str | Path] = [source / "scripts/kconfig/merge_config.sh", "-m", "-O", output]
        steps = [*make, "tinyconfig"], [*merge, output / ".config", fragment], [*make, "olddefconfig", self.target]
        return sum(cpu(argv, self.environment) for argv in steps)

    @property
    def target(self) -> str:
        """What make is asked for."""
        return Path(self.arch.image).name

    def virtme(self) -> float:
        """CPU seconds of `vng --build` with the configuration that it makes by itself, of an archive's tree."""
        if shutil.which("vng", path=self.environment["PATH"]) is None:
            raise CannotError("vng is not on the PATH")
        self.unpack()
        copy = self.scratch / "virtme"
        if not copy.exists():
            shutil.copytree(self.place("trees/*/slots/0/source"), copy, symlinks=True)
        words = ["--arch", self.arch.qemu, "--cross-compile", self.arch.cross] if self.foreign else []
        cpu(["make", "-C", copy, "mrproper"], self.environment)
        return cpu(["vng", "--build", *words], self.environment, copy)

    @property
    def foreign(self) -> bool:
        """Whether it is built for another machine than this one."""
        return os.uname().machine != self.arch.qemu

    def warm(self) -> float:
        """Seconds of asking once more. After ``cold``."""
        return timed(self.words, TOP, self.environment)


def cpu(argv: Sequence[str | Path], env: dict[str, str], cwd: Path = TOP) -> float:
    """CPU seconds of a program and all its children. Raises FailedError if it does not end well."""
    before = process.children_cpu()
    with process.spawn(argv, stdout=-1, stderr=-2, cwd=cwd, env=env, family=True) as child:
        output = child.communicate(timeout=LIMIT)[0].decode(errors="replace")
    if child.returncode:
        raise failure(argv, child.returncode, output)
    return process.children_cpu() - before


def build(yard: Yard) -> Measured:
    """A kernel for all checks by the same by hand. Raises FailedError."""
    return compared(
        Way("CPU of build", yard.cold, warmed=False), Way("by hand", yard.by_hand, warmed=False), yard.repeats
    )


def build_virtme(yard: Yard) -> Measured:
    """The same by virtme-ng's default. Raises FailedError, CannotError."""
    ways = Way("CPU of vng --build", yard.virtme, warmed=False), Way("of build", yard.cold, warmed=False)
    return compared(*ways, yard.repeats)


def build_warm(yard: Yard) -> Measured:
    """Seconds of asking for what is there, and of one changed file. Raises FailedError."""
    yard.cold()
    copy = yard.scratch / "tree"
    if not copy.exists():
        shutil.copytree(yard.place("trees/*/slots/0/source"), copy, symlinks=True)
    mine = Yard(str(copy), yard.arch, yard.scratch / "copy", yard.repeats)
    mine.scratch.mkdir(exist_ok=True)
    mine.cold()
    numbers = iter(range(1000))

    def changed() -> float:
        with (copy / TOUCHED).open("a") as file:
            file.write(f"/* {next(numbers)} */\n")
        return timed(mine.words, TOP, mine.environment)

    ways = [Way("once more", yard.warm), Way("once more, a directory", mine.warm), Way("one .c changed", changed)]
    samples = interleaved(ways, max(3, yard.repeats))
    return Measured(
        samples, [Figure.of(name, "s", values) for name, values in samples.items()], [medians(samples, "s")]
    )


def yards(spec: str, names: Sequence[str], scratch: Path, repeats: int) -> list[Yard]:
    """One for each architecture; both if none is named."""
    wanted = [arch.by_name(name) for name in names] or list(arch.ARCHES)
    made = [Yard(spec, each, scratch / f"build-{each.name}", repeats) for each in wanted]
    for yard in made:
        yard.scratch.mkdir()
    return made


#: What is measured for a tree.
TREES = {"build": build, "build-virtme-ng": build_virtme, "build-warm": build_warm}

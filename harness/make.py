# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's make: how it is called, what it says while it works, and what it failed for first."""

from __future__ import annotations

import os
import re
import select
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness import cache, pool, process, warned
from harness.deadline import Deadline
from harness.errors import EXIT_CHECK_FAILED, HarnessError, HostError
from harness.toolchain import Toolchain

#: What would otherwise be different in each image (Documentation/kbuild/reproducible-builds.rst).
ALWAYS = {
    "KBUILD_BUILD_USER": "nullfs-harness",
    "KBUILD_BUILD_HOST": "localhost",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
}
#: Variables of the user's environment that mean something to make or Kbuild, and not to us.
FOREIGN = re.compile(
    # A symbol that is not set is no variable of make's: the environment's is taken.
    r"(CONFIG_|MAKE|MFLAGS|KBUILD_|KCONFIG_|INSTALL_|GIT_).*|GNUMAKEFLAGS|K(C|A|CPP|RUST)FLAGS"
    r"|(HOST|USER)(CC|CXX|LD|AR|(C|CXX|LD|RUST)FLAGS|LDLIBS)|CC|LD|AR|(C|LD)?FLAGS"
    r"|ARCH|SUBARCH|SRCARCH|CROSS_COMPILE|LLVM|LLVM_IAS|LOCALVERSION|KERNEL(VERSION|RELEASE)|O|M|MO|V|W|C|CF"
    # What the kernel's Makefile exports to itself, where it has started us.
    r"|sub_make_done|srctree|objtree|VPATH"
)
#: The lines of Kbuild that stand for a program of several seconds, and what it makes.
OBJECT = re.compile(r"^  (?:CC|AS)(?: \[M\])? +(\S+)")
#: What gcc, clang and make's own messages look like; a line that tells of an error without a place comes second.
PLACED = re.compile(r"^(\S+?:\d+)(?::\d+)?: (?:fatal |internal compiler )?[eE]rror: .*")
TOLD = re.compile(
    r"(?:^|: )(?:fatal |internal compiler )?[eE]rror: |^ERROR: |undefined reference to |: syntax error|: not found$"
    r"|^\*\*\* |: \*\*\* (?!\[|Waiting for|Deleting)"
)
FAILED = re.compile(r"^make(?:\[\d+\])?: \*\*\* \[(?:.*:\d+: )?(\S+)\] (?:Error \d+|Killed|Terminated)")


class BuildError(HarnessError):
    """The tree does not build: the first cause is in it, not in the host. Exit status 1."""

    exit_status = EXIT_CHECK_FAILED


@dataclass(frozen=True)
class Progress:
    """How far a build is: objects, and seconds left. What is not known is None."""

    done: int
    planned: int | None
    left: float | None

    def __str__(self) -> str:
        if self.planned is None:
            return f"{self.done} objects"
        left = "" if self.left is None else f", {round(self.left / 60) or '<1'} min left"
        return f"{self.done} of about {self.planned} objects{left}"


Watch = Callable[[Progress], None]


@dataclass
class Made:
    """What a make has said: how many objects it made, and why it failed."""

    objects: int = 0
    #: The first message with a file and a line in it, the first without, and the first target that failed.
    placed: str = ""
    told: str = ""
    target: str = ""

    def read(self, line: str) -> None:
        """Take notice of a line."""
        if OBJECT.match(line):
            self.objects += 1
        elif not self.placed and PLACED.match(line):
            self.placed = line
        elif not self.target and (failed := FAILED.match(line)):
            self.target = failed[1]
        elif not self.told and TOLD.search(line):
            self.told = line

    @property
    def cause(self) -> str:
        """The first cause, in the compiler's own words."""
        return self.placed or self.told


@dataclass(frozen=True)
class Make:
    """make in the tree ``source``, with all that it makes in ``output``; ``log`` gets what it says."""

    source: Path
    output: Path
    toolchain: Toolchain
    log: Path

    @property
    def record(self) -> Path:
        """What was compiled, and warned about, since the first build there."""
        return self.output / warned.RECORD

    def argv(self, *targets: str, **variables: str | Path) -> list[str | Path]:
        """The command, as it can be pasted."""
        given = {"O": self.output, **self.toolchain.make, **ALWAYS, "LOCALVERSION": "", **variables}
        # Debug information has the paths of our cache in it, and the build id in the image is made from it all.
        flags = f"-fdebug-prefix-map={self.output}=. -fdebug-prefix-map={self.source}=."
        given |= {"KCFLAGS": flags, "KAFLAGS": flags}
        compiler = next(word for word in reversed(self.toolchain.cc) if not word.startswith("-"))
        wanted = shutil.which("ccache") and not os.environ.get("CCACHE_DISABLE")  # ccache(1); it would cost 2 % even so
        if wanted and "ccache" not in self.toolchain.cc:
            # What make takes for the programs that it runs itself (the kernel's Makefile).
            host = compiler if self.toolchain.kind == "clang" else "gcc"
            given |= {"CC": f"ccache {compiler}", "HOSTCC": f"ccache {host}"}
        words = [f"{name}={value}" for name, value in given.items()]
        return ["make", "-C", self.source, f"-j{pool.processors()}", *words, *targets]

    @staticmethod
    def environment() -> dict[str, str]:
        """The user's, without what would make another kernel of it."""
        return {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)} | {"LC_ALL": "C"}

    def run(
        self, *targets: str, deadline: Deadline, watch: Watch | None = None, planned: int | None = None,
        **variables: str | Path,
    ) -> Made:  # fmt: skip
        """Make ``targets``. Raises BuildError with the first cause, HostError if the disk is full or time is up."""
        made = Made()
        argv = self.argv(*targets, **variables)
        with cache.writing(self.log), self.log.open("ab") as log, self.record.open("a") as record:
            log.write(f"$ {process.pasteable(argv)}\n".encode())
            with process.spawn(argv, stdout=-1, stderr=-2, env=self.environment(), family=True) as child:
                assert child.stdout is not None
                begun = time.monotonic()
                for line in self._lines(child.stdout, log, deadline):
                    cache.full(line, self.output)
                    before = made.objects
                    line = line.replace(f"{self.source}/", "")  # noqa: PLW2901
                    made.read(line)
                    if warned.matters(line):
                        record.write(f"{line}\n")
                        record.flush()
                    if watch and made.objects > before:
                        watch(progress(made.objects, planned, time.monotonic() - begun))
                status = child.wait()
        if status:
            raise self.error(made, argv, status)
        return made

    def _lines(self, stream: IO[bytes], log: IO[bytes], deadline: Deadline) -> Iterator[str]:
        rest = b""
        while True:
            if not select.select([stream], [], [], deadline.left())[0]:
                raise HostError(f"make did not end within {deadline.seconds:.0f} s", log=self.log)
            if not (data := os.read(stream.fileno(), 1 << 16)):
                break
            log.write(data)
            log.flush()
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def error(self, made: Made, argv: Sequence[str | Path], status: int) -> BuildError:
        """What there is to say of a make that ended with ``status``."""
        what = f"make failed at {made.target}" if made.target else f"make ended with status {status}"
        return BuildError(
            f"the kernel does not build for {self.toolchain.arch.name}: {what}",
            cause=made.cause,
            log=self.log,
            hint=process.pasteable(argv),
        )


def progress(done: int, planned: int | None, seconds: float) -> Progress:
    """How far it is after ``seconds``, if about ``planned`` objects are to be made."""
    if planned is None:
        return Progress(done, None, None)
    planned = max(planned, done)
    return Progress(done, planned, seconds / done * (planned - done) if done and done >= planned / 50 else None)

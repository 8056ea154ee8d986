# SPDX-License-Identifier: GPL-2.0-only
"""From initramfs/agent.c to the static program that is PID 1 of a guest."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from harness import cache, diskimage, initramfs, modules, process, resources, selftests, toolchain, userland
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import HostError
from harness.kernel import Kernel
from harness.profiles import Profile

FLAGS = (
    *("-static", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-builtin"),
    *("-fno-stack-protector", "-fno-pie", "-no-pie", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-O2", "-Wall", "-Wextra", "-Werror", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,noseparate-code"),
)
#: Images that are kept, the last used ones: one of each kernel for each of its profiles, of 0.2 to 40 MB.
KEPT = 192
#: Not every target has these; they only make the program smaller.
OPTIONAL = ("-fcf-protection=none",)


def key(arch: Arch) -> str:
    """What names the agent and the image of ``arch``: a digest of all that they are made from."""
    # The code that makes them too, so that nobody has to remember to delete the cache after an edit.
    makers = [Path(module.__file__ or "") for module in (sys.modules[__name__], diskimage, initramfs, modules)]
    sources = sorted(resources.directory("initramfs").glob("*.*"))
    parts = [repr(arch).encode(), *(path.read_bytes() for path in (*makers, *sources))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def build(arch: Arch, deadline: Deadline) -> Path:
    """The agent for ``arch``, compiled if it is not in the cache. Raises HostError."""
    final = cache.directory("agent", arch.name) / key(arch)
    if final.exists():
        return final
    sources = resources.directory("initramfs")
    with cache.locked(deadline, "agent", arch.name), cache.scratch("agent") as scratch:
        if final.exists():
            return final
        with cache.writing(scratch):
            (scratch / "syscalls.h").write_text(resources.render("initramfs", "syscalls.h.j2", arch=arch))
        command = toolchain.compiler(arch, deadline)
        flags = [flag for flag in FLAGS if flag not in OPTIONAL or _knows(command, flag, deadline)]
        made = scratch / "agent"
        argv: list[str | Path] = [*command, *flags, "-I", scratch, "-I", sources, sources / "agent.c", "-o", made]
        done = process.run(argv, deadline, merge=True)
        if done.returncode:
            cache.full(done.stdout, scratch)
            error = next((line for line in done.stdout.splitlines() if "error" in line), done.stdout.strip())
            raise HostError(f"the agent for {arch.name} does not compile", cause=error, hint=process.pasteable(argv))
        return cache.publish(made, final)


def _knows(command: tuple[str, ...], flag: str, deadline: Deadline) -> bool:
    argv = [*command, "-Werror", flag, "-fsyntax-only", "-x", "c", "/dev/null"]
    return process.run(argv, deadline).returncode == 0


def image(arch: Arch, deadline: Deadline) -> Path:
    """The initramfs of a guest of ``arch``, packed if it is not in the cache. Raises HostError."""
    final = cache.directory("initramfs") / f"{arch.name}-{key(arch)}.cpio"
    return _kept(final, lambda: initramfs.build(build(arch, deadline)))


def _kept(final: Path, make: Callable[[], bytes]) -> Path:
    """The image ``final``, made if it is not in the cache; those that were used longest ago go then."""
    if not cache.used(final):
        cache.write(final, make())
        cache.prune(final.parent.iterdir(), KEPT, sparing=final)
    return final


def disk(arch: Arch, kind: str, deadline: Deadline) -> Path:
    """A file system with the agent in it, made if it is not in the cache. Raises HostError."""
    final = cache.directory("initramfs") / f"{arch.name}-{key(arch)}.{kind}"
    return _kept(final, lambda: diskimage.FORMATS[kind](initramfs.own(build(arch, deadline))))


def image_with(kernel: Kernel, names: Iterable[str], profile: Profile, deadline: Deadline) -> Path:
    """A guest's initramfs with what ``profile`` has, and the modules ``names`` as far as ``kernel`` has them.

    Where that is nothing it is ``image()``. Where the profile wants a file system it is one, with neither of them.
    Raises RequestError if modules do not fit, HostError.
    """
    if profile.image:
        return disk(kernel.arch, profile.image, deadline)
    base = image(kernel.arch, deadline)
    loadable = modules.closure(kernel, names, deadline)
    programs = userland.archive(kernel.arch, profile.packages, profile.files, deadline) if profile.packages else None
    own = initramfs.of_profile(profile.name)
    tests = selftests.of(kernel, profile.selftests, deadline) if profile.selftests else None
    if not loadable and programs is None and not own and tests is None:
        return base
    parts = repr([loadable, programs and programs.name, own, tests and tests.name])
    final = base.with_stem(f"{base.stem}-{hashlib.sha256(parts.encode()).hexdigest()[:16]}")

    def make() -> bytes:
        whole = base.read_bytes()
        if programs:  # before the modules, which may go below a link of theirs
            whole += bytes(-len(whole) % 4) + programs.read_bytes()
        archives = [initramfs.tree(modules.files(kernel, loadable, deadline))] if loadable else []
        archives += [selftests.archive(tests)] if tests else []
        return initramfs.join(whole, [*own, *archives])

    return _kept(final, make)

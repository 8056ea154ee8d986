# SPDX-License-Identifier: GPL-2.0-only
"""Copies of tests/toytree, each as a test wants it, and what is built of them. No tests here."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from program import Done, Program, eventually

from harness import declared, kconfig, profiles
from harness.arch import ARCHES

TREE = Path(__file__).resolve().parents[1] / "toytree"
#: Where its one conflict, error or pause is put.
FILE = "fs/namespace.c"
#: What is compiled for a kernel of it with nothing but what checks need.
OBJECTS = 6
#: One that is compiled before FILE.
OTHER = "fs/nullfs.o"
#: A commit needs an author, and the user's configuration is not for tests.
GIT = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "toy")
GIT |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def toy(path: Path) -> Path:
    """A copy of the toy tree, whose Kconfig has all symbols that anything in the harness asks for."""
    shutil.copytree(TREE, path)
    names = {name for needs in declared.needs().values() for name in needs}
    for arch in ARCHES:
        for name in ("guest", arch.name, *profiles.every()):
            names |= {symbol.removeprefix("CONFIG_") for symbol in kconfig.fragment(name)}
    text = "".join(f'config {name}\n\tbool "{name}"\n\n' for name in sorted(names))
    (path / "Kconfig.wanted").write_text(f"# SPDX-License-Identifier: GPL-2.0-only\n{text}")
    return path


def boots(tree: Path, image: Path) -> Path:
    """Have all kernels of a toy tree be that ``image``, which does boot."""
    script = tree / "scripts/image.py"
    script.write_text(f"import shutil, sys\nshutil.copyfile({str(image)!r}, sys.argv[1])\n")
    return tree


def git(where: Path, *words: str | Path) -> str:
    """What git said."""
    done = subprocess.run(
        ["git", *words], cwd=where, check=True, capture_output=True, text=True, env=os.environ | GIT, timeout=60
    )
    return done.stdout


def checkout(path: Path) -> Path:
    """A toy tree that is a git repository with one commit."""
    toy(path)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=toy")
    return path


def change(tree: Path, text: str, file: str = FILE) -> None:
    """Put lines at the end of a file of the tree."""
    with (tree / file).open("a") as handle:
        handle.write(f"\n{text}\n")


def prints(*tops: Path) -> dict[Path, tuple[object, ...]]:
    """Every file and directory below ``tops``: kind, mode, inode, times of its contents and itself, its bytes."""
    found: dict[Path, tuple[object, ...]] = {}
    for top in tops:
        for path in (top, *top.rglob("*")):
            facts = path.lstat()
            plain = path.is_file() and not path.is_symlink()
            data = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
            found[path] = (facts.st_mode, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, data)
    return found


def asked(program: Program, tree: Path | str, *words: str | Path, untouched: Path | None = None, **more: str) -> Done:
    """``build TREE``, which leaves nothing in the cache's tmp, no process, and the user's files as they were."""
    before = prints(untouched or Path(tree))
    done = program.build(tree, *words, **more)
    assert program.left() == []
    assert prints(untouched or Path(tree)) == before
    assert "Traceback" not in done.text
    return done


def kernels(program: Program) -> list[Path]:
    """What is built in the cache, the oldest first."""
    found = (program.cache / "kernels").glob("*/build.json")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]


def image(kernel: Path) -> bytes:
    """The bootable image of a kernel in the cache."""
    (path,) = (kernel / Path(arch.image).name for arch in ARCHES if (kernel / Path(arch.image).name).exists())
    return path.read_bytes()


def compiled(log: Path) -> list[str]:
    """The objects that a build made, as its log tells."""
    return sorted(re.findall(r"^  CC      (\S+)$", log.read_text(), re.MULTILINE))


class Pause:
    """A file that a compiler waits for: a FIFO, which FILE of a tree includes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path

    @property
    def line(self) -> str:
        """What includes it."""
        return f'#include "{self.path}"'

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until the compiler is there, and let it wait for as long as the block lasts."""
        writers: list[int] = []

        def reached() -> bool:
            try:
                writers.append(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads it
                    raise
            return bool(writers)

        assert eventually(reached)
        try:
            yield
        finally:
            os.close(writers[0])

    def end(self) -> None:
        """Nobody has to wait any more: it is an empty file, and for the compiler still the same."""
        self.path.unlink()
        self.path.touch()


class Spy:
    """Programs of the host, started by way of scripts that keep a list of what they were started with."""

    def __init__(self, directory: Path, *names: str) -> None:
        directory.mkdir()
        self._list = directory / "starts"
        self._list.touch()
        for name in names:
            script = directory / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._list}\nexec {shutil.which(name)} "$@"\n')
            script.chmod(0o755)
        self.path = f"{directory}{os.pathsep}{os.environ['PATH']}"

    def work(self) -> list[str]:
        """What they were started with so far, but for questions about themselves and the host."""
        asks = ("--version", "-dumpmachine", "-fsyntax-only")
        return [line for line in self._list.read_text().splitlines() if not any(word in line for word in asks)]


def fake(directory: Path, name: str, script: str) -> str:
    """A $PATH on which ``name`` is this sh script; $real is the program it hides."""
    directory.mkdir()
    path = directory / name
    path.write_text(f"#!/bin/sh\nreal={shutil.which(name)}\n{script}\n")
    path.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def has_open(pid: int, name: str) -> bool:
    """Whether a process has a file open whose path has ``name`` in it (proc(5))."""
    links: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue  # just closed
    return any(name in link for link in links)

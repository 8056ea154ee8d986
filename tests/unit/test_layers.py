# SPDX-License-Identifier: GPL-2.0-only
"""Nothing further down knows anything further up: the imports, read with ast, against one table."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "harness"

#: THE LAYERS, lowest first. A module stands for all that is below it (arch for arch/arm64.py). It
#: imports from the layers below its own, and from its own as long as there is no cycle. A new
#: module goes to the lowest layer that its imports allow; a name that has no file yet does no harm.
LAYERS = (
    ("__init__", "errors", "deadline", "process", "cache", "arch", "resources", "pool", "profiles"),
    ("packages", "toolchain", "image", "apt", "debian", "kconfig", "vmlinux"),
    (
        "diff",
        "series",
        "manifest",
        "declared",
        "mutant",
        "damage",
        "page",
        "paths",
        "indent",
        "blanks",
        "align",
        "spacing",
        "repair",
    ),
    ("git", "tree", "variants", "checkout", "warned", "make", "configure", "build", "spec"),
    ("mail", "mailbox", "b4", "patchfiles", "source", "verify", "summary"),
    ("worktree", "base", "misfit", "byhand", "records", "apply"),
    ("kernel", "modules"),
    ("agent", "diskimage", "initramfs", "overlay", "selftests", "userland"),
    ("oops", "console", "protocol", "wire", "channel", "qmp", "qemu", "machine", "hung", "accel", "snapshot"),
    ("abi", "calls", "files", "task", "guest", "corefile", "lab"),
    ("checks", "trial"),
    (
        "ktap",
        "results",
        "durations",
        "report",
        "terminal",
        "turns",
        "stepreport",
        "score",
        "compare",
        "versus",
        "reply",
    ),
    (
        "session",
        "plugin",
        "runner",
        "steps",
        "bisection",
        "walk",
        "mutation",
        "explain",
        "columns",
        "comparing",
        "entries",
        "hook",
        "shell",
        "doctor",
        "verbs",
        "cli",
    ),
    ("venv", "bootstrap", "command", "__main__"),
)


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Every Python file of ``package`` with the name it has in the table."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).with_suffix("").parts[0], path


def imports(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """The modules of ``package`` that ``path`` imports, anywhere in it, with the line: as named in the table."""
    known = {name for name, _ in modules(package)}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        base: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(package.parent).parts[: -node.level]) if node.level else []
            base += [node.module] if node.module else []
        for alias in node.names:
            top, _, rest = ".".join([*base, alias.name]).partition(".")
            if top == package.name:
                module = rest.partition(".")[0]
                yield (module if module in known else "__init__"), node.lineno


def offences(package: Path, layers: Sequence[Sequence[str]]) -> list[str]:
    """Each import that goes upward, each module without a layer, each cycle: one line."""
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    found = []
    graph: dict[str, set[str]] = {}
    for name, path in modules(package):
        if name not in rank:
            found.append(f"{path}: {name} is in no layer; put it into LAYERS in {Path(__file__).name}")
            continue
        for target, line in imports(path, package):
            if target != name:
                graph.setdefault(name, set()).add(target)
            if rank.get(target, -1) > rank[name]:
                found.append(f"{path}:{line}: {name} (layer {rank[name]}) imports {target} (layer {rank[target]})")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"a cycle: {' -> '.join(error.args[1])}")
    return found


def test_no_module_imports_upward() -> None:
    assert not offences(PACKAGE, LAYERS), "\n".join(offences(PACKAGE, LAYERS))


def test_every_name_is_in_one_layer_only() -> None:
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))


def tree(tmp_path: Path, **files: str) -> Path:
    """A made-up package "harness" with ``files``: name (``__`` for a slash) and text."""
    package = tmp_path / "harness"
    for name, text in files.items():
        path = package / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_upward_import_is_found(tmp_path: Path) -> None:
    for number, text in enumerate(
        (
            "import harness.high",
            "from harness import low, high",
            "from harness.high import thing",
            "def late():\n    from . import high",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .high import Thing",
        )
    ):
        package = tree(tmp_path / str(number), low="", high="import harness.low", middle=text)
        [line] = offences(package, (("low",), ("middle",), ("high",), ("not_there_yet",)))
        assert "middle (layer 1) imports high (layer 2)" in line


def test_upward_import_below_a_package_is_found(tmp_path: Path) -> None:
    package = tree(tmp_path, arch__base="from ..high import thing", arch__other="from .base import thing", high="")
    [line] = offences(package, (("arch",), ("high",)))
    assert "base.py:1: arch (layer 0) imports high (layer 1)" in line


def test_newcomer_without_a_layer_is_found(tmp_path: Path) -> None:
    [line] = offences(tree(tmp_path, low="", newcomer=""), (("low",),))
    assert "newcomer is in no layer" in line


def test_cycle_within_a_layer_is_found(tmp_path: Path) -> None:
    package = tree(tmp_path, one="from harness import two", two="from harness import one", three="import harness.one")
    [line] = offences(package, (("one", "two", "three"),))
    assert line in ("a cycle: one -> two -> one", "a cycle: two -> one -> two")


def test_imports_downward_and_sideways_are_fine(tmp_path: Path) -> None:
    package = tree(tmp_path, low="", side="from harness.low import x", high="from harness import low, __version__")
    assert not offences(package, (("__init__", "low", "side"), ("high",)))

# SPDX-License-Identifier: GPL-2.0-only
"""What a start does not pay for: modules that are not needed before the first guest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import agent, cache, cli, process, resources
from harness.arch import ARCHES
from harness.deadline import Deadline

TOP = Path(__file__).resolve().parents[2]
IMPORTED = "import sys; before = set(sys.modules); import {}; print(*sorted(set(sys.modules) - before))"


def imported(module: str, *options: str) -> set[str]:
    """The modules that a fresh python has to load for ``module``."""
    argv = [sys.executable, *options, "-c", IMPORTED.format(module)]
    return set(subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout.split())


def test_the_way_into_the_venv_is_made_of_what_python_has_loaded_anyway() -> None:
    # site.py is left out, for it loads more on some hosts; os is what it loads on all of them.
    assert imported("harness.venv", "-S") - imported("os", "-S") == {"__future__", "harness", "harness.venv"}


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("harness.command", {"pytest", "jinja2", "rich", "elftools", "virtme", "pexpect", "asyncio"}),
        ("harness.runner", {"jinja2", "rich", "elftools", "virtme", "asyncio", "tomllib", "xml.etree.ElementTree"}),
    ],
)
def test_what_is_slow_to_import_waits_until_it_is_needed(module: str, slow: set[str]) -> None:
    assert not imported(module) & slow


def test_a_warm_image_starts_no_process_and_renders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [agent.image(arch, Deadline.after(120)) for arch in ARCHES]

    def forbidden(*_words: object, **_options: object) -> None:
        raise AssertionError("not on a warm start")

    monkeypatch.setattr(process, "spawn", forbidden)
    monkeypatch.setattr(resources, "render", forbidden)
    assert [agent.image(arch, Deadline.after(120)) for arch in ARCHES] == made


def test_an_edit_of_any_source_makes_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {arch.name: agent.key(arch) for arch in ARCHES}
    assert len(set(before.values())) == len(ARCHES)
    for source in (TOP / "initramfs").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(resources, "directory", lambda _name: tmp_path)
    assert {arch.name: agent.key(arch) for arch in ARCHES} == before
    for source in tmp_path.iterdir():
        text = source.read_bytes()
        source.write_bytes(text + b"\n")
        assert all(agent.key(arch) != before[arch.name] for arch in ARCHES), source
        source.write_bytes(text)


@pytest.mark.parametrize("forbids", [True, False])
def test_bytecode_goes_to_the_cache_where_it_may_not_lie_beside_its_source(tmp_path: Path, *, forbids: bool) -> None:
    (tmp_path / "subject.py").write_text("")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {cache.VARIABLE: str(tmp_path / "cache"), "PYTHONPATH": str(TOP)}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"} if forbids else {}
    code = "from harness import cache; cache.keep_bytecode(); import subject"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    found = [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("subject.*.pyc")]
    assert found == ["cache" if forbids else "__pycache__"]


def test_what_builds_a_kernel_is_needed_only_where_one_is_built(tmp_path: Path) -> None:
    tree, build = tmp_path / "a tree", tmp_path / "build"
    for path in (tree / "Kbuild", tree / "Makefile", build / "Makefile"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    archive = tmp_path / "linux-7.3.tar.xz"
    archive.touch()
    for spec, builds in (
        *((str(tree), True), (str(archive), True), ("debian:7.3:source", True)),
        *((str(build), False), ("debian:7.3", False), ("debian:7.3:full", False), ("no/such", False)),
    ):
        words = ["run", "--kernel", "bzImage", "--kernel", spec]
        assert cli.builds(cli.parse(words)) == builds, spec
    assert [cli.builds(cli.parse([verb])) for verb in ("test", "run", "doctor")] == [True, False, False]

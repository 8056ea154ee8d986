# SPDX-License-Identifier: GPL-2.0-only
"""What every file of the project must look like. The linters are ordinary tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

#: Files with code in them: these need a licence line.
SOURCES = {".py", ".c", ".h", ".S", ".sh", ".toml"}
#: Lines of code a reader can be asked to keep in mind.
MAX_LINES = 320

#: Spelled so that this file does not match itself.
PATH_OF_A_MACHINE = re.compile(r"(?<![\w.$}{-])/(?:work|farm)/\w")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b")
MIRROR = re.compile(r"\b(?:deb|ftp|security|snapshot|archive)[\w.]*\.debian\.org|pypi\.org|pythonhosted\.|//mirrors?\.")


def files() -> list[Path]:
    """Every file of the project: what git tracks or would track; without git, all but dot directories."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (TOP / ".git").exists():
        done = subprocess.run(words, cwd=TOP, check=True, capture_output=True)
        found = [TOP / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    else:
        found = [path for path in TOP.rglob("*") if not {".venv", "__pycache__"} & set(path.parts)]
    return sorted(path for path in set(found) if path.is_file() and path.name != "LICENSE")


def sources() -> list[Path]:
    """The files with code in them, scripts without a suffix too."""
    return [path for path in files() if path.suffix in SOURCES or path.read_bytes()[:2] == b"#!"]


def offenders(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Where ``pattern`` occurs, one ``file:line: text`` each."""
    return [
        f"{path.relative_to(TOP)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("words", [("ruff", "check"), ("mypy", "--strict")], ids=["ruff", "mypy"])
def test_linter_is_content(words: tuple[str, ...]) -> None:
    if find_spec(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed: pip install -e .[test]")
    done = subprocess.run(
        [sys.executable, "-m", *words, "harness", "tests"], cwd=TOP, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_source_names_its_licence() -> None:
    missing = [
        str(path.relative_to(TOP))
        for path in sources()
        if not any("SPDX-License-Identifier: GPL-2.0-only" in line for line in path.read_text().splitlines()[:3])
    ]
    assert not missing, f"no SPDX line in the first three lines of {missing}"


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    too_long = [f"{path.relative_to(TOP)}: {length}" for path, length in lengths.items() if length > MAX_LINES]
    assert not too_long, f"more than {MAX_LINES} lines: {too_long}"


def test_no_path_of_a_development_machine() -> None:
    assert not offenders(PATH_OF_A_MACHINE, files())


def test_nothing_is_left_unfinished() -> None:
    assert not offenders(UNFINISHED, sources())


def test_no_mirror_is_written_into_the_code() -> None:
    assert not offenders(MIRROR, [path for path in files() if path.suffix == ".py"])


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (PATH_OF_A_MACHINE, "see /" + "work/main"),
        (PATH_OF_A_MACHINE, 'open("/' + 'farm/x")'),
        (UNFINISHED, "# TO" + "DO: later"),
        (MIRROR, "http://deb." + "debian.org/debian"),
        (MIRROR, "https://py" + "pi.org/simple"),
        (MIRROR, "http://" + "mirror.example.org/debian"),
    ],
)
def test_offender_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


def test_ci_runs_the_one_command() -> None:
    script = TOP / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("exec python3 -m harness test")

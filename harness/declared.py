# SPDX-License-Identifier: GPL-2.0-only
"""What checks say of themselves, as it is written in their files: read with ast, so that nothing is imported."""

from __future__ import annotations

import ast
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from harness import manifest, profiles, resources
from harness.errors import RequestError


@dataclass(frozen=True)
class Declared:
    """What a check says of itself; the fields that ``checks.Check`` has, too, are that."""

    id: str
    needs: tuple[str, ...]
    modules: tuple[str, ...]
    patch: str = ""
    profile: str = profiles.DEFAULT
    static: bool = False
    #: As it is written: "Era.ISOLATED"; empty if it is not.
    since: str = field(default="", compare=False)
    promise: str = field(default="", compare=False)
    #: What the function says of how it is done.
    text: str = field(default="", compare=False)
    where: Path = field(default=Path(), compare=False)
    line: int = field(default=0, compare=False)


def declared(paths: Iterable[Path], only: Collection[str] = ()) -> list[Declared]:
    """The checks in test files, and in those below directories; with ``only``, those of them with such an id.

    A kernel is built, and an image packed, before pytest collects. A file that cannot be read is left to pytest.
    Raises RequestError for a check whose words are computed.
    """
    found = [each for path in paths for file in _test_files(path) for each in _declared(file)]
    return [each for each in found if not only or each.id in only]


def _test_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for top, directories, files in os.walk(path):
        directories[:] = sorted(name for name in directories if not name.startswith("."))  # pytest: norecursedirs
        yield from (Path(top, name) for name in sorted(files) if name.startswith("test_") and name.endswith(".py"))


def _declared(file: Path) -> Iterator[Declared]:
    try:
        text = file.read_bytes()
        tree = ast.parse(text) if b"check(" in text else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return
    names = _assigned(tree)
    for function in ast.walk(tree):
        for call in function.decorator_list if isinstance(function, ast.FunctionDef) else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("check", "checks.check"):
                assert isinstance(function, ast.FunctionDef)
                given = dict(zip(("name", "promise"), call.args, strict=False))
                given |= {word.arg or "**": word.value for word in call.keywords}
                words = _literals(given, f"{file}:{call.lineno}")
                since = ast.unparse(given["since"]) if "since" in given else ""
                yield Declared(
                    words["name"],
                    tuple(words["needs"].split()),
                    tuple(words["modules"].split()),
                    words["patch"],
                    words["profile"] or profiles.DEFAULT,
                    static="static" in given and ast.unparse(given["static"]) == "True",
                    since=names.get(since, since),
                    promise=words["promise"],
                    text=ast.get_docstring(function) or "",
                    where=file,
                    line=function.lineno,
                )


def _assigned(tree: ast.Module) -> dict[str, str]:
    """What plain names of the file stand for: ``ISOLATED = Era.ISOLATED``."""
    plain = (node for node in tree.body if isinstance(node, ast.Assign))
    return {ast.unparse(target): ast.unparse(node.value) for node in plain for target in node.targets}


def _literals(given: dict[str, ast.expr], where: str) -> dict[str, str]:
    nothing = ast.Constant("")
    names = ("name", "promise", "needs", "modules", "profile", "patch", "**")
    words = {name: given.get(name, nothing) for name in names}
    values = {
        name: word.value
        for name, word in words.items()
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }
    if words.keys() - values.keys() - {"promise"}:
        raise RequestError(
            f"{where}: what this check is called and needs cannot be read off",
            cause="it is looked for before the file is imported",
            hint='write its id, patch, needs, modules and profile as plain strings: @check("id", …, modules="one two")',
        )
    return {"promise": ""} | values


def needs(
    asking: Iterable[Declared] | None = None, chosen: Iterable[str] | None = None, named: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The Kconfig symbols that each of those checks needs, by its id; of all there are if none are given.

    With ``chosen``, only of checks of the default profile and of those, and of checks that are ``named``.
    """
    fit = None if chosen is None else {profiles.DEFAULT, *chosen}
    names = {*named}
    return {
        check.id: check.needs
        for check in (declared([resources.directory("tests/kernel")]) if asking is None else asking)
        if fit is None or check.profile in fit or check.id in names
    }


def every(names: Iterable[str], chosen: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """What each check needs that a kernel is built for, by its id: see ``needs``.

    Raises RequestError if one of ``names`` is the id of none, or one of ``chosen`` no profile.
    """
    there = needs()
    if unknown := {*names} - there.keys():
        raise RequestError(f"no check {', '.join(sorted(unknown))}", hint=f"there are: {', '.join(there)}")
    profiles.check(chosen)
    return needs(None, chosen, names)


def loadable(asking: Iterable[Declared], profile: str) -> tuple[str, ...]:
    """The modules that guests of that profile shall be able to load."""
    return tuple(sorted({name for check in asking if check.profile == profile for name in check.modules}))


def speaking(subject: str) -> tuple[str, ...]:
    """The ids of the checks in tests/kernel/ that speak for a patch with this subject, in whatever revision it is sent.

    Those are the ones whose decorator names such a patch, and those that a manifest has for one besides.
    """
    return _spoken().get(subject, ())


@cache
def _spoken() -> dict[str, tuple[str, ...]]:
    """What speaks for the patches of all manifests, by their subjects."""
    ids: dict[str, dict[str, None]] = {}
    for each in declared([resources.directory("tests/kernel")]):
        ids.setdefault(manifest.patch(each.patch).subject, {})[each.id] = None
    for fact in (fact for name in manifest.names() for fact in manifest.read(name).patches):
        ids.setdefault(fact.subject, {}).update(dict.fromkeys(fact.checks))
    return {subject: tuple(its) for subject, its in ids.items()}

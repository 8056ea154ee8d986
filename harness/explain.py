# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``explain``: all that is known of one check. Only the standard library is needed, and no kernel."""

from __future__ import annotations

import textwrap

from harness import declared, manifest, mutant, profiles, resources
from harness.declared import Declared
from harness.errors import RequestError
from harness.manifest import Fact

WIDTH = 100


def text(name: str) -> str:
    """What there is to say of the check ``name``. Raises RequestError, with all there are, if it is none."""
    every = {check.id: check for check in declared.declared([resources.directory("tests/kernel")])}
    if name not in every:
        raise RequestError(f"no check {name!r}", hint=f"there are: {', '.join(every)}")
    check = every[name]
    era = check.since.rpartition(".")[2].lower() or "none"
    facts = {
        "promise": check.promise,
        "since": f"{era}; an older kernel must fail it" if era != "none" else "ever: it must go on to be kept",
        "patch": "\n".join(_patches(check)),
        "how": "\n".join(" ".join(part.split()) for part in check.text.split("\n\n")) or f"see {check.where.name}",
        "needs": _needs(check),
        "mutants": "\n".join(_mutants(name)) or "none names it",
        "code": f"tests/kernel/{check.where.name}, line {check.line}",
        "run it": f"python3 -m harness run --check {name}",
        "mutate": f"python3 -m harness mutate TREE --check {name}",
    }
    return "\n".join([name, *(line for title, said in facts.items() if said for line in _told(title, said))])


def _told(title: str, said: str) -> list[str]:
    """A title and its lines, those of one paragraph filled."""
    lines = [line for part in said.splitlines() for line in textwrap.wrap(part, WIDTH, break_on_hyphens=False) or [""]]
    return [f"  {title if n == 0 else '':8} {line}".rstrip() for n, line in enumerate(lines)]


def _patches(check: Declared) -> list[str]:
    """The patch that the promise came with, where it can be read, and what it is called elsewhere."""
    fact = manifest.patch(check.patch)
    others = [_name(other) for other in _same(fact.subject) if _name(other) != check.patch]
    lines = [f"{check.patch}: {fact.subject}"]
    lines += [fact.link] if fact.link else []
    return lines + ([f"also {', '.join(others)}"] if others else [])


def _same(subject: str) -> list[Fact]:
    every = (fact for name in manifest.names() for fact in manifest.read(name).patches)
    return [fact for fact in every if fact.subject == subject]


def _name(fact: Fact) -> str:
    return f"{fact.series}/{fact.n}" + (f" (commit {fact.commit})" if fact.commit else "")


def _needs(check: Declared) -> str:
    if check.static:
        return f"no guest, it is static; a tree is built for it with --profile {check.profile}"
    symbols = " ".join(f"CONFIG_{name}" for name in check.needs)
    modules = f"the module{'s' * (len(check.modules) > 1)} {' '.join(check.modules)}" if check.modules else ""
    profile = f"a guest of profile {check.profile}" if check.profile != profiles.DEFAULT else ""
    return ", ".join(filter(None, [symbols, modules, profile])) or "no more than any guest"


def _mutants(name: str) -> list[str]:
    every = mutant.all_in(resources.directory("patches") / "mutants")
    named = [f"{defect.name}: {defect.title}" for defect in every if defect.check == name]
    others = [defect.name for defect in every if name in defect.checks and defect.check != name]
    return named + ([f"it may notice, too: {', '.join(others)}"] if others else [])

# SPDX-License-Identifier: GPL-2.0-only
"""From a fragment to a .config: the tree's own Kconfig merges it, and says what stands in the way of the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness import cache, kconfig, process, resources
from harness.deadline import Deadline
from harness.errors import HarnessError, HostError, TreeError
from harness.kconfig import Wish
from harness.make import Make
from harness.tree import Tree

#: The configuration that the fragment goes on top of: virtme-ng makes 2.6 times as many objects, and bigger ones.
BASE = "tinyconfig"
#: The lines of `git ls-tree` with files that Kconfig reads, or that say how it is run.
SOURCES = re.compile(
    r"^.*\t(?:(?:.*/)?Kconfig[^/\n]*|scripts/.*|(?:arch/[^/\n]*|kernel)/configs/.*|.*\bMakefile)\n", re.MULTILINE
)
#: What kconfigs/why.c says, in words.
WORDS = {
    "unknown": "no Kconfig file of this architecture has it",
    "prompt": "it cannot be set: other symbols select it",
    "depends": "it depends on {0}",
    "selected": "it is selected by {0}",
    "choice": "another one of the same choice is set",
}


def configured(make: Make, tree: Tree, wanted: Sequence[Wish], deadline: Deadline) -> dict[str, str]:
    """Make .config in the output directory and return what is set in it.

    The .config of the last build stays if all that it came from is the same: make takes seconds to come to the same
    again. Raises TreeError for wishes that the tree cannot fulfil, BuildError, HostError.
    """
    final, stamp = make.output / ".config", make.output / "nullfs-harness.stamp"
    sources = _sources(tree, deadline)
    with suppress(OSError):
        if stamp.read_text() == sources:
            return kconfig.parse(final.read_text(errors="replace"))
    config = _configured(make, tree, wanted, deadline)
    with cache.writing(stamp):
        stamp.write_text(sources)
    return config


def _sources(tree: Tree, deadline: Deadline) -> str:
    """A digest of the files of the tree from which a .config is made; for the fragment the directory stands."""
    listed = tree.repository.git("ls-tree", "-r", "--full-tree", tree.oid, deadline=deadline)
    return hashlib.sha256("".join(SOURCES.findall(listed)).encode(errors="replace")).hexdigest()


def _configured(make: Make, tree: Tree, wanted: Sequence[Wish], deadline: Deadline) -> dict[str, str]:
    draft, final = make.output / "draft.config", make.output / ".config"
    fragment = make.output / "nullfs-harness.config"
    with cache.writing(make.output):
        make.output.mkdir(parents=True, exist_ok=True)
        fragment.write_text(kconfig.text(make.toolchain.arch, wanted), encoding="utf-8")
    make.run(BASE, deadline=deadline, KCONFIG_CONFIG=draft)
    merge = make.source / "scripts/kconfig/merge_config.sh"
    argv: list[str | Path] = ["sh", merge, "-m", draft, fragment]
    env = make.environment() | {"KCONFIG_CONFIG": str(draft)}
    done = process.run(argv, deadline, cwd=make.output, env=env, merge=True)
    with cache.writing(make.log), make.log.open("a") as log:
        log.write(f"$ {process.pasteable(argv)}\n{done.stdout}")
    if done.returncode:
        cache.full(done.stdout, make.output)
        raise HostError(
            "the tree's merge_config.sh failed", cause=done.stdout.strip().rpartition("\n")[2], log=make.log
        )
    make.run("olddefconfig", deadline=deadline, KCONFIG_CONFIG=draft)
    text = draft.read_text(errors="replace")
    config = kconfig.parse(text)
    if missed := kconfig.unmet(wanted, config):
        raise refusal(make, tree, missed, config, deadline)
    if not final.is_file() or final.read_text(errors="replace") != text:
        cache.write(final, text.encode())
    return config


def refusal(make: Make, tree: Tree, missed: Sequence[Wish], config: Mapping[str, str], deadline: Deadline) -> TreeError:
    """Which wishes came to nothing, each with what stands in its way."""
    reasons = why(make, [wish.symbol for wish in missed], deadline)
    unknown = absent(tree, [wish.symbol for wish in missed], deadline)
    lines = []
    for wish in missed:
        if wish.symbol in unknown:
            reason = f"this tree ({tree.release}) has no such symbol"
        else:
            reason = "; ".join(reasons.get(wish.symbol, ())) or "the tree's Kconfig does not say why"
        got = config.get(wish.symbol, "n")
        lines.append(f"{wish.line} (wanted by {wish.by}) came out as {got}: {reason}")
    old = f"{tree.spec} is too old for {', '.join(sorted(unknown))}" if unknown else ""
    return TreeError(
        old or f"{tree.spec} cannot be configured as it is wanted: {missed[0].symbol}",
        cause="\n         ".join(lines),
        log=make.log,
        hint="leave out what wants it (--check, --profile, --fragment)" if unknown
        else "add what it depends on in a fragment of yours (--fragment), or leave out what wants it",
    )  # fmt: skip


def absent(tree: Tree, symbols: Sequence[str], deadline: Deadline) -> set[str]:
    """Those of ``symbols`` that no Kconfig file of the tree defines."""
    names = "|".join(symbol.removeprefix("CONFIG_") for symbol in symbols)
    words = ("grep", "-h", "-E", f"^[[:space:]]*(menu)?config[[:space:]]+({names})[[:space:]]*$", tree.oid)
    try:
        found = tree.repository.git(*words, "--", ":(glob)**/Kconfig*", deadline=deadline)
    except HarnessError:
        found = ""  # nothing was found
    return set(symbols) - {f"CONFIG_{name}" for name in re.findall(r"config\s+(\w+)", found)}


def why(make: Make, symbols: Sequence[str], deadline: Deadline) -> dict[str, list[str]]:
    """What stands in the way of each symbol, said by the tree's own Kconfig; nothing where it cannot be asked.

    kconfigs/why.c is linked with the objects of scripts/kconfig, and run by make, for only the tree's Makefile knows
    the environment that its Kconfig files want (scripts/kconfig/Makefile).
    """
    objects = [path for path in (make.output / "scripts/kconfig").glob("*.o") if path.name != "conf.o"]
    headers = [make.source / "scripts/kconfig", make.source / "scripts/include"]
    program = make.output / "scripts/kconfig/why"
    argv: list[str | Path] = ["gcc", "-w", *(f"-I{path}" for path in headers)]
    argv += [resources.directory("kconfigs") / "why.c", *objects, "-o", program]
    target = "nullfs-harness-whyconfig"  # make gives the environment to what ends in "config"
    names = " ".join(symbol.removeprefix("CONFIG_") for symbol in symbols)
    recipe = f"{target}: ; @cd {make.output} && {program} Kconfig {names}"
    try:
        if process.run(argv, deadline).returncode:
            return {}
        draft = make.output / "draft.config"
        words = make.argv("--silent", "--no-print-directory", f"--eval={recipe}", target, KCONFIG_CONFIG=draft)
        done = process.run(words, deadline, env=make.environment())
    except HostError:
        return {}
    found: dict[str, list[str]] = {}
    for name, word, text in re.findall(r"^(\w+)\t(\w+)\t(.*)$", done.stdout, re.MULTILINE):
        if word in WORDS:
            reason = WORDS[word].format(text)
            if reason not in found.setdefault(f"CONFIG_{name}", []):
                found[f"CONFIG_{name}"].append(reason)
    return found

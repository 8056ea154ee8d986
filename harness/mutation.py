# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``mutate``: a kernel for each defect of patches/mutants/, and which checks notice."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness import build, declared, kernel, mutant, profiles, resources, runner, score, session, steps, variants
from harness.arch import Arch
from harness.build import Order
from harness.deadline import Deadline
from harness.declared import Declared
from harness.errors import EXIT_CHECK_FAILED, EXIT_HOST, EXIT_OK, RequestError
from harness.mutant import Defect
from harness.score import Outcome, Score
from harness.session import Request
from harness.spec import parse_tree
from harness.steps import Work
from harness.tree import Tree
from harness.turns import Stage

if TYPE_CHECKING:
    from harness.terminal import Screen


def chosen(place: Path, globs: Sequence[str], checks: Sequence[str], asked: Collection[str] = ()) -> list[Defect]:
    """The defects of a directory whose names fit one of ``globs``; with ``checks``, those that one of them must notice.

    Those that no check can judge are left out with ``checks``, unless there are ``globs``; without both, those that one
    of ``asked`` must notice. Raises RequestError if none is left.
    """
    every = mutant.all_in(place)
    names = [defect.name for defect in every]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise RequestError(f"no mutant fits {glob!r}", hint=f"there are: {', '.join(names)}")
    left_out = () if globs or checks else asked
    fit = [defect for defect in every if not globs or any(fnmatchcase(defect.name, glob) for glob in globs)]
    fit = [defect for defect in fit if defect.check not in left_out]
    found = [defect for defect in fit if not checks or defect.check in {*checks, *([""] if globs else [])}]
    if not found and not checks:
        hint = f"--check {' --check '.join(sorted({defect.check for defect in every}))}"
        raise RequestError("no mutant is there but for checks that have to be asked for", hint=hint)
    if not found:
        there = ", ".join(sorted({defect.check for defect in fit if defect.check}))
        raise RequestError(f"no mutant is there for {', '.join(checks)}", hint=f"there are some for: {there}")
    return found


def works(tree: Tree, defects: Sequence[Defect], deadline: Deadline) -> list[Work | mutant.NoPlace]:
    """For each defect its tree, or why it cannot be made. Raises HostError."""
    texts: dict[str, str] = {}

    def read(file: str) -> str:
        if file not in texts:
            there = tree.repository.git("ls-tree", "--name-only", tree.oid, file, deadline=deadline).strip()
            texts[file] = tree.read(file, deadline) if there else ""
        return texts[file]

    made: list[dict[str, str] | mutant.NoPlace] = []
    for defect in defects:
        try:
            made.append(defect.made(read))
        except mutant.NoPlace as error:
            made.append(error)
    trees = iter(variants.made(tree, [files for files in made if isinstance(files, dict)], deadline))
    found: list[Work | mutant.NoPlace] = []
    for n, (defect, files) in enumerate(zip(defects, made, strict=True), start=1):
        if isinstance(files, mutant.NoPlace):
            found.append(files)
        else:
            spec = f"{tree.spec} + {defect.name}"
            found.append(Work(n, defect.name, f"mutant-{defect.name}", replace(next(trees), spec=spec)))
    return found


def run(args: argparse.Namespace) -> int:
    """The verb ``mutate``. Returns the exit status. Raises RequestError, BuildError, HostError."""
    declared.every(args.check, args.profile)
    checks = {each.id: each for each in declared.declared([resources.directory("tests/kernel")])}
    unasked = {name for name, profile in profiles.every().items() if profile.asked} - {*args.profile}
    asked = [check.id for check in checks.values() if check.profile in unasked]
    defects = chosen(args.mutants or resources.directory("patches") / "mutants", args.mutant, args.check, asked)
    if unknown := {check for defect in defects for check in defect.checks} - checks.keys():
        raise RequestError(f"a mutant names the check {min(unknown)}", hint=f"there are: {', '.join(checks)}")
    runner.writable(args.json)
    arches = build.arches_of(args.arch)
    screen = runner.on_terminal()
    order = Order(args.profile, {}, args.fragment, runner.say, runner.watching(screen), args.series or "")
    evidence = args.evidence or session.new_evidence()
    request = steps.request_of(args, evidence)
    deadline = Deadline.after(session.FETCH)
    runner.say(f"looking at {args.tree}")
    tree = kernel.source(parse_tree(args.tree), deadline, order)
    trial = _Trial(tree, defects, checks, order, request, screen=screen)
    told = trial.all(arches)
    if args.json is not None:
        runner.write(args.json, told.to_json())
    return _end(told, arches)


def _end(told: Score, arches: Sequence[Arch]) -> int:
    if told.outcomes:
        runner.say(f"\n{score.table(told.outcomes)}\n")
    for stage in told.base:
        if not score.sound_base(stage):
            runner.say(
                f"{told.release}, {stage.arch}: no mutant is judged against this kernel: {score.wrong_base(stage)}"
            )
    for on in arches:
        if any(outcome.arch == on.name for outcome in told.outcomes):
            runner.say(told.closing(on.name))
    if any(outcome.kind == "lost" for outcome in told.outcomes):
        return EXIT_HOST
    return EXIT_OK if told.well else EXIT_CHECK_FAILED


class _Trial:
    """The defects of one tree, each built, booted and checked, after the tree itself.

    Where a check of the default profile is to notice, the kernel is built for that one, and is soon made; else for all
    profiles whose checks are to notice any. It is judged by the checks of the one profile and of the default one.
    ``checks``: all that there are, by id.
    """

    def __init__(
        self, tree: Tree, defects: Sequence[Defect], checks: Mapping[str, Declared], order: Order, request: Request,
        *, screen: Screen | None,
    ) -> None:  # fmt: skip
        self.tree, self.defects, self.checks, self.request, self.screen = tree, defects, checks, request, screen
        self.order = replace(order, series="")
        self.deadline = Deadline.after(session.FETCH)

    def all(self, arches: Sequence[Arch]) -> Score:
        """All of it on all architectures. Raises RequestError, HostError."""
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        made = works(self.tree, self.defects, self.deadline)
        profile_of = [self.profile(defect) for defect in self.defects]
        bases, outcomes = [], []
        for on in arches:
            for built in _together(profile_of):
                base = self.stage(Work(0, "the tree itself", "base", self.tree), on, built, built)
                bases.append(base)
                words = "" if built == (profiles.DEFAULT,) else f", built for {', '.join(built)}"
                runner.say(f"[0/{len(made)} {on.name}] the tree itself{words}: {_base(base)}")
                if score.sound_base(base):
                    outcomes += [
                        self.outcome(n, work, on, built, base.reasons)
                        for n, (work, its) in enumerate(zip(made, profile_of, strict=True))
                        if its in built
                    ]
        evidence = str(self.request.evidence)
        return Score(self.tree.spec, self.tree.release, begun, tuple(bases), tuple(outcomes), evidence)

    def profile(self, defect: Defect) -> str:
        """The profile of the check that is to notice."""
        return self.checks[defect.check].profile if defect.check in self.checks else profiles.DEFAULT

    def outcome(
        self, n: int, work: Work | mutant.NoPlace, on: Arch, built: Sequence[str], skipped: Mapping[str, str]
    ) -> Outcome:
        """What becomes of defect ``n``, and say so. ``skipped``: the checks that have nothing to look at, and why."""
        defect = self.defects[n]
        if isinstance(work, mutant.NoPlace):
            why = f"{work.what.partition(': ')[2]} ({work.cause})"
            found = Outcome(defect.name, on.name, defect.title, "unmade", defect.check, why=why)
        elif defect.check in skipped:
            why = f"{defect.check} is skipped: {skipped[defect.check]}"
            found = Outcome(defect.name, on.name, defect.title, "unseen", defect.check, why=why)
        else:
            found = score.judged(defect, self.stage(work, on, built, [self.profile(defect)]))
        took = f" (built in {found.seconds:.0f} s)" if found.seconds else " (known)" if found.known else ""
        runner.say(f"[{n + 1}/{len(self.defects)} {on.name}] {defect.name}: {found.words}{took}")
        return found

    def stage(self, work: Work, on: Arch, built: Sequence[str], judging: Sequence[str]) -> Stage:
        """One kernel, built for some profiles, booted and checked by what ``judging`` have, as far as it comes."""
        chosen = tuple(dict.fromkeys([*self.order.profiles, *built]))
        # For all checks, also where a few are chosen: then another choice needs no other kernels.
        needs = declared.needs(self.checks.values(), chosen)
        judges = declared.needs(self.checks.values(), [*self.order.profiles, *judging])
        # A few objects each, which are no news but on a terminal.
        watch = self.order.watch if self.screen or work.n == 0 else None
        with self.screen.waiting("building") if self.screen else nullcontext():
            order = replace(self.order, profiles=chosen, needs=needs, watch=watch)
            [job] = steps.built([work], [on], order, self.deadline, lambda _: None)
        runs, known = steps.checked([job], self.request, self.request.checks or [*judges])
        return steps.stage(job, runs.get(job.place), known=job.place in known)


def _together(used: Sequence[str]) -> list[tuple[str, ...]]:
    """What kernels are built for: the default profile by itself, and all others that are ``used`` in one."""
    default = (profiles.DEFAULT,) if profiles.DEFAULT in used else ()
    others = tuple(name for name in profiles.every() if name in used and name != profiles.DEFAULT)
    return [group for group in (default, others) if group]


def _base(stage: Stage) -> str:
    skipped = [f"{check} ({stage.reasons[check]})" for check, verdict in stage.verdicts.items() if verdict == "skip"]
    words = "all checks pass" if score.sound_base(stage) else score.wrong_base(stage)
    return words + (f"; skipped: {', '.join(skipped)}" if skipped else "")

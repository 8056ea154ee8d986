# SPDX-License-Identifier: GPL-2.0-only
"""Renderings of a run: the table, the closing words, a failure in full, JUnit. All pure functions of the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from harness import process
from harness.checks import claimed
from harness.kernel import Kernel
from harness.make import Progress, Watch
from harness.results import KernelFacts, Result, Run

# Slow to import, and not needed before the last check is done, if at all.
if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from rich.table import Table

#: Columns of the widest table.
WIDEST = 10_000
#: What a cell of the table says, and how it looks.
CELLS = {
    "pass": ("pass", "green"),
    "skip": ("skip", "yellow"),
    "due": ("fails (due)", "dim"),
    "fail": ("FAIL", "bold red"),
    "crash": ("CRASH", "bold red"),
    "timeout": ("TIMEOUT", "bold red"),
    "error": ("ERROR", "bold magenta"),
    "indiscriminate": ("PASSES?", "bold red"),
    "warn": ("WARN", "bold red"),
}


def tenths(say: Callable[[str], None]) -> Watch:
    """Says how far a build is, whenever another tenth of it is done; where its end is not known, every 50 objects."""
    said = -1

    def watch(far: Progress) -> None:
        nonlocal said
        now = far.done // 50 if far.planned is None else far.done * 10 // far.planned
        if now != said and (now or said < 0):
            said = now
            say(f"  {far}")

    return watch


def built(kernel: Kernel) -> str:
    """Where a kernel is, and what to do with it."""
    words = process.pasteable(["python3", "-m", "harness", "run", "--kernel", kernel.image])
    lines = [f"{kernel.release} for {kernel.arch.name}, of {kernel.source}: {kernel.image}"]
    lines += [f"  beside it: {', '.join(sorted(path.name for path in kernel.image.parent.iterdir()))}"]
    if claims := kernel.claims:
        lines += [f"  claims:    {claimed(claims.has)} ({claims.words}); build id {claims.build_id}"]
    return "\n".join([*lines, f"  check it:  {words}"])


def cell(result: Result) -> str:
    """The key of a result's cell."""
    if result.indiscriminate:
        return "indiscriminate"
    if result.troubles and result.verdict in ("pass", "fail"):
        return "warn"
    if result.ok and result.verdict == "fail":
        return "due"
    return result.verdict


def word(result: Result) -> str:
    """What a cell says."""
    said = CELLS[cell(result)][0]
    return f"{said} (static)" if result.how == "static" and result.verdict in ("pass", "fail") else said


def table(run: Run) -> Table:
    """Checks down, kernels across."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    out = Table(show_edge=False, pad_edge=False, header_style="bold")
    out.add_column("check", no_wrap=True)
    for kernel in run.kernels:
        out.add_column("\n".join((*kernel.name.split("-", 1), kernel.arch, f"as {kernel.expect}")), no_wrap=True)
    cells = {(result.check, result.kernel): result for result in run.results}
    for name in dict.fromkeys(result.check for result in run.results):
        row = [Text(name)]
        for kernel in run.kernels:
            result = cells.get((name, kernel.label))
            row.append(Text(word(result), CELLS[cell(result)][1]) if result else Text("-"))
        out.add_row(*row)
    return out


def get_ready() -> None:
    """Import already what ``table_text`` needs."""
    import rich.console  # noqa: PLC0415
    import rich.table  # noqa: F401, PLC0415


def table_text(what: Table) -> str:
    """A table as it looks on stdout, whole: wider than the terminal, or the 80 columns of a pipe, where it must be."""
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    console.width = max(console.width, console.measure(what, options=console.options.update(width=WIDEST)).maximum)
    with console.capture() as captured:
        console.print(what)
    return captured.get().rstrip("\n")


def trimmed(what: Table) -> str:
    """The same without blanks at the ends of its lines."""
    return "\n".join(line.rstrip() for line in table_text(what).splitlines())


def closing(run: Run) -> str:
    """What a maintainer can act on, in a few lines."""
    lines = []
    for kernel in run.kernels:
        mine = [result for result in run.results if result.kernel == kernel.label]
        counts = Counter(word(result).replace("?", "") for result in mine)
        bad = [result for result in mine if not result.ok]
        said = ", ".join(f"{count} {key}" for key, count in counts.most_common())
        lines.append(f"{kernel.name} ({kernel.arch}, {kernel.accel or 'not booted'}): {said or 'nothing ran'}.")
        if kernel.claim:
            lines.append(f"  claims: {kernel.claim} ({kernel.claim_why})")
        if kernel.claim_against:
            lines.append(f"  judged as {kernel.expect}, though its vmlinux has {listed([*kernel.claim_against])}")
        lines += [f"  while booting: {trouble}" for trouble in kernel.boot_troubles]
        for result in bad:
            lines.append(f"  {word(result)} {result.check} ({_short(result)}): {_first(result)}")
    lines += _skipped(run)
    whys = {kernel.arch: f"{kernel.accel} ({kernel.accel_why})" for kernel in run.kernels if kernel.accel}
    if whys:
        lines.append("Guests ran under " + "; ".join(f"{why} for {arch}" for arch, why in whys.items()) + ".")
    for why in dict.fromkeys(kernel.no_snapshot for kernel in run.kernels if kernel.no_snapshot):
        labels = listed([kernel.label for kernel in run.kernels if kernel.no_snapshot == why])
        lines.append(f"Without a snapshot of {labels}, every check booted its own guest: {why}.")
    if run.differences is not None:
        same = len({(result.kernel, result.check) for result in run.results}) - len(run.differences)
        lines.append(f"Both ways: {same} checks ended the same in a fork and in a guest that booted.")
    for one in run.differences or ():
        ways = [way or "not run" for way in (one.forked, one.booted)]
        lines.append(f"  {one.check} on {one.kernel}: {ways[0]} in a fork, {ways[1]} in a guest that booted")
    lines.append(verdict(run))
    return "\n".join(lines)


def verdict(run: Run) -> str:
    """The last sentence."""
    if not run.results:
        return "No check ran."
    errors = [result for result in run.failed if result.verdict == "error"]
    if errors and len(errors) == len(run.failed):
        return f"{len(errors)} checks could not be judged: the host failed, not the kernel."
    if run.differences and not run.failed:
        return (
            f"{len(run.differences)} checks depend on how their guest came to be: do not trust them, nor the snapshot."
        )
    if run.failed:
        patches = ", ".join(sorted({_short(result) for result in run.failed}))
        return (
            f"{len(run.failed)} of {len(run.results)} results are not as they should be; look at {patches} first. "
            f"Once more, just the first: {run.failed[0].repeat}"
        )
    if idle := [kernel for kernel in run.kernels if kernel.label not in {result.kernel for result in run.results}]:
        return f"Nothing ran on {listed([f'{kernel.name} ({kernel.arch})' for kernel in idle])}."
    parts = []
    for era in dict.fromkeys(kernel.expect for kernel in run.kernels):
        mine = [kernel for kernel in run.kernels if kernel.expect == era]
        due = sum(cell(result) == "due" for result in run.results if result.kernel in {one.label for one in mine})
        who = f"{listed([kernel.name for kernel in mine])} ({listed([kernel.arch for kernel in mine])})"
        if due:
            parts.append(f"{who}, judged as {era}, breaks just the promises that came later, so the checks can tell")
        else:
            parts.append(f"{who} keeps every promise that was tried")
    return "; ".join(parts) + "."


def listed(words: Iterable[str]) -> str:
    """One, two and three; each only once. Empty for none."""
    words = list(dict.fromkeys(words))
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def _skipped(run: Run) -> Iterator[str]:
    """What was skipped and why, told once for all kernels that it is the same for; named where these are not all."""
    kernels: dict[tuple[str, str], list[str]] = {}
    for result in run.results:
        if result.verdict == "skip":
            kernels.setdefault((result.reason, result.check), []).append(result.kernel)
    same: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, check), labels in kernels.items():
        same.setdefault((reason, tuple(dict.fromkeys(labels))), []).append(check)
    for (reason, where), names in same.items():
        on = f" on {listed(where)}" if len(where) < len(run.kernels) else ""
        yield f"  skipped {', '.join(names)}{on}: {reason}"


def _first(result: Result) -> str:
    # A guest that died or hung may have complained before, which its reason knows.
    told = result.troubles[:1] if result.verdict in ("pass", "fail") else ()
    lines = (told or (result.reason,))[0].splitlines() or [result.verdict]
    return "passed where it must fail: it does not discriminate" if result.indiscriminate else lines[0]


def _short(result: Result) -> str:
    return result.patch.partition(":")[0]


def failures(run: Run) -> Iterator[str]:
    """Every result that is not as it should be; those of one cause, as of a kernel that does not boot, as one."""
    causes: dict[tuple[str, str, str], list[Result]] = {}
    for result in run.failed:
        causes.setdefault((result.kernel, cell(result), result.reason or result.check), []).append(result)
    for first, *others in causes.values():
        text = failure(first, run)
        if others:
            text += f"  the same: {', '.join(result.check for result in others)}\n"
        yield text


def failure(result: Result, run: Run) -> str:
    """One result that is not as it should be, with all that is needed to go on."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    from harness.manifest import patch  # noqa: PLC0415

    kernel = next(kernel for kernel in run.kernels if kernel.label == result.kernel)
    environment = Environment(
        loader=PackageLoader("harness"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text for a terminal
        keep_trailing_newline=True,
    )
    headline = f"{word(result)} {result.check} on {kernel.name} ({kernel.arch})"
    return environment.get_template("failure.txt.j2").render(
        result=result, kernel=kernel, headline=headline, patch=patch(result.patch)
    )


def junit(run: Run) -> str:
    """JUnit XML, one suite a kernel; a due failure is a passed test case, an indiscriminate pass a failed one."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415

    root = ET.Element("testsuites", name="nullfs-harness", time=str(run.seconds))
    for kernel in run.kernels:
        root.append(_suite(kernel, [result for result in run.results if result.kernel == kernel.label]))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(kernel: KernelFacts, results: list[Result]) -> ET.Element:
    from xml.etree import ElementTree as ET  # noqa: PLC0415

    errors = [result for result in results if result.verdict == "error"]
    suite = ET.Element(
        "testsuite",
        name=kernel.label,
        tests=str(len(results)),
        failures=str(sum(not result.ok for result in results) - len(errors)),
        errors=str(len(errors)),
        skipped=str(sum(result.verdict == "skip" for result in results)),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=kernel.label, name=result.check, time=str(result.seconds))
        if result.how != "boot":
            ET.SubElement(ET.SubElement(case, "properties"), "property", name="how", value=result.how)
        if result.verdict == "skip":
            ET.SubElement(case, "skipped", message=_printable(result.reason))
        elif not result.ok:
            kind = "error" if result.verdict == "error" else "failure"
            body = ET.SubElement(case, kind, message=_printable(_first(result)), type=cell(result))
            body.text = _printable("\n".join((result.promise, result.patch, result.reason, result.tail, result.repeat)))
        ET.SubElement(case, "system-out").text = result.console
    return suite


def _printable(text: str) -> str:
    # XML 1.0 has no place for control characters, and consoles do have them.
    return "".join(char if char in "\n\t" or char >= " " else "?" for char in text)

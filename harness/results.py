# SPDX-License-Identifier: GPL-2.0-only
"""Results are data first. What ``--json`` writes is ``Run.to_json``; README.md has the schema."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

#: Raised when a field changes its meaning or goes; a new field does not change it.
SCHEMA = 1


@dataclass(frozen=True)
class KernelFacts:
    """One column of the table."""

    label: str
    #: The release, without what only says the architecture.
    name: str
    spec: str
    image: str
    arch: str
    release: str
    #: What the kernel was judged by.
    expect: str
    accel: str = ""
    accel_why: str = ""
    #: Why every check had to boot its own guest; empty where none had to, or it was asked for.
    no_snapshot: str = ""
    #: Trouble of the boot itself: "name: line".
    boot_troubles: tuple[str, ...] = ()
    #: Why no guest came up, if that was the kernel's fault.
    no_boot: str = ""
    #: What its vmlinux has of the series, which is no verdict; empty where there is none of the same build.
    build_id: str = ""
    #: An era, "mixture" or "unknown".
    claim: str = ""
    claim_why: str = ""
    #: What in it speaks against ``expect``: "no knullfs".
    claim_against: tuple[str, ...] = ()
    #: Of the image, in bytes; 0 where it is not known.
    image_bytes: int = 0
    #: Of the compilers, in all of the kernel; None where nobody knows, for it was not built here.
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Result:
    """One check on one kernel."""

    check: str
    promise: str
    patch: str
    since: str
    kernel: str
    verdict: str
    expected: str
    #: As expected, or skipped with a reason.
    ok: bool
    seconds: float
    #: What was expected and seen, or why it was skipped.
    reason: str = ""
    #: Unexpected warnings of the kernel: "name: line".
    troubles: tuple[str, ...] = ()
    #: The last lines of the console, where the result is not ok.
    tail: str = ""
    console: str = ""
    repeat: str = ""
    #: Of a check that runs tests of the kernel's tree: each test by its path, and what became of it (harness/ktap.py).
    tests: dict[str, str] = field(default_factory=dict)
    #: Whether a guest showed it ("boot"), or only the kernel's files were read ("static").
    how: str = "boot"
    #: CPU seconds of the guest, from the check's beginning to its end; None where there was none.
    cpu: float | None = None

    @property
    def indiscriminate(self) -> bool:
        """Passed on a kernel that does not keep the promise: such a check proves nothing."""
        return self.verdict == "pass" and self.expected == "fail"


@dataclass(frozen=True)
class Difference:
    """A check that ended otherwise in a guest that booted than in a fork of a snapshot; "" where it did not run."""

    check: str
    kernel: str
    forked: str
    booted: str


@dataclass
class Run:
    """All of it."""

    kernels: list[KernelFacts] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    #: Which checks did not end the same both ways; None unless both were tried.
    differences: list[Difference] | None = None
    started: str = ""
    seconds: float = 0.0
    harness: str = ""
    qemu: str = ""
    host: str = ""
    #: The directory with the consoles.
    evidence: str = ""
    #: Seconds of all threads together that each stage took.
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> list[Result]:
        """What is not as it should be."""
        return [result for result in self.results if not result.ok]

    def compare(self, booted: Run) -> None:
        """Fill in ``differences``, ``booted`` being the same checks without snapshots."""
        ways = [{(one.kernel, one.check): one.verdict for one in run.results} for run in (self, booted)]
        both = {key: tuple(way.get(key, "") for way in ways) for key in ways[0] | ways[1]}
        self.differences = [
            Difference(check, kernel, *verdicts) for (kernel, check), verdicts in both.items() if len({*verdicts}) > 1
        ]

    def to_json(self) -> str:
        """The document that ``--json`` writes."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read such a document back; fields that a later harness has added are left out.

        Raises ValueError if it is none, or of another schema.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or "schema" not in data:
            raise ValueError("it has no schema")
        if data["schema"] != SCHEMA:
            raise ValueError(f"it is of schema {data['schema']}, this harness reads {SCHEMA}")
        try:
            read = _known(cls, data)
            for name, kind in (("kernels", KernelFacts), ("results", Result), ("differences", Difference)):
                if name != "differences" or read.get(name) is not None:
                    read[name] = [kind(**_known(kind, row)) for row in data[name]]
            return cls(**read)
        except KeyError as error:
            raise ValueError(f"it has no {error}") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(f"it is not what its schema says: {error}") from error


def _known(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items() if key in names}

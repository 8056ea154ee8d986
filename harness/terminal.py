# SPDX-License-Identifier: GPL-2.0-only
"""The progress of a run on a terminal. Slow to import, so it is not where there is none."""

from __future__ import annotations

from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness import make


class Screen:
    """A line at the bottom of a terminal that says how far it is."""

    def __init__(self) -> None:
        self.console = Console()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        self.task = self.progress.add_task("collecting", total=None)
        self.status = self.console.status("")

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show that something goes on while the block lasts."""
        self.status = self.console.status(what)
        return self.status

    def building(self, far: make.Progress) -> None:
        """Show in that block how far a build is; nothing where there is none."""
        self.status.update(f"building: {far}")

    def start(self, total: int) -> None:
        """Now it is known how much there is to do."""
        self.progress.update(self.task, total=total)
        self.progress.start()

    def doing(self, what: str) -> None:
        """What is tried now."""
        self.progress.update(self.task, description=what)

    def done(self) -> None:
        """One more done."""
        self.progress.advance(self.task)

    def stop(self) -> None:
        """Make room for the table."""
        self.progress.stop()

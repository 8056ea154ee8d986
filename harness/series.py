# SPDX-License-Identifier: GPL-2.0-only
"""What a patch series is, wherever it came from: an ordered list of patches, with their cover letter's facts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from harness import diff
from harness.diff import Change


@dataclass(frozen=True)
class Patch:
    """One patch. ``mail`` is what git-am(1) takes: one message, decoded, without a From_ line before it."""

    n: int
    of: int
    #: Without its [PATCH …].
    subject: str
    mail: bytes
    #: Without <>; empty for what was never sent.
    message_id: str = ""

    @cached_property
    def text(self) -> str:
        """The mail as text; what is not UTF-8 comes back as it was by ``surrogateescape``."""
        return self.mail.decode("utf-8", "surrogateescape")

    @cached_property
    def changes(self) -> list[Change]:
        """What it changes, file by file; also what is damaged is read, see Hunk.fault."""
        return diff.parse(self.text)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths it names, old and new ones."""
        return tuple(dict.fromkeys(path for change in self.changes for path in change.paths))

    def __str__(self) -> str:
        return f"{self.n}/{self.of} {self.subject}"


@dataclass(frozen=True)
class Series:
    """Patches in their order, and what their cover letter says; what it does not say is empty."""

    spec: str
    title: str
    revision: int
    patches: tuple[Patch, ...]
    author: str = ""
    #: Of the cover letter, else of the first patch; without <>.
    message_id: str = ""
    change_id: str = ""
    base_commit: str = ""
    #: The header of the mail that speaks for it, as it was sent.
    head: bytes = b""
    #: When it was sent, in seconds since 1970; 0 where nobody knows.
    sent: int = 0
    #: What its reader should know: "12/23 was resent; the later one counts".
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names what is in it: equal for the same mails in the same order."""
        digest = hashlib.sha256()
        for patch in self.patches:
            digest.update(hashlib.sha256(patch.mail).digest())
        return digest.hexdigest()[:32]

    @property
    def name(self) -> str:
        """A short label."""
        return f"{self.title} v{self.revision}" if self.revision > 1 else self.title

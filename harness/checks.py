# SPDX-License-Identifier: GPL-2.0-only
"""What a check is: one statement about a kernel, true from some era on, tied to the patch that makes it true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import pytest

from harness import profiles
from harness.calls import SyscallError
from harness.channel import TaskGone
from harness.errors import GuestCrash, GuestError, GuestTimeout
from harness.vmlinux import MEMBER, SYMBOLS

#: The exceptions by which a check says that the kernel does not keep its promise. A kernel that cannot even be
#: asked (another GuestError) fails too, but is never due to.
BROKEN = (AssertionError, SyscallError, TaskGone, pytest.fail.Exception)


class Era(IntEnum):
    """What a kernel claims: no nullfs; nullfs under the rootfs; kernel threads in a nullfs of their own."""

    NONE = 0
    ROOTFS = 1
    ISOLATED = 2

    @classmethod
    def of(cls, version: tuple[int, int]) -> Era:
        """The era of a mainline release: nullfs came with 7.0, the isolation with 7.3."""
        return cls.ISOLATED if version >= (7, 3) else cls.ROOTFS if version >= (7, 0) else cls.NONE

    @property
    def has(self) -> frozenset[str]:
        """What a vmlinux of this era has, of all that vmlinux.Claims tells."""
        return frozenset(((), SYMBOLS[:1], (*SYMBOLS, MEMBER))[self])

    def against(self, has: Mapping[str, bool | None]) -> tuple[str, ...]:
        """What is known of a vmlinux and not so in this era: "knullfs", "no knullfs"."""
        known = {name: there for name, there in has.items() if there is not None}
        return tuple(name if there else f"no {name}" for name, there in known.items() if there != (name in self.has))

    def __str__(self) -> str:
        return self.name.lower()


def claimed(has: Mapping[str, bool | None]) -> str:
    """The only era that a vmlinux can be of, "unknown" if it could be of several, "mixture" if it can be of none."""
    fits = [str(era) for era in Era if not era.against(has)]
    return fits[0] if len(fits) == 1 else "unknown" if fits else "mixture"


class Verdict(StrEnum):
    """What became of a check. Never one for another."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"
    #: The guest died.
    CRASH = "crash"
    TIMEOUT = "timeout"
    #: The host's fault, or the harness's own.
    ERROR = "error"

    @classmethod
    def of(cls, error: BaseException | None) -> Verdict:
        """The verdict that an exception out of a check, or none, stands for."""
        if error is None:
            return cls.PASS
        for kinds, verdict in (
            (pytest.skip.Exception, cls.SKIP),
            (GuestCrash, cls.CRASH),
            (GuestTimeout, cls.TIMEOUT),
            ((*BROKEN, GuestError), cls.FAIL),
        ):
            if isinstance(error, kinds):
                return verdict
        return cls.ERROR


@dataclass(frozen=True)
class Check:
    """One promise. ``patch`` as ``SERIES/N`` in patches/; ``since``: the first era that keeps it.

    ``needs``: the Kconfig symbols without which the check has nothing to look at, beyond kconfigs/guest.config, what
    they depend on included: a kernel without one is skipped, and a tree is built with them, with a ``SYMBOL@arm64``
    only there. ``modules``: what the guest must be able to load, by name, where the kernel does not have it built in:
    a kernel that has one neither way is skipped. ``profile``: what else the guest has (initramfs/profiles.toml).
    ``static``: nothing is booted, for no guest can have the hardware: the kernel's files are read.
    """

    id: str
    promise: str
    patch: str
    since: Era
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    profile: str = profiles.DEFAULT
    static: bool = False

    def lacks(self, config: Mapping[str, str] | None) -> list[str]:
        """The symbols that it needs and a kernel does not have; nothing where its configuration is not known."""
        names = [f"CONFIG_{name}" for name in self.needs if "@" not in name]
        # Who boots from a file system has nobody to load a module before.
        early = bool(profiles.by_name(self.profile).image)
        there = ("y",) if early else ("y", "m")
        lacked = [name for name in names if config is not None and config.get(name) not in there]
        return [f"{name}=y" for name in lacked] if early else lacked

    def expected(self, era: Era) -> Verdict:
        """What a kernel of ``era`` must show."""
        return Verdict.PASS if era >= self.since else Verdict.FAIL


def check(
    name: str,
    promise: str,
    *,
    patch: str,
    since: Era = Era.NONE,
    needs: str = "",
    modules: str = "",
    profile: str = profiles.DEFAULT,
    static: bool = False,
) -> pytest.MarkDecorator:
    """Make a test function in tests/kernel/ the check ``name``; it gets a pristine ``guest`` of its own.

    With ``static`` it gets the ``kernel``, and no guest. ``needs`` and ``modules`` are words with blanks between them.
    """
    words = tuple(needs.split()), tuple(modules.split())
    return pytest.mark.check(Check(name, promise, patch, since, *words, profile, static))

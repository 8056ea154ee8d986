# SPDX-License-Identifier: GPL-2.0-only
"""apt with a private state: its lists, sources and options are in the cache.

Nothing of the host's apt is changed. Its mirror, proxy and policies are inherited; what is fetched is verified by
apt against Debian's archive keyring.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from harness import cache, process
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import HostError, RequestError

log = logging.getLogger(__name__)

#: Bytes that the lists of one architecture need while they are fetched.
LISTS = 48 << 20
#: Bytes below which a program that failed is taken to have failed for want of them.
SPARE = 1 << 20
#: Suites that have kernels of all eras; those of the host itself are too old.
SUITES = ("sid", "trixie-backports", "experimental", "bookworm-backports")
#: Other names that a host may call its suite.
ALIASES = ("stable", "oldstable", "testing", "unstable", "sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CONFIGURATION = """\
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
// The host's hooks are about the host.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Package(NamedTuple):
    """A package that a mirror has; ``size`` is that of the .deb in bytes."""

    name: str
    version: str
    size: int


class AptError(HostError):
    """apt could not get something from the mirror; ``cause`` is its first error."""


class Apt:
    """A private apt for one architecture: its lists, sources and options are in the cache, not in /etc and /var."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.state = cache.directory("apt", arch.debian)
        self.log = cache.directory("log") / f"apt-{arch.debian}.log"

    def update(self, deadline: Deadline) -> None:
        """Fetch the lists of packages. Raises AptError, HostError; older lists stay as they were."""
        if self.log.is_file():
            with cache.writing(self.log):
                self.log.write_text("")
        self.configure(deadline)
        room(self.state, LISTS)
        self.run(["apt-get", "update"], deadline)

    def search(self, pattern: str, deadline: Deadline) -> list[Package]:
        """Every package in the lists whose name matches."""
        text = self.run(["apt-cache", "search", "--names-only", "--full", pattern], deadline, keep=False)
        found = []
        for record in text.split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|Size): (.*)$", record, re.MULTILINE))
            if len(fields) == 3:
                found.append(Package(fields["Package"], fields["Version"], int(fields["Size"])))
        return found

    def named(self, name: str, deadline: Deadline) -> list[Package]:
        """The package of that name, in a list. Raises AptError if the lists do not have it."""
        found = self.search(f"^{re.escape(name)}$", deadline)
        if not found:
            raise AptError(f"no package {name} in the lists", cause=f"Debian has no {name} for {self.arch.debian}")
        return found

    def download(self, packages: Sequence[Package], into: Path, deadline: Deadline) -> None:
        """Put packages into a directory, verified by apt. Raises AptError, HostError."""
        room(into, sum(package.size for package in packages))
        names = [f"{package.name}={package.version}" for package in packages]
        self.run(["apt-get", "download", *names], deadline, cwd=into)

    def closure(self, names: Sequence[str], deadline: Deadline) -> list[Package]:
        """These packages and all that they depend on (not what they recommend), of one suite where it has them.

        As if nothing were installed. Raises AptError: the lists do not have one, or they do not fit together.
        """
        # A name that is no package would be taken as a pattern, and fit many.
        options = ["--print-uris", "-y", "--no-install-recommends", "-o", "APT::Cmd::Pattern-Only=true"]
        options += ["-o", "APT::Immediate-Configure=false", "-t", SUITES[0]]
        text = self.run(["apt-get", "install", *options, "--", *names], deadline)
        found = re.findall(r"^'[^']*' ([^_\s]+)_([^_\s]+)_\S+\.deb (\d+) ", text, re.MULTILINE)
        return [Package(name, unquote(version), int(size)) for name, version, size in found]

    def run(self, command: Sequence[str], deadline: Deadline, *, cwd: Path | None = None, keep: bool = True) -> str:
        """Run one command of apt with our options and return what it printed, which goes to the log as well."""
        argv = [command[0], "-q", "-c", str(self.state / "apt.conf"), *command[1:]]
        # In English, so that the cause is found; no dialog; warnings (an _apt user who cannot look into the cache,
        # so that apt downloads as ourselves) are in the log and do not count.
        env = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = process.run(argv, deadline, cwd=cwd, env=env, merge=True)
        except HostError:
            room(cwd or self.state, SPARE)
            raise
        with cache.writing(self.log), self.log.open("a") as handle:
            handle.write(f"$ {process.pasteable(argv)}\n{done.stdout if keep else ''}# exit status {done.returncode}\n")
        if done.returncode:
            cache.full(done.stdout, self.state)
            errors = re.findall(r"^E: (.*)$", done.stdout, re.MULTILINE) or done.stdout.strip().splitlines()[-1:]
            cause = errors[0] if errors else f"exit status {done.returncode}"
            raise AptError(f"{' '.join(command[:2])} failed", cause=cause, log=self.log)
        return done.stdout

    def configure(self, deadline: Deadline) -> None:
        """Write our apt.conf and sources.list. Everything not said here is as on the host (apt.conf(5))."""
        if not shutil.which("apt-get"):
            raise HostError("apt-get is not installed", hint="give an image or .deb files instead")
        if not KEYRING.is_file():
            raise HostError(f"{KEYRING} is not there", hint="apt-get install debian-archive-keyring")
        mirror = self.mirror(deadline)
        option = f"signed-by={KEYRING} arch={self.arch.debian} target=Packages"
        with cache.writing(self.state):
            (self.state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (self.state / "status").write_text("")
            (self.state / "apt.conf").write_text(CONFIGURATION.format(state=self.state, arch=self.arch.debian))
            sources = "".join(f"deb [{option}] {mirror} {suite} main\n" for suite in SUITES)
            (self.state / "sources.list").write_text(sources)

    def mirror(self, deadline: Deadline) -> str:
        """The URI of the mirror that the host itself uses for Debian's main archive. Raises HostError.

        `update --print-uris` knows it even before the first update, when `indextargets` does not list anything yet.
        """
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
        printed = process.run(["apt-get", "update", "--print-uris"], deadline, env={**os.environ, "LC_ALL": "C"})
        archives = re.findall(r"^'(\S+)/dists/([^/\s]+)/InRelease'", printed.stdout, re.MULTILINE)
        for uri, suite in archives:
            if suite in (codename, *ALIASES) and not uri.startswith("cdrom:"):
                return str(uri)
        raise HostError(
            f"the host's apt has no mirror of Debian {codename}",
            cause=next(iter(printed.stderr.splitlines()), f"{len(archives)} other archives in its sources"),
            hint="add one to /etc/apt/sources.list.d, or give a kernel that is here: an image or .deb files",
        )


def fetch(name: str, arch: Arch, deadline: Deadline) -> Path:
    """The directory of Debian's package ``name`` for ``arch``, unpacked; fetched if it is not in the cache.

    What is there stays as it is, whatever the mirror has since, and needs neither apt nor a network (milliseconds).
    What the package depends on is not fetched. Raises HostError.
    """
    place = cache.root() / "packages" / arch.debian / name
    if cache.used(place):
        return place
    with cache.locked(deadline, "apt", arch.debian):
        if not place.is_dir():  # nobody else has fetched it meanwhile
            with fetching(f"Debian's package {name}", arch):
                _fetch(Apt(arch), name, place, deadline)
    return place


@contextmanager
def fetching(what: str, arch: Arch) -> Iterator[None]:
    """Turn an AptError into a HostError that says of ``what`` that it could not be fetched."""
    try:
        yield
    except AptError as failure:
        raise HostError(
            f"{what} for {arch.name} could not be fetched",
            cause=failure.cause,
            log=failure.log,
            hint="check the network and http_proxy, then run this again",
        ) from failure


def _fetch(apt: Apt, name: str, place: Path, deadline: Deadline) -> None:
    log.info("fetching Debian's package %s for %s", name, apt.arch.name)
    with cache.scratch("packages") as scratch:
        try:
            apt.download(apt.named(name, deadline), scratch, deadline)
        except AptError as failure:  # there are no lists yet, or the mirror has moved on since
            log.debug("%s", failure)
            apt.update(deadline)
            apt.download(apt.named(name, deadline), scratch, deadline)
        [deb] = scratch.glob("*.deb")
        extract(deb, scratch / "tree", deadline)
        cache.used(cache.publish(scratch / "tree", place))  # it has the time of the package's own directory


def extract(deb: Path, tree: Path, deadline: Deadline) -> None:
    """Unpack one package into ``tree``. Raises RequestError if it is none, HostError."""
    if not shutil.which("dpkg-deb"):
        raise HostError("dpkg-deb is not installed", hint="apt-get install dpkg")
    done = process.run(["dpkg-deb", "-x", deb.absolute(), tree], deadline, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        cache.full(done.stderr, tree)
        room(tree.parent, SPARE)  # tar says just "Wrote only 9728 of 10240 bytes"
        cause = next(iter(done.stderr.splitlines()), f"dpkg-deb ended with status {done.returncode}")
        raise RequestError(f"{deb} is not a Debian package, or damaged", cause=cause)


def room(where: Path, size: int) -> None:
    """Raise the cache's own HostError unless there are ``size`` bytes free.

    It is asked beforehand because `apt-get update` hangs for ever on a full disk (apt 2.6.1).
    """
    with cache.writing(where):
        if shutil.disk_usage(where).free < size:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {size >> 20} MiB are needed")

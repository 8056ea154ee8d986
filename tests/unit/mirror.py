# SPDX-License-Identifier: GPL-2.0-only
"""A mirror of Debian for the real apt, with packages made for a test. No tests here."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: What a package has at a path: the bytes of a file, where a link points, or a file to be copied.
Body = bytes | str | Path


@dataclass
class Mirror:
    """A mirror in a directory: Debian's suite sid, with packages made here."""

    place: Path
    records: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        files: Mapping[str, Body],
        *,
        depends: str = "",
        version: str = "1",
        arch: str = "amd64",
        modes: Mapping[str, int] | None = None,
    ) -> None:
        """A package: bytes are a file, a str is where a link points, a Path is a file like that."""
        tree = self.place / "trees" / f"{name}-{version}"
        for inside, body in files.items():
            path = tree / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(body, str):
                path.symlink_to(body)
            else:
                path.write_bytes(body if isinstance(body, bytes) else body.read_bytes())
                path.chmod((modes or {}).get(inside, 0o755 if isinstance(body, Path) else 0o644))
        (tree / "DEBIAN").mkdir(parents=True)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: me <me@here>\n"
        control += f"Depends: {depends}\n" if depends else ""
        (tree / "DEBIAN/control").write_text(f"{control}Description: test\n")
        package = self.place / f"{name}.deb"
        package.unlink(missing_ok=True)
        argv: list[str | Path] = ["dpkg-deb", "--build", "--root-owner-group", tree, package]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        body = package.read_bytes()
        digest = hashlib.sha256(body).hexdigest()
        self.records[name] = f"{control}Filename: {package.name}\nSize: {len(body)}\nSHA256: {digest}\n"
        self.write()

    def write(self) -> None:
        """The lists, as they are now."""
        lists = "\n".join(self.records.values())
        where = self.place / "dists/sid/main/binary-amd64"
        where.mkdir(parents=True, exist_ok=True)
        (where / "Packages").write_text(lists)
        digest = hashlib.sha256(lists.encode()).hexdigest()
        release = "Origin: Debian\nSuite: unstable\nCodename: sid\nArchitectures: amd64\nComponents: main\n"
        release += f"SHA256:\n {digest} {len(lists)} main/binary-amd64/Packages\n"
        (where.parents[1] / "Release").write_text(release)

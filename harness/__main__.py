# SPDX-License-Identifier: GPL-2.0-only
"""`python3 -m harness` and `nullfs-harness`: the venv's python if there is one, and in it the real program."""

from __future__ import annotations

import sys

# Before any other import, and in words that an old interpreter can still parse.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write(f"error: nullfs-harness needs Python 3.11 or later, this is {sys.version.split()[0]}\n")
    raise SystemExit(3)

from harness import venv


def main() -> int:
    """Run the command line and return the exit status."""
    venv.enter_ready(sys.argv[1:])
    from harness import command  # noqa: PLC0415 - not before it is known which python runs it

    return command.main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())

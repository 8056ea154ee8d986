# SPDX-License-Identifier: GPL-2.0-only
"""``series apply`` with the real program: what it says, what people do about it, and what is in its way."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from program import Done, Program, eventually

MARK = "made_by_the_series"


def commit(tree: Path, subject: str) -> None:
    toy.git(tree, "add", "--all")
    toy.git(tree, "commit", "--quiet", f"--message={subject}")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A checkout of the toy tree."""
    return toy.checkout(tmp_path / "tree")


@pytest.fixture
def series(user: Path, tmp_path: Path) -> Path:
    """Three patches of which the second one is run on the host, as files; the checkout is at their base."""
    toy.git(user, "checkout", "--quiet", "-b", "topic")
    toy.change(user, f"int {MARK};")
    commit(user, "fs: first")
    toy.change(user, "# more", "scripts/min-tool-version.sh")
    commit(user, "scripts: second")
    toy.change(user, "int third;")
    commit(user, "fs: third")
    toy.git(user, "format-patch", "--quiet", f"--output-directory={tmp_path / 'series'}", "main")
    toy.git(user, "checkout", "--quiet", "main")
    toy.git(user, "branch", "--quiet", "-D", "topic")
    return tmp_path / "series"


def applied(program: Program, series: Path, tree: Path | str, *more: str, **variables: str) -> Done:
    """``series apply`` to its end; the user's files, and the times of all of them, are as they were."""
    mine = Path(str(tree).partition("@")[0])
    before = toy.prints(mine)
    with program.applying(series, tree, *more, **variables) as running:
        done = running.end()
    assert toy.prints(mine) == before
    assert program.left() == []
    assert "Traceback" not in done.text
    return done


def test_applied_and_built(builder: Program, user: Path, series: Path) -> None:
    for _ in range(2):
        done = applied(builder, series, user)
        assert done.status == 0, done
        base, host, *lines, where, following = done.out.splitlines()
        assert base.startswith(f"base: {user} (")
        assert base.endswith("as it lies there; 2 of 2 files are those that the index lines name")
        assert host == "this series runs code on the host at build time: 2/3 scripts/min-tool-version.sh"
        assert lines == [f"{n}: as it stands" for n in ("1/3 fs: first", "2/3 scripts: second", "3/3 fs: third")]
        assert where.startswith("all 3 patches are applied, in the cache: tree ")
    command = shlex.split(following.removeprefix("next: python3 "))
    before = toy.prints(user)
    built = builder.end([*command, "--no-install"], {})
    assert built.status == 0, built
    assert toy.prints(user) == before
    [kernel] = toy.kernels(builder)
    assert MARK in (kernel / "vmlinux").read_bytes().decode("latin-1")
    assert "third" in (kernel / "vmlinux").read_bytes().decode("latin-1")


def test_what_is_run_on_the_host_is_shown(builder: Program, series: Path) -> None:
    done = builder.end(["-m", "harness", "series", "show", "--no-install", series], {})
    assert done.status == 0, done
    assert "this series runs code on the host at build time: 2/3 scripts/min-tool-version.sh" in done.out


def conflict(user: Path) -> None:
    toy.change(user, "int theirs;")
    commit(user, "theirs")


def test_a_conflict_is_resolved_as_we_say(builder: Program, user: Path, series: Path) -> None:
    """The commands that are printed are typed as they stand."""
    conflict(user)
    done = applied(builder, series, f"{user}@HEAD")
    assert done.status == 2, done
    assert "error: 1/3 fs: first does not apply to" in done.err
    assert "3-way merge: CONFLICT (content): Merge conflict in fs/namespace.c" in done.err
    assert applied(builder, series, f"{user}@HEAD").err == done.err  # begun, and not begun anew
    lines = [line.removeprefix("  next:").strip().partition("  #")[0] for line in done.err.splitlines()[-5:]]
    assert [line.split()[:2] for line in lines[1:4]] == [["git", "am"], ["git", "diff"], ["git", "add"]]
    file = Path(lines[0].removeprefix("cd ")) / toy.FILE
    text = file.read_text()
    assert "<<<<<<< HEAD" in text
    file.write_text(re.sub(r"^(<<<<<<<|=======|>>>>>>>).*\n", "", text, flags=re.MULTILINE))
    out = builder.directory
    given = [lines[0], f"{lines[1]} >{out}/shown", f"{lines[2]} >{out}/looked", f"git add {toy.FILE}"]
    given.append(lines[4].replace("python3", shlex.quote(sys.executable)) + " --no-install")
    before = toy.prints(user)
    rest = subprocess.run(
        ["sh", "-ec", "\n".join(given)], cwd=out, capture_output=True, text=True, timeout=180, check=False,
        env=os.environ | {"NULLFS_HARNESS_CACHE": str(builder.cache), "PYTHONPATH": str(toy.TREE.parents[1])},
    )  # fmt: skip
    assert rest.returncode == 0, rest
    assert toy.prints(user) == before
    assert "1/3 fs: first: by hand\n2/3 scripts: second: as it stands\n" in rest.stdout
    assert f"+int {MARK};" in (out / "shown").read_text()
    assert (out / "looked").read_text().startswith("diff --cc fs/namespace.c")
    built = builder.build(f"{user}@HEAD", "--series", series)
    assert built.status == 0, built
    [kernel] = toy.kernels(builder)
    symbols = (kernel / "vmlinux").read_bytes().decode("latin-1")
    assert [name for name in (MARK, "theirs", "third") if name not in symbols] == []


def test_forgotten(builder: Program, user: Path, series: Path) -> None:
    conflict(user)
    top = Path(re.findall(r"cd (\S+)", applied(builder, series, f"{user}@HEAD").err)[0])
    (top / toy.FILE).write_text("int mine;\n")
    done = applied(builder, series, f"{user}@HEAD", "--abort")
    assert (done.status, done.out) == (0, "fs: first: forgotten what was begun by hand\n")
    assert not top.exists()
    done = applied(builder, series, f"{user}@HEAD", "--continue")
    assert done.status == 2
    assert "waits to be gone on with" in done.err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--base", "absent"], "has no revision 'absent'"),
        (["--continue"], "waits to be gone on with"),
        (["--base", "HEAD", "--skip-applied", "--abort"], None),
    ],
)
def test_options(builder: Program, user: Path, series: Path, more: list[str], told: str | None) -> None:
    done = applied(builder, series, user, *more)
    assert done.status == (2 if told else 0), done
    assert (told or "nothing was begun by hand") in done.text


def test_what_is_there_already(builder: Program, user: Path, series: Path) -> None:
    toy.git(user, "am", "--quiet", *sorted(series.iterdir()))
    done = applied(builder, series, f"{user}@HEAD")
    assert done.status == 2, done
    assert "all of it is already applied in" in done.err
    assert "--skip-applied" in done.err
    done = applied(builder, series, f"{user}@HEAD", "--skip-applied")
    assert done.status == 0, done
    assert done.out.count(": already applied\n") == 3


def test_a_path_out_of_the_tree(builder: Program, user: Path, series: Path) -> None:
    [_, second, _] = sorted(series.iterdir())
    second.write_text(second.read_text().replace("/scripts/min-tool-version.sh", "/../../x"))
    done = applied(builder, series, user)
    assert done.status == 2, done
    assert "2/3 scripts: second is refused: it writes to ../../x" in done.err
    assert not (builder.cache / "trees").exists()


def test_killed_in_the_middle(builder: Program, user: Path, series: Path) -> None:
    """By SIGKILL, while git am is at work on the third patch."""
    reached = builder.directory / "reached"
    script = f'case "$*" in "am "*0003.mail) touch {reached}; exec sleep 600;; esac; exec $real "$@"'
    path = toy.fake(builder.directory / "bin", "git", script)
    before = toy.prints(user)
    with builder.applying(series, user, PATH=path):
        assert eventually(reached.exists)
    assert eventually(lambda: builder.left() == [])
    done = applied(builder, series, user)
    assert done.status == 0, done
    assert done.out.count(": as it stands\n") == 3
    assert toy.prints(user) == before


def test_a_full_disk(builder: Program, user: Path, tmp_path: Path, disk: Callable[[int], Path]) -> None:
    small = disk(4)
    toy.git(user, "checkout", "--quiet", "-b", "topic")
    (user / "fs/large.c").write_bytes(os.urandom(9 << 20).hex().encode())
    commit(user, "fs: large")
    toy.git(user, "format-patch", "--quiet", f"--output-directory={tmp_path / 'series'}", "main")
    toy.git(user, "checkout", "--quiet", "main")
    done = applied(builder, tmp_path / "series", user, NULLFS_HARNESS_CACHE=str(small))
    assert done.status == 3, done
    assert "cannot write to the cache below" in done.err
    assert "No space left on device" in done.err
    assert not any(path.is_dir() for path in small.glob("kernels/*"))

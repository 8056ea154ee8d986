# SPDX-License-Identifier: GPL-2.0-only
"""The bootstrap, started for real in a copy of the clone, with an empty HOME and a PATH of our making."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness import resources, venv
from harness.arch import ARCHES
from harness.errors import HostError

TOP = Path(__file__).resolve().parents[2]
#: The interpreter under our venv: it knows nothing of the harness.
BARE = str(getattr(sys, "_base_executable", sys.executable))
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
APT_WORDS = "-q -o DPkg::Lock::Timeout=60"

#: A project that pip installs without a network, in a second. $BUILD is what each step of its build does on the way.
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "toy"
"""
BACKEND = """
import os, zipfile
exec(os.environ.get("BUILD", ""))
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(wheel_directory, "toy-1-py3-none-any.whl"), "w") as wheel:
        info = "Metadata-Version: 2.1\\nName: toy\\nVersion: 1\\nProvides-Extra: test\\n"
        wheel.writestr("toy-1.dist-info/METADATA", info)
        wheel.writestr("toy-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("toy-1.dist-info/RECORD", "")
    return "toy-1-py3-none-any.whl"
"""
#: In the place of harness/cli.py: says where it runs. `run --swallow` waits, and hides Ctrl-C, as pytest does.
CLI = """
import argparse, sys, time
NEEDS_HOST = frozenset({"run", "test"})
def parse(argv):
    top = argparse.ArgumentParser()
    top.add_argument("verb")
    for option in ("--no-install", "--debug", "--swallow"):
        top.add_argument(option, action="store_true")
    return top.parse_args(argv)
def builds(args): return False
def boots(args): return True
def main(args):
    print(sys.prefix, *sys.argv[1:], flush=True)
    try:
        time.sleep(60 if args.swallow else 0)
    except KeyboardInterrupt:
        return 2
    return 0
"""


def hear() -> None:
    """Hear SIGINT, which a shell lets its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Clone:
    """A copy of the clone, and the world it is started in."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin, self.home, self.clone = root, root / "bin", root / "home", root / "clone"
        self.venv = self.clone / ".venv"
        for path in (self.bin, self.home, self.clone):
            path.mkdir(parents=True)
        self.home.chmod(0o777)
        shutil.copytree(TOP / "harness", self.clone / "harness", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TOP / "pyproject.toml", self.clone)
        for name in ("setpriv", "env", "sh", "sleep", "touch", "chmod"):
            (self.bin / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name} on this host"))
        places = {"HOME": self.home, "XDG_CACHE_HOME": self.home / "cache", "PATH": self.bin}
        self.env = {name: str(path) for name, path in places.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}

    def stand_in(self, name: str, script: str = "exit 0") -> None:
        """Put a shell script in the place of the program ``name``."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def has_packages(self) -> None:
        """Make the host look like one that lacks no Debian package."""
        for arch in ARCHES:
            self.stand_in(f"qemu-system-{arch.qemu}")
            self.stand_in(f"{arch.cross}gcc")

    def start(self, *words: str, python: Sequence[str] = (BARE,), **env: str) -> subprocess.Popen[str]:
        """`python3 -m harness words...`."""
        argv, pipe = [*python, "-m", "harness", *words], subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=self.clone, env=self.env | env, stdout=pipe, stderr=pipe, text=True,
            preexec_fn=hear,  # noqa: PLW1509 - the child has no threads yet
        )  # fmt: skip

    def run(self, *words: str, python: Sequence[str] = (BARE,), **env: str) -> tuple[int, str, str]:
        """Its exit status, stdout and stderr."""
        child = self.start(*words, python=python, **env)
        out, err = child.communicate(timeout=120)
        return child.returncode, out, err

    def leftovers(self) -> list[str]:
        """What a bootstrap must not leave: a half-made venv, temporary files, processes."""
        found = [str(path) for path in (self.venv, *self.home.glob("cache/*/tmp/*")) if path.exists()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += [str(path)] if str(self.root) in path.read_text() else []
            except OSError:
                continue
        return found


@pytest.fixture
def clone() -> Iterator[Clone]:
    """The real program in a fresh clone; others may read it, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="nullfs-harness-test-") as name:
        Path(name).chmod(0o755)
        yield Clone(Path(name) / "w")


@pytest.fixture
def toy(clone: Clone) -> Clone:
    """The real bootstrap before a program that needs no packages from an index, on a host that has all programs."""
    clone.has_packages()
    (clone.clone / "pyproject.toml").write_text(PROJECT)
    (clone.clone / "backend.py").write_text(BACKEND)
    (clone.clone / "harness/cli.py").write_text(CLI)
    clone.env |= {"PIP_NO_INDEX": "1"}
    return clone


def wait_for(path: Path) -> None:
    """Until ``path`` is there, a minute at most."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def stuck_in_pip(toy: Clone) -> subprocess.Popen[str]:
    """A bootstrap in the middle of pip."""
    started = toy.home / "started"
    child = toy.start("run", BUILD=f"open({str(started)!r}, 'w'); import time; time.sleep(60)")
    wait_for(started)
    return child


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--help"], 0), (["run", "--help"], 0), (["--version"], 0), ([], 2), (["frobnicate"], 2), (["run", "--frob"], 2)],
)
def test_what_needs_no_installation_makes_none(clone: Clone, words: list[str], status: int) -> None:
    assert clone.run(*words)[0] == status
    assert not clone.venv.exists()
    assert not list(clone.home.iterdir())


def apt_command(err: str) -> list[str]:
    """The one apt command in ``err``."""
    [line] = [line for line in err.splitlines() if "apt-get" in line]
    return line.removeprefix("  next:").split()


def test_no_install_prints_the_one_command(clone: Clone) -> None:
    clone.stand_in("apt-get", f"touch {clone.home}/called")
    status, out, err = clone.run("run", "--no-install")
    words = apt_command(err)
    assert (status, out) == (3, "")
    assert "Traceback" not in err
    assert "Traceback" in clone.run("run", "--no-install", "--debug")[2]
    assert ("sudo" in words) == (os.geteuid() != 0)
    assert {"apt-get", "install", "qemu-system-x86", "qemu-system-arm"} <= set(words)
    assert not clone.venv.exists()
    assert not list(clone.home.iterdir())


def test_without_root_and_sudo_prints_the_command_with_sudo(clone: Clone) -> None:
    prefix = NOBODY if os.geteuid() == 0 else ()
    reads = [py for py in (BARE, "/usr/bin/python3") if not subprocess.call([*prefix, py, "-c", "import tomllib"])]
    if not reads:
        pytest.skip("no python3 >= 3.11 that another user may run")
    clone.stand_in("apt-get")
    status, _, err = clone.run("run", python=[*prefix, reads[0]])
    assert status == 3
    assert apt_command(err)[:3] == ["sudo", "apt-get", "install"]
    assert not clone.venv.exists()


def test_without_apt_says_which_programs_are_missing(clone: Clone) -> None:
    status, _, err = clone.run("run")
    assert (status, "qemu-system-x86_64, qemu-system-aarch64" in err) == (3, True)


def test_apt_is_tried_again_with_new_lists(toy: Clone) -> None:
    (toy.bin / "qemu-system-aarch64").unlink()
    calls = toy.home / "calls"
    made = f"echo > {toy.bin}/qemu-system-aarch64; chmod +x {toy.bin}/qemu-system-aarch64"
    script = f"""echo "$DEBIAN_FRONTEND $@" >> {calls}
        case "$*" in *update) touch {calls}.new; exit 0;; esac
        [ -e {calls}.new ] && {made} || {{ echo "E: Unable to locate package"; exit 100; }}"""
    toy.stand_in("apt-get", script)
    toy.stand_in("sudo", 'exec "$@"')
    status, _, err = toy.run("run")
    install = f"noninteractive {APT_WORDS} install -y --no-install-recommends qemu-system-arm"
    assert calls.read_text().splitlines() == [install, f"noninteractive {APT_WORDS} update", install]
    assert err.startswith("installing Debian packages: qemu-system-arm\nupdating apt's package lists\nmaking ")
    assert status == 0


def test_failure_of_apt_shows_its_first_error(clone: Clone) -> None:
    clone.stand_in("apt-get", "echo 'Reading lists'; echo 'E: no room'; echo 'E: more'; exit 100")
    clone.stand_in("sudo", 'exec "$@"')
    status, _, err = clone.run("run")
    assert status == 3
    assert "  cause: E: no room\n" in err
    assert f"  log:   {clone.home}/cache/nullfs-harness/log/bootstrap.log\n" in err
    assert apt_command(err.splitlines()[-1])[-1] == "qemu-system-x86"


def test_apt_is_asked_to_stop_and_waited_for(clone: Clone) -> None:
    end = f"kill $!; sleep 0.5; touch {clone.home}/ended; exit 1"
    clone.stand_in("apt-get", f"trap '{end}' INT; touch {clone.home}/on; sleep 120 & wait")
    clone.stand_in("sudo", 'exec "$@"')
    child = clone.start("run")
    wait_for(clone.home / "on")
    child.terminate()
    assert child.wait(120) == 128 + signal.SIGTERM
    assert (clone.home / "ended").exists()


def test_venv_is_made_once_and_kept_up_to_date(toy: Clone) -> None:
    making, installing = f"making {toy.venv}\n", f"installing nullfs-harness into {toy.venv}\n"
    assert toy.run("run") == (0, f"{toy.venv} run\n", making + installing)
    assert toy.run("run") == (0, f"{toy.venv} run\n", "")
    assert toy.run("other") == (0, f"{toy.venv} other\n", "")
    assert toy.run("test")[2] == installing  # one extra more
    assert toy.run("run", python=[f"{toy.venv}/bin/python"]) == (0, f"{toy.venv} run\n", "")
    with (toy.clone / "pyproject.toml").open("a") as project:
        project.write("dependencies = []\n")
    status, _, err = toy.run("run", BUILD="raise OSError('no room')")  # what there was, still is
    assert (status, "OSError: no room" in err, toy.venv.exists()) == (3, True, True)
    assert toy.run("run")[2] == installing
    assert toy.run("test")[2] == ""
    assert not list(toy.home.glob("cache/*/tmp/*"))


def test_killed_bootstrap_is_noticed_and_redone(toy: Clone) -> None:
    child = stuck_in_pip(toy)
    child.kill()
    child.communicate(timeout=120)
    assert toy.venv.exists()
    assert "making" in toy.run("run")[2]
    assert not list(toy.home.glob("cache/*/tmp/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_nothing_behind(toy: Clone, number: signal.Signals) -> None:
    child = stuck_in_pip(toy)
    child.send_signal(number)
    _, err = child.communicate(timeout=120)
    assert (child.returncode, err.splitlines()[-1]) == (128 + number, "interrupted")
    assert not toy.leftovers()


def test_failure_of_pip_leaves_no_venv(toy: Clone) -> None:
    status, _, err = toy.run("run", BUILD="try: no_hook\nexcept NameError: raise OSError('no room')")
    assert status == 3
    assert "error: pip failed" in err
    assert "cause: OSError: no room" in err
    assert not toy.leftovers()


def test_two_at_once_make_one_venv_and_the_signal_decides_the_status(toy: Clone) -> None:
    both = [toy.start("run", "--swallow", BUILD="import time; time.sleep(0.5)") for _ in range(2)]
    for child in both:
        assert child.stdout
        assert child.stdout.readline().startswith(str(toy.venv))
        child.terminate()
    errs = "".join(child.communicate(timeout=120)[1] for child in both)
    assert (errs.count("waiting for another"), errs.count("installing")) == (1, 1)
    assert [child.returncode for child in both] == [143, 143]


def test_venv_of_the_user_is_used_but_never_removed(toy: Clone) -> None:
    subprocess.run([BARE, "-m", "venv", "--without-pip", toy.venv], check=True)
    (toy.venv / "mine").touch()
    assert toy.run("run", BUILD="raise OSError")[0] == 3
    assert toy.run("run")[0] == 0
    assert (toy.venv / "mine").exists()


def test_old_python_can_parse_what_refuses_it() -> None:
    for name in ("__init__.py", "__main__.py"):
        ast.parse((TOP / "harness" / name).read_text(), feature_version=(3, 8))


def test_names_of_distributions() -> None:
    lines = ["Jinja2-3.1.6.dist-info", "qemu.qmp>=0.0.6", "virtme_ng-1.42.dist-info", "pytest>=8.2", "a[b] ; c"]
    assert [venv.canonical(line) for line in lines] == ["jinja2", "qemu-qmp", "virtme-ng", "pytest", "a"]


def test_resources_are_found_or_named() -> None:
    assert (resources.directory("initramfs") / "agent.c").is_file()
    with pytest.raises(HostError, match="no-such"):
        resources.directory("no-such")

# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's arguments are data: what every machine has, and what tells them apart."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cache, qemu
from harness.arch import ARCHES, Arch
from harness.errors import HostError


def value(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.fixture(params=ARCHES, ids=lambda arch: arch.name)
def setup(request: pytest.FixtureRequest) -> qemu.Setup:
    arch = request.param
    assert isinstance(arch, Arch)
    return qemu.Setup(arch, Path("/image"), Path("/initrd"))


def test_a_guest_has_no_network_and_qemu_may_start_nothing(setup: qemu.Setup) -> None:
    argv = qemu.arguments(setup, console=Path("line"), qmp=11)
    assert value(argv, "-nic") == "none"
    assert value(argv, "-sandbox").startswith("on,")
    assert "spawn=deny" in value(argv, "-sandbox")
    assert "-nodefaults" in argv
    assert not any("hostfwd" in word or "netdev" in word for word in argv)


def test_the_console_and_a_panic_end_up_where_we_look(setup: qemu.Setup) -> None:
    argv = qemu.arguments(setup, console=Path("line"), qmp=11)
    assert "pipe,id=console,path=line" in argv
    assert f"console={setup.arch.console}" in value(argv, "-append").split()
    assert "panic=-1" in value(argv, "-append").split()
    assert "-no-reboot" in argv


def test_a_disk_is_no_initrd_and_is_never_written_to(setup: qemu.Setup) -> None:
    argv = qemu.arguments(replace(setup, initrd=Path("/a,b"), disk=True), console=Path("line"), qmp=11)
    assert value(argv, "-drive").split(",", 2) == ["if=none", "id=disk", "format=raw,readonly=on,file=/a,,b"]
    assert value(argv, "-device").startswith("nvme,drive=disk,")
    assert "-initrd" not in argv


def test_a_fork_differs_only_in_where_it_begins(setup: qemu.Setup) -> None:
    boot = qemu.arguments(setup, console=Path("line"), qmp=11, ram=qemu.Ram(12, shared=True))
    fork = qemu.arguments(setup, console=Path("line"), qmp=11, ram=qemu.Ram(12, shared=False), incoming=True)
    begin = boot.index("-kernel")
    assert fork == [word.replace("share=on", "share=off") for word in boot[:begin]] + ["-incoming", "defer"]


def test_qemu_is_asked_for_its_version_only_once(
    setup: qemu.Setup, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    with caplog.at_level(logging.DEBUG):
        said = {qemu.version(setup.arch) for _ in range(3)}
    assert len(said) == 1
    assert "QEMU" in said.pop()
    assert sum("--version" in record.getMessage() for record in caplog.records) == 1


def test_kvm_takes_the_hosts_cpu(setup: qemu.Setup) -> None:
    argv = qemu.arguments(replace(setup, accel="kvm"), console=Path("line"), qmp=11)
    assert (value(argv, "-cpu"), value(argv, "-M")) == ("host", setup.arch.kvm_machine)


def test_without_qemu_its_package_is_named(setup: qemu.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=f"qemu-system-{setup.arch.qemu} is not installed") as caught:
        qemu.program(setup.arch)
    assert setup.arch.qemu_package in caught.value.hint


def test_a_shell_is_the_same_machine_at_the_users_terminal(setup: qemu.Setup) -> None:
    checks, shell = qemu.arguments(setup, console=Path("line"), qmp=11), qemu.interactive(setup)
    begin = checks.index("-chardev")
    assert shell[:begin] == checks[:begin]
    assert shell[shell.index("-kernel") :] == checks[checks.index("-kernel") :]
    assert "-S" not in shell
    assert set(qemu.interactive(setup, gdb=12)) - set(shell) >= {"-S", "-gdb", "chardev:gdb"}

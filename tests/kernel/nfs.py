# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's NFS server and its client, on the loopback of one guest. No checks here."""

from __future__ import annotations

from net import loopback

from harness.guest import Guest
from harness.task import Task

#: What is exported, and where the client has it.
EXPORT, MOUNTED = "/export", "/mnt"
#: The client's mount options. No cache may answer for the server; with noac each write would be the writer's own work.
OPTIONS = "vers=4.1,addr=127.0.0.1,clientaddr=127.0.0.1,proto=tcp,sec=sys,actimeo=0,lookupcache=none"
_NFSD, _PIPES = "/proc/fs/nfsd", "/var/lib/nfs/rpc_pipefs"


def serve(guest: Guest, *options: str) -> None:
    """Start nfsd, with Debian's nfs-utils, on what lies at EXPORT.

    Raises GuestError, HostError, SyscallError; AssertionError if one of the programs fails.
    """
    for name in ("nfsd", "nfsv4"):
        guest.load_module(name)
    loopback(guest)
    guest.makedirs("/etc", "/var", "/var/lib", "/var/lib/nfs", _PIPES, "/run", EXPORT, MOUNTED)
    guest.mount("nfsd", _NFSD, "nfsd")
    guest.mount("pipes", _PIPES, "rpc_pipefs")
    for name in ("etab", "rmtab"):
        guest.write_file(f"/var/lib/nfs/{name}", "")
    words = ",".join(("rw", "insecure", "no_root_squash", "no_subtree_check", "fsid=0", *options))
    guest.write_file("/etc/exports", f"{EXPORT} *({words})\n")
    # It knows of no clients that might have something to reclaim, so that nobody waits for them
    # (fs/nfsd/nfs4state.c: nfs4_state_start_net()).
    clients = guest.launch("/usr/sbin/nfsdcld", "--foreground", "--pipefsdir", _PIPES, "--storagedir", "/var/lib/nfs")
    daemon = guest.launch("/usr/sbin/rpc.mountd", "--foreground", "--no-nfs-version", "3")
    for program in (
        ("/usr/sbin/exportfs", "-a"),
        ("/usr/sbin/rpc.nfsd", "--no-nfs-version", "3", "--port", "2049", "2"),
    ):
        ran = guest.run(*program)
        assert ran.status == 0, (program, ran.output)
    for each in (daemon, clients):
        assert not each.ended, each.output


def mount(task: Task) -> None:
    """Mount the export on MOUNTED. Raises SyscallError."""
    task.mount("127.0.0.1:/", MOUNTED, "nfs4", 0, OPTIONS)

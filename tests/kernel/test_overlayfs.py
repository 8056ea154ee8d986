# SPDX-License-Identifier: GPL-2.0-only
"""E. overlayfs looks below its own layers, whoever opens a file first."""

from __future__ import annotations

from doors import jailed

from harness import abi
from harness.checks import check
from harness.guest import Guest

#: Where the data of a file are said to be: a path from the top of a layer, and no layer is at the root.
REDIRECT = "/blob"
LAYERS = ("/lower", "/data", "/upper", "/work")
OPTIONS = "lowerdir=/lower::/data,upperdir=/upper,workdir=/work,redirect_dir=on,metacopy=on"


@check(
    "overlayfs",
    "overlayfs finds the data of a file in its own layers, whoever opens it first",
    patch="kthread-nullfs-v2/22",
    needs="TMPFS_XATTR OVERLAY_FS",
    modules="overlay",
    profile="storage",
)
def test_overlayfs(guest: Guest) -> None:
    """A jailed process mounts an overlay with a layer that has only data, which are looked up when a file is opened.
    One file it opens itself, another one PID 1, which then writes to it. Decoys of the layers and of the data are in
    PID 1's root, and of the data in the jail's."""
    guest.load_module("overlay")
    guest.makedirs("/jail")
    guest.mount("none", "/jail", "tmpfs")  # an initramfs in a ramfs has no extended attributes
    child = jailed(guest, *LAYERS, "/merged")
    for task, name in ((guest, "PID 1"), (child, "jail")):
        task.write_file(REDIRECT, f"decoy, {name}")
        task.write_file(f"/data{REDIRECT}", f"data, {name}")
        for file in ("/lower/first", "/lower/second"):
            task.write_file(file, "")
            task.call("truncate", file, len("data, jail"))
    for file in ("/lower/first", "/lower/second"):
        child.call("setxattr", file, "trusted.overlay.metacopy", "", 0, 0)
        child.call("setxattr", file, "trusted.overlay.redirect", REDIRECT, len(REDIRECT), 0)
    child.mount("none", "/merged", "overlay", 0, OPTIONS)
    assert child.read_text("/merged/first") == "data, jail"
    assert guest.read_text("/jail/merged/second") == "data, jail"
    guest.write_file("/jail/merged/second", "DATA", abi.O_WRONLY)
    assert (child.read_text("/upper/second"), guest.exists("/upper/second")) == ("DATA, jail", False)

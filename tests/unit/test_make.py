# SPDX-License-Identifier: GPL-2.0-only
"""harness/make.py: what compilers, linkers and make say, as they really do, and what make is not told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import make
from harness.arch import X86_64
from harness.deadline import Deadline
from harness.errors import HostError
from harness.make import Made, Make, Progress, progress
from harness.toolchain import Toolchain

GCC = """\
  CC      init/main.o
In file included from ./include/linux/fs.h:5,
                 from init/main.c:22:
./include/linux/nullfs.h:10:2: warning: #warning "here" [-Wcpp]
init/main.c: In function 'start_kernel':
init/main.c:900:9: note: each undeclared identifier is reported only once for each function it appears in
init/main.c:901:9: error: 'knullfs' undeclared (first use in this function)
  901 |         knullfs = 1;
init/main.c:905:1: error: expected ';' before '}' token
  CC      kernel/fork.o
make[3]: *** [scripts/Makefile.build:289: init/main.o] Error 1
make[2]: *** [Makefile:2142: init] Error 2
make[1]: *** [/src/Makefile:248: __sub-make] Error 2
make: *** Waiting for unfinished jobs....
make: *** [Makefile:248: __sub-make] Error 2
"""
CLANG = """\
fs/namespace.c:12:10: fatal error: 'linux/absent.h' file not found
   12 | #include <linux/absent.h>
1 warning and 1 error generated.
make[4]: *** [scripts/Makefile.build:289: fs/namespace.o] Error 1
"""
ASSEMBLER = """\
  AS      arch/x86/entry/entry_64.o
arch/x86/entry/entry_64.S: Assembler messages:
arch/x86/entry/entry_64.S:87: Error: no such instruction: `swapgs2'
make[5]: *** [scripts/Makefile.build:434: arch/x86/entry/entry_64.o] Error 1
"""
LD = """\
  LD      .tmp_vmlinux1
ld: init/main.o: in function `rest_init':
main.c:(.text+0x1f): undefined reference to `knullfs'
ld: main.c:(.text+0x2f): undefined reference to `other'
make[2]: *** [scripts/Makefile.vmlinux:34: vmlinux] Error 1
"""
LLD = """\
ld.lld: error: undefined symbol: knullfs
>>> referenced by main.c
ld.lld: error: undefined symbol: other
make[2]: *** [/src/scripts/Makefile.vmlinux:34: vmlinux] Error 1
"""
MODPOST = """\
ERROR: modpost: "init_userspace_fs" [fs/x.ko] undefined!
make[2]: *** [scripts/Makefile.modpost:145: Module.symvers] Error 1
"""
KCONFIG = """\
init/Kconfig:12: syntax error
init/Kconfig:12: unknown statement "confg"
make[2]: *** [scripts/kconfig/Makefile:85: olddefconfig] Error 1
"""
NO_RULE = "make[3]: *** No rule to make target 'init/absent.o', needed by 'init/built-in.a'.  Stop.\n"
SEPARATOR = "init/Makefile:3: *** missing separator.  Stop.\n"
OLD = "***\n*** C compiler is too old.\n***   Your GCC version:    4.9.0\n"
UNCLEAN = "***\n*** The source tree is not clean, please run 'make mrproper'\n*** in /src\n***\n"
FLEX = "/bin/sh: 1: flex: not found\nmake[2]: *** [scripts/Makefile.host:9: scripts/kconfig/lexer.lex.c] Error 127\n"
KILLED = """\
gcc: fatal error: Killed signal terminated program cc1
make[3]: *** [scripts/Makefile.build:289: fs/inode.o] Error 1
"""
INTERNAL = "fs/inode.c:7:1: internal compiler error: Segmentation fault\n"
OPTION = "gcc: error: unrecognized command-line option '-mabsent'\n"
OBJTOOL = """\
vmlinux.o: error: objtool: x+0x1: unreachable instruction
make[2]: *** [scripts/Makefile.vmlinux_o:72: vmlinux.o] Error 255
"""
FALSE_FRIENDS = """\
  CC      lib/error.o
  CC [M]  drivers/error: x.o
lib/error.c:1:2: note: in expansion of macro 'error'
make[1]: [Makefile:7: clean] Error 1 (ignored)
/usr/bin/ld: warning: x.o: missing .note.GNU-stack section implies executable stack
"""


def read(text: str) -> Made:
    made = Made()
    for line in text.splitlines():
        made.read(line)
    return made


@pytest.mark.parametrize(
    ("text", "cause", "target"),
    [
        (GCC, "init/main.c:901:9: error: 'knullfs' undeclared (first use in this function)", "init/main.o"),
        (CLANG, "fs/namespace.c:12:10: fatal error: 'linux/absent.h' file not found", "fs/namespace.o"),
        (ASSEMBLER, ASSEMBLER.splitlines()[2], "arch/x86/entry/entry_64.o"),
        (LD, "main.c:(.text+0x1f): undefined reference to `knullfs'", "vmlinux"),
        (LLD, "ld.lld: error: undefined symbol: knullfs", "vmlinux"),
        (MODPOST, MODPOST.splitlines()[0], "Module.symvers"),
        (KCONFIG, "init/Kconfig:12: syntax error", "olddefconfig"),
        (NO_RULE, NO_RULE.strip(), ""),
        (SEPARATOR, SEPARATOR.strip(), ""),
        (OLD, "*** C compiler is too old.", ""),
        (UNCLEAN, UNCLEAN.splitlines()[1], ""),
        (FLEX, "/bin/sh: 1: flex: not found", "scripts/kconfig/lexer.lex.c"),
        (KILLED, KILLED.splitlines()[0], "fs/inode.o"),
        (INTERNAL, INTERNAL.strip(), ""),
        (OPTION, OPTION.strip(), ""),
        (OBJTOOL, OBJTOOL.splitlines()[0], "vmlinux.o"),
        (MODPOST + GCC, GCC.splitlines()[6], "Module.symvers"),
        (FALSE_FRIENDS, "", ""),
        ("", "", ""),
    ],
)
def test_the_first_cause(text: str, cause: str, target: str) -> None:
    made = read(text)
    assert (made.cause, made.target) == (cause, target)


def test_objects() -> None:
    assert read(GCC + ASSEMBLER + FALSE_FRIENDS + "  HOSTCC  scripts/basic/fixdep\n  LD      vmlinux\n").objects == 5


def test_how_far_it_is() -> None:
    assert progress(7, None, 5.0) == Progress(7, None, None)
    assert progress(1, 1000, 5.0) == Progress(1, 1000, None)  # too early to tell
    assert progress(250, 1000, 30.0) == Progress(250, 1000, 90.0)
    assert progress(1200, 1000, 30.0) == Progress(1200, 1200, 0.0)
    assert progress(0, 0, 0.0) == Progress(0, 0, None)
    said = [str(progress(*given)) for given in ((7, None, 5.0), (1, 1000, 5.0), (250, 1000, 60.0), (999, 1000, 60.0))]
    assert said == ["7 objects", "1 of about 1000 objects", "250 of about 1000 objects, 3 min left",
                    "999 of about 1000 objects, <1 min left"]  # fmt: skip


def test_what_make_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = """ARCH CROSS_COMPILE LLVM LLVM_IAS CC HOSTCC HOSTCXX LD AR CFLAGS LDFLAGS HOSTCFLAGS HOSTLDFLAGS
    HOSTLDLIBS USERCFLAGS USERLDFLAGS KCFLAGS KAFLAGS KCPPFLAGS KRUSTFLAGS MAKEFLAGS MFLAGS MAKELEVEL
    GNUMAKEFLAGS MAKEFILES KBUILD_OUTPUT KBUILD_BUILD_USER KCONFIG_CONFIG KCONFIG_ALLCONFIG CONFIG_
    CONFIG_DEBUG_VFS INSTALL_MOD_PATH O M V W C LOCALVERSION GIT_DIR SRCARCH srctree objtree
    sub_make_done VPATH KERNELRELEASE KERNELVERSION"""
    kept = "PATH HOME TMPDIR LD_LIBRARY_PATH CCACHE_DIR PKG_CONFIG_PATH SOURCE_DATE_EPOCH ARCHIVE MAIL OLDPWD"
    for name in f"{foreign} {kept}".split():
        monkeypatch.setenv(name, os.environ.get(name, "x"))
    told = Make.environment()
    assert [name for name in foreign.split() if name in told] == []
    assert [name for name in kept.split() if name not in told] == []
    assert told["LC_ALL"] == "C"


def maker(tmp_path: Path, makefile: str) -> Make:
    """The real make on a Makefile in a source directory."""
    for name in ("source", "output"):
        (tmp_path / name).mkdir()
    (tmp_path / "source/Makefile").write_text(makefile)
    chosen = Toolchain(X86_64, "gcc", ("gcc",), {"ARCH": "x86_64", "CROSS_COMPILE": ""}, "", ((), ()))
    return Make(tmp_path / "source", tmp_path / "output", chosen, tmp_path / "log")


def test_make_itself(tmp_path: Path) -> None:
    made: list[Progress] = []
    recipe = "all: one two\none two:\n\t@echo '  CC      $@.o'\n\t@echo $(CURDIR)/$@.c:1:2: warning: '$(O)'\n"
    asked = maker(tmp_path, recipe)
    done = asked.run("all", deadline=Deadline.after(60), watch=made.append, planned=2)
    assert done.objects == 2
    noticed = [[f"  CC      {name}.o", f"{name}.c:1:2: warning: {asked.output}"] for name in ("one", "two")]
    assert sorted(asked.record.read_text().splitlines()) == sorted([*noticed[0], *noticed[1]])
    assert [(each.done, each.planned) for each in made] == [(1, 2), (2, 2)]
    assert asked.log.read_text().count("\n") > 4


def test_a_make_that_fails(tmp_path: Path) -> None:
    asked = maker(tmp_path, "all:\n\t@echo $(CURDIR)/init/main.c:7:1: error: no >&2\n\t@false\n")
    with pytest.raises(make.BuildError, match="does not build for x86_64: make failed at all") as caught:
        asked.run("all", deadline=Deadline.after(60))
    assert caught.value.cause == "init/main.c:7:1: error: no"
    assert caught.value.log == asked.log
    assert caught.value.hint.startswith(f"make -C {asked.source}")
    assert "init/main.c:7:1" in asked.log.read_text()


def test_a_make_that_does_not_end(tmp_path: Path) -> None:
    asked = maker(tmp_path, "all:\n\t@sleep 1000\n")
    with pytest.raises(HostError, match="make did not end within 0 s") as caught:
        asked.run("all", deadline=Deadline.after(0))
    assert caught.value.log == asked.log

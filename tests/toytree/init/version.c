// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>
#include <generated/compile.h>

const char linux_banner[] = "Linux version " UTS_RELEASE " (" UTS_BY ") (" __VERSION__ ") " UTS_VERSION "\n";

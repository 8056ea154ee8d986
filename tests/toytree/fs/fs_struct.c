// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>

struct fs_struct userspace_init_fs = { .users = 1 };

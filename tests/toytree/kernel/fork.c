// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>

struct task_struct init_task = { .fs = &userspace_init_fs, .real_fs = &userspace_init_fs };

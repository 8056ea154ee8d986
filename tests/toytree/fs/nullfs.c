// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>

int nullfs_fs_type = 0x4e554c4c;

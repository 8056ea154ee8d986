// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>

static int *knullfs = &nullfs_fs_type;

int mount_nullfs(void)
{
	int *was = knullfs;

	knullfs = 0;
	return *was;
}

// SPDX-License-Identifier: GPL-2.0-only
#include <linux/toy.h>

int start_kernel(void)
{
	return mount_nullfs() + linux_banner[0] + init_task.real_fs->users;
}

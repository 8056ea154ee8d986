/* SPDX-License-Identifier: GPL-2.0-only */
/* What harness/vmlinux.py looks for, as it is in Linux 7.3. */
struct fs_struct {
	int users;
};

struct task_struct {
	struct fs_struct *fs;
	struct fs_struct *real_fs;
};

extern struct task_struct init_task;
extern struct fs_struct userspace_init_fs;
extern int nullfs_fs_type;
extern const char linux_banner[];

int mount_nullfs(void);

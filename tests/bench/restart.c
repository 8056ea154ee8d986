/* SPDX-License-Identifier: GPL-2.0-only */
/* A PID 1 that resets the machine at once: what is left is the bare boot. See bare.py. */
#include "sys.h"

void entry(u64 *stack)
{
	(void)stack;
	/* linux/reboot.h: LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART */
	sys4(SYS_reboot, 0xfee1dead, 672274793, 0x01234567, 0);
}

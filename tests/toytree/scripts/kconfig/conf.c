// SPDX-License-Identifier: GPL-2.0-only
/* conf --tinyconfig|--olddefconfig Kconfig: nothing set, or what of a .config the Kconfig files allow. */
#include <stdio.h>
#include <string.h>

#include "lkc.h"

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	conf_parse(argv[2]);
	if (!strcmp(argv[1], "--olddefconfig") && conf_read(NULL)) {
		perror("the .config to begin with");
		return 1;
	}
	if (conf_write()) {
		perror("the .config");
		return 1;
	}
	return 0;
}

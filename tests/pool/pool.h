/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _POOL_H
#define _POOL_H

struct pool_ops;

struct pool {
	struct list_head	list;
	unsigned long		*used;
	unsigned int		size;
	const struct pool_ops	*ops;
	char			name[16];
};

struct pool *pool_alloc(const char *name, unsigned int size);
int pool_get(struct pool *pool);
void pool_show(struct pool *pool);
void pool_free(struct pool *pool);

#endif /* _POOL_H */

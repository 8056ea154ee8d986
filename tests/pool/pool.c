// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pool of numbered slots.
 *
 * Slots are handed out by number:
 *
 *  - the lowest free one first
 *  - never one that is reserved
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "pool.h"

#define POOL_MAX		64
#define POOL_RESERVED		2
#define POOL_NAME_LEN		16

#define pool_for_each(pool, slot)				\
	for ((slot) = 0; (slot) < (pool)->size; (slot)++)	\
		if (!test_bit((slot), (pool)->used))		\
			continue;				\
		else

static DEFINE_MUTEX(pool_lock);
static LIST_HEAD(pools);

struct pool_ops {
	int	(*take)(struct pool *pool, unsigned int slot);
	void	(*give)(struct pool *pool, unsigned int slot);
};

static int pool_take_default(struct pool *pool, unsigned int slot)
{
	return test_and_set_bit(slot, pool->used) ? -EBUSY : 0;
}

static void pool_give_default(struct pool *pool, unsigned int slot)
{
	clear_bit(slot, pool->used);
}

static const struct pool_ops pool_default_ops = {
	.take	= pool_take_default,
	.give	= pool_give_default,
};

/**
 * pool_alloc - make a pool
 * @name: what it is called, for messages only
 * @size: how many slots it has
 *
 * Return: the pool, or an ERR_PTR().
 */
struct pool *pool_alloc(const char *name, unsigned int size)
{
	struct pool *pool;
	int err;

	if (!size || size > POOL_MAX)
		return ERR_PTR(-EINVAL);

	pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	if (!pool)
		return ERR_PTR(-ENOMEM);

	pool->used = bitmap_zalloc(size, GFP_KERNEL);
	if (!pool->used) {
		err = -ENOMEM;
		goto out_free;
	}

	strscpy(pool->name, name, POOL_NAME_LEN);
	pool->size = size;
	pool->ops = &pool_default_ops;

	mutex_lock(&pool_lock);
	list_add_tail(&pool->list, &pools);
	mutex_unlock(&pool_lock);

	return pool;

out_free:
	kfree(pool);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(pool_alloc);

/* The lowest slot that is free, or -ENOSPC. */
int pool_get(struct pool *pool)
{
	unsigned int slot;
	int err;

	for (slot = POOL_RESERVED; slot < pool->size; slot++) {
		err = pool->ops->take(pool, slot);
		if (err == -EBUSY)
			continue;
		if (err)
			return err;
		return slot;
	}

	return -ENOSPC;
}

static const char *pool_state(const struct pool *pool)
{
	switch (bitmap_weight(pool->used, pool->size)) {
	case 0:
		return "empty";
	case POOL_MAX:
		return "full";
	default:
		return "used";
	}
}

void pool_show(struct pool *pool)
{
	unsigned int slot;

	pr_info("%s: %s\n", pool->name, pool_state(pool));
	pool_for_each(pool, slot)
		pr_info("%s: slot %u of %u is used\n", pool->name,
			slot, pool->size);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;

	mutex_lock(&pool_lock);
	list_del(&pool->list);
	mutex_unlock(&pool_lock);

	bitmap_free(pool->used);
	kfree(pool);
}
EXPORT_SYMBOL_GPL(pool_free);

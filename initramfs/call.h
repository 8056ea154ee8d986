/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls on request: a batch of them, done one after the other in the task that is asked. */
#ifndef CALL_H
#define CALL_H

#include "task.h"

/* The body of OP_CALL: this, then the calls, the places of pointers in the data, the slices wanted, the data. */
struct batch {
	u16 calls;
	u16 pointers;
	u16 slices;
	u16 pad;
	u32 given; /* bytes of data that follow */
	u32 size;  /* bytes of data in all; the rest is zero */
};

enum { ARG_PLAIN = 0, ARG_DATA = 1, ARG_RESULT = 2 };

struct call {
	u32 nr;
	u8 kind[6];
	u8 pad[6];
	u64 arg[6];
};

/*
 * What of the data goes back: at most `length` bytes, and no more than call number `limit` returned.
 * With `sum` only their number goes back, and their CRC-32.
 */
struct slice {
	u32 offset;
	u32 length;
	u16 limit;
	u16 sum;
};

static void do_call(struct task *t, const struct header *h, u8 *body, u64 length)
{
	const struct batch *b = (const struct batch *)body;
	const struct call *calls = (const struct call *)(b + 1);
	const u32 *pointers = (const u32 *)(calls + b->calls);
	const struct slice *slices = (const struct slice *)(pointers + b->pointers);
	const u8 *given = (const u8 *)(slices + b->slices);
	u64 n, i, k;

	if (length < sizeof(*b) || given + b->given != body + length || b->size > DATA_MAX || b->given > b->size ||
	    b->calls > RESULTS) {
		say_result(t, h->id, -EINVAL);
		return;
	}
	memcpy(t->data, given, b->given);
	memset(t->data + b->given, 0, b->size - b->given);
	for (i = 0; i < b->pointers; i++)
		if (pointers[i] + 8ul <= b->size) {
			u64 *at = (u64 *)(t->data + pointers[i]);

			*at += (u64)t->data;
		}
	for (i = 0; i < b->calls; i++) {
		u64 arg[6];

		for (k = 0; k < 6; k++) {
			arg[k] = calls[i].arg[k];
			if (calls[i].kind[k] == ARG_DATA)
				arg[k] += (u64)t->data;
			else if (calls[i].kind[k] == ARG_RESULT)
				arg[k] = arg[k] < i ? (u64)t->result[arg[k]] : (u64)-EINVAL;
		}
		t->result[i] = sys(calls[i].nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	}
	n = put_header(t, h->id, SAY_RESULT);
	memcpy(t->out + n, t->result, b->calls * sizeof(s64));
	n += b->calls * sizeof(s64);
	for (i = 0; i < b->slices; i++) {
		u64 size = slices[i].length;

		if (slices[i].limit < b->calls) {
			s64 limit = t->result[slices[i].limit];

			if (limit < (s64)size)
				size = limit < 0 ? 0 : (u64)limit;
		}
		if (slices[i].offset + size > b->size || n + 8 + size > sizeof(t->out)) {
			say_result(t, h->id, -E2BIG);
			return;
		}
		memcpy(t->out + n, &size, 4);
		n += 4;
		if (slices[i].sum) {
			u32 sum = crc32(t->data + slices[i].offset, size);

			memcpy(t->out + n, &sum, sizeof(sum));
			n += sizeof(sum);
		} else {
			memcpy(t->out + n, t->data + slices[i].offset, size);
			n += size;
		}
	}
	say(t, n);
}

#endif

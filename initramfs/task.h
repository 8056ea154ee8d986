/* SPDX-License-Identifier: GPL-2.0-only */
/* What a task of the agent knows, what the messages look like, and how one is said. harness/protocol.py has it too. */
#ifndef TASK_H
#define TASK_H

#include "sys.h"
#include "wire.h"

/* Little endian on both architectures. The same header goes both ways; harness/protocol.py has it too. */
struct header {
	u32 id;
	u8 op;
	u8 hops;
	u8 route[10];
};

/* Requests. */
enum { OP_CALL = 0, OP_SPAWN = 1, OP_REPEAT = 2 };
/* Answers, and what is said without having been asked. */
enum { SAY_RESULT = 16, SAY_READY, SAY_HELLO, SAY_GONE, SAY_DAMAGED };

enum { KIDS = 32, DATA_MAX = 64 * 1024, RESULTS = 512, STACK = 64 * 1024 };

struct task {
	int up; /* the console for PID 1, a socket for all others */
	int on_console;
	int listener;
	int kid[KIDS]; /* -1: free */
	u64 got;       /* bytes of a frame read so far; ~0: between frames */
	u64 last;      /* length of what was said last */
	u32 seen[8];   /* the requests that came last: the host may ask again, but nothing is done twice */
	u32 next_seen;
	s64 result[RESULTS];
	u8 raw[4096]; /* as read from the console */
	u8 frame[WIRE_MAX]; /* what was read of one */
	u8 in[MESSAGE_MAX] __attribute__((aligned(16)));
	u8 out[MESSAGE_MAX] __attribute__((aligned(16)));
	u8 squeezed[SQUEEZED_MAX];
	u8 line[WIRE_MAX];
	u8 data[DATA_MAX] __attribute__((aligned(16)));
};

enum {
	EFAULT = 14,
	EINVAL = 22,
	EMFILE = 24,
	E2BIG = 7,
	AF_UNIX = 1,
	SOCK_SEQPACKET = 5,
	SOCK_CLOEXEC = 02000000,
	MSG_NOSIGNAL = 0x4000,
	POLLIN = 1,
	SIGCHLD = 17,
	O_RDWR = 2,
	O_NOCTTY = 0400,
	AT_FDCWD = -100,
	TCGETS = 0x5401,
	TCSETS = 0x5402,
	/* CLONE_VM FS FILES SIGHAND THREAD SYSVSEM */
	THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000,
	CLONE_FILES = 0x400,
};

static const struct {
	u16 family;
	char path[15];
} rendezvous = { AF_UNIX, "\0nullfs-harness" }; /* abstract: found whatever a helper's root is */

static struct task *new_task(int up)
{
	/* PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS; the kernel zeroes it */
	u64 at = (u64)sys6(SYS_mmap, 0, sizeof(struct task) + STACK, 3, 0x22, -1, 0);
	struct task *t = (struct task *)at;
	int i;

	t->up = up;
	t->listener = -1;
	t->got = ~0ul;
	for (i = 0; i < KIDS; i++)
		t->kid[i] = -1;
	return t;
}

static void send_all(int fd, const u8 *from, u64 n)
{
	while (n) {
		s64 sent = sys3(SYS_write, fd, from, n);

		if (sent <= 0)
			return;
		from += sent;
		n -= (u64)sent;
	}
}

/* Says the first n bytes of t->out. */
static void say(struct task *t, u64 n)
{
	t->last = n;
	if (t->on_console)
		send_all(t->up, t->line, wire_encode(t->line, t->squeezed, squeeze(t->squeezed, t->out, n)));
	else
		sys6(SYS_sendto, t->up, t->out, n, MSG_NOSIGNAL, 0, 0);
}

static u64 put_header(struct task *t, u32 id, u8 op)
{
	struct header h = { .id = id, .op = op };

	memcpy(t->out, &h, sizeof(h));
	return sizeof(h);
}

static void say_result(struct task *t, u32 id, s64 value)
{
	u64 n = put_header(t, id, SAY_RESULT);

	memcpy(t->out + n, &value, sizeof(value));
	say(t, n + sizeof(value));
}

#endif

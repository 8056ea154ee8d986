/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent: PID 1 of a guest, its threads, its children and the helpers that the kernel starts.
 *
 * It knows no checks. It performs the system calls that the host asks for, in the task that the host names,
 * and says what they returned. Each task serves its own children: a request carries a route, one index a
 * hop, and each hop hands it on. The host's end of all this is harness/guest.py.
 */
#include "call.h"
#include "task.h"

static void serve(struct task *t);

static int add_kid(struct task *t, int fd)
{
	int i;

	for (i = 0; i < KIDS; i++)
		if (t->kid[i] < 0) {
			t->kid[i] = fd;
			return i;
		}
	return -1;
}

/* What comes from a child goes up with the child's index put in front of its route. */
static void pass_up(struct task *t, int kid, u64 n)
{
	struct header *h = (struct header *)t->out;

	memmove(h->route + 1, h->route, sizeof(h->route) - 1);
	h->route[0] = (u8)kid;
	h->hops++;
	say(t, n);
}

static void from_kid(struct task *t, int kid)
{
	s64 n = sys6(SYS_recvfrom, t->kid[kid], t->out, sizeof(t->out), 0, 0, 0);

	if (n >= (s64)sizeof(struct header)) {
		pass_up(t, kid, (u64)n);
		return;
	}
	sys1(SYS_close, t->kid[kid]);
	t->kid[kid] = -1;
	pass_up(t, kid, put_header(t, 0, SAY_GONE));
}

/*
 * A child process with the given clone() flags, or, with exactly THREAD, another thread of this one.
 * Runs in the new task with its socket; returns its pid in this one.
 */
static s64 start(u64 flags, int up)
{
	s64 pid;

	if (flags == THREAD) {
		struct task *new = new_task(up);
		u64 *stack = (u64 *)((u8 *)new + (sizeof(*new) + STACK) / 16 * 16) - 2;

		stack[0] = (u64)new;
		stack[1] = (u64)serve;
		return sys_thread(THREAD, stack);
	}
	pid = sys_clone(flags | SIGCHLD);
	if (pid)
		return pid;
	if (!(flags & CLONE_FILES)) {
		sys3(SYS_dup3, up, 3, SOCK_CLOEXEC);
		sys3(SYS_close_range, 4, ~0u, 0);
		up = 3;
	}
	serve(new_task(up));
	return 0;
}

static void do_spawn(struct task *t, const struct header *h, u64 flags)
{
	int pair[2], kid = -1;
	s64 pid = sys4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET, 0, pair);
	u64 n;

	if (pid == 0) {
		kid = add_kid(t, pair[0]);
		pid = kid < 0 ? -EMFILE : start(flags, pair[1]);
		if (pid < 0 || !(flags & CLONE_FILES))
			sys1(SYS_close, pair[1]);
		if (pid < 0)
			sys1(SYS_close, pair[0]);
		if (pid < 0 && kid >= 0)
			t->kid[kid] = -1;
	}
	n = put_header(t, h->id, SAY_RESULT);
	memcpy(t->out + n, &pid, sizeof(pid));
	t->out[n + sizeof(pid)] = (u8)kid;
	say(t, n + sizeof(pid) + 1);
}

static int seen_before(struct task *t, u32 id)
{
	u32 i;

	for (i = 0; i < 8; i++)
		if (t->seen[i] == id)
			return 1;
	t->seen[t->next_seen++ % 8] = id;
	return 0;
}

static void take(struct task *t, u8 *message, u64 n)
{
	struct header *h = (struct header *)message;
	u8 kid = h->route[0];

	if (n < sizeof(*h))
		return;
	if (h->op == OP_REPEAT || (t->on_console && seen_before(t, h->id))) {
		say(t, t->last);
	} else if (h->hops) {
		h->hops--;
		memmove(h->route, h->route + 1, sizeof(h->route) - 1);
		if (kid >= KIDS || t->kid[kid] < 0 ||
		    sys6(SYS_sendto, t->kid[kid], message, n, MSG_NOSIGNAL, 0, 0) != (s64)n)
			pass_up(t, kid, put_header(t, 0, SAY_GONE));
	} else if (h->op == OP_CALL) {
		do_call(t, h, message + sizeof(*h), n - sizeof(*h));
	} else if (h->op == OP_SPAWN && n == sizeof(*h) + 8) {
		do_spawn(t, h, *(u64 *)(message + sizeof(*h)));
	} else {
		say_result(t, h->id, -EINVAL);
	}
}

static void from_console(struct task *t)
{
	s64 n = sys3(SYS_read, t->up, t->raw, sizeof(t->raw)), i, length;

	for (i = 0; i < n; i++) {
		u8 byte = t->raw[i];

		if (byte == WIRE_BEGIN) {
			t->got = 0;
		} else if (byte == WIRE_END && t->got != ~0ul) {
			length = wire_decode(t->in, t->frame, t->got);
			t->got = ~0ul;
			if (length < 0)
				say(t, put_header(t, 0, SAY_DAMAGED));
			else
				take(t, t->in, (u64)length);
		} else if (t->got < sizeof(t->frame)) {
			t->frame[t->got++] = byte;
		}
	}
}

static void serve(struct task *t)
{
	for (;;) {
		struct {
			int fd;
			short events, revents;
		} p[KIDS + 2];
		int i;

		for (i = 0; i < KIDS + 2; i++) {
			p[i].fd = i == 0 ? t->up : i == 1 ? t->listener : t->kid[i - 2];
			p[i].events = POLLIN;
			p[i].revents = 0;
		}
		if (sys6(SYS_ppoll, p, KIDS + 2, 0, 0, 8, 0) <= 0)
			continue;
		if (p[0].revents && t->on_console) {
			from_console(t);
		} else if (p[0].revents) {
			s64 n = sys6(SYS_recvfrom, t->up, t->in, sizeof(t->in), 0, 0, 0);

			if (n <= 0)
				sys1(SYS_exit, 0);
			take(t, t->in, (u64)n);
		}
		if (p[1].revents) {
			s64 fd = sys4(SYS_accept4, t->listener, 0, 0, SOCK_CLOEXEC);

			if (fd >= 0 && add_kid(t, (int)fd) < 0)
				sys1(SYS_close, fd);
		}
		for (i = 0; i < KIDS; i++)
			if (p[i + 2].revents && t->kid[i] == p[i + 2].fd)
				from_kid(t, i);
	}
}

static u64 put_arguments(u8 *to, u8 *end, u64 argc, char **argv)
{
	u8 *at = to;
	u64 i;

	for (i = 0; i < argc; i++) {
		const char *c = argv[i];

		do {
			if (at < end)
				*at++ = (u8)*c;
		} while (*c++);
	}
	return (u64)(at - to);
}

/* PID 1. After an execve() in a new root, argv[1] is there and the console has to be opened anew. */
static void serve_console(u64 argc)
{
	struct {
		u32 iflag, oflag, cflag, lflag;
		u8 line, cc[19];
	} tty;
	struct task *t = new_task(0);
	int fd;

	if (argc > 1) {
		static const char console[] = "/dev/console";
		s64 new = sys4(SYS_openat, AT_FDCWD, console, O_RDWR | O_NOCTTY, 0);

		for (fd = 0; new >= 0 && fd < 3; fd++)
			sys3(SYS_dup3, new, fd, 0);
		if (new > 2)
			sys1(SYS_close, new);
	}
	t->on_console = 1;
	if (sys3(SYS_ioctl, 0, TCGETS, &tty) == 0) {
		tty.iflag = tty.oflag = tty.lflag = 0; /* raw, eight bits, no echo */
		tty.cflag = (tty.cflag & ~0x30u) | 0x30u;
		tty.cc[6] = 1; /* VMIN */
		tty.cc[5] = 0; /* VTIME */
		sys3(SYS_ioctl, 0, TCSETS, &tty);
	}
	t->listener = (int)sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	sys3(SYS_bind, t->listener, &rendezvous, 2 + 15);
	sys2(SYS_listen, t->listener, 16);
	say(t, put_header(t, 0, SAY_READY));
	serve(t);
}

/* A program that the kernel or execve() started: it calls home, says how it was called, and serves. */
static void serve_helper(u64 argc, char **argv)
{
	int fd = (int)sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct task *t = new_task(fd);
	u64 n = put_header(t, 0, SAY_HELLO);
	u32 pid = (u32)sys0(SYS_getpid);

	if (sys3(SYS_connect, fd, &rendezvous, 2 + 15) < 0)
		sys1(SYS_exit_group, 111);
	memcpy(t->out + n, &pid, sizeof(pid));
	n += sizeof(pid);
	n += put_arguments(t->out + n, t->out + sizeof(t->out), argc, argv);
	say(t, n);
	serve(t);
}

__attribute__((noreturn, used)) void entry(u64 *stack)
{
	u64 argc = stack[0];
	char **argv = (char **)(stack + 1);

	if (sys0(SYS_getpid) == 1)
		serve_console(argc);
	serve_helper(argc, argv);
	__builtin_unreachable();
}

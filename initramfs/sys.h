/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a freestanding program needs of each architecture: entry, system calls, a thread.
 * No libc and no kernel headers, so that any gcc or clang for the target can build it.
 */
#ifndef SYS_H
#define SYS_H

#include "syscalls.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

_Static_assert(sizeof(u32) == 4 && sizeof(u64) == 8, "LP64 only");

#if defined(__x86_64__)

/* The kernel starts us with argc, argv and envp on the stack, which is 16-byte aligned. */
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tcall entry\n\thlt\n");

static inline s64 sys(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	s64 ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* clone() onto a new stack, whose two topmost words are the argument and the function. */
static inline s64 sys_thread(u64 flags, u64 *stack)
{
	register u64 r10 __asm__("r10") = 0;
	register u64 r8 __asm__("r8") = 0;
	s64 ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rdi\n\t"
			 "pop %%rax\n\t"
			 "call *%%rax\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "0"((u64)SYS_clone), "D"(flags), "S"(stack), "d"(0UL), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl entry\n\tbrk #0\n");

static inline s64 sys(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 __asm__("x8") = nr;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return (s64)x0;
}

static inline s64 sys_thread(u64 flags, u64 *stack)
{
	register u64 x8 __asm__("x8") = SYS_clone;
	register u64 x0 __asm__("x0") = flags;
	register u64 x1 __asm__("x1") = (u64)stack;
	register u64 x2 __asm__("x2") = 0;
	register u64 x3 __asm__("x3") = 0;
	register u64 x4 __asm__("x4") = 0;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, #0\n\t"
			 "ldp x0, x1, [sp], #16\n\t"
			 "blr x1\n\t"
			 "brk #0\n"
			 "1:"
			 : "+r"(x0), "+r"(x1)
			 : "r"(x8), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return (s64)x0;
}

#else
#error "no entry code for this architecture: see initramfs/sys.h"
#endif

/* fork(), as clone() spells it */
#define sys_clone(flags) sys(SYS_clone, flags, 0, 0, 0, 0, 0)
#define sys0(nr) sys(nr, 0, 0, 0, 0, 0, 0)
#define sys1(nr, a) sys(nr, (u64)(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys(nr, (u64)(a), (u64)(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) sys(nr, (u64)(a), (u64)(b), (u64)(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) sys(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)
#define sys6(nr, a, b, c, d, e, f) sys(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))

/* gcc may call these even in a freestanding program. */
void *memcpy(void *to, const void *from, u64 n)
{
	u8 *t = to;
	const u8 *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

void *memmove(void *to, const void *from, u64 n)
{
	u8 *t = to;
	const u8 *f = from;

	if (t <= f)
		return memcpy(to, from, n);
	while (n--)
		t[n] = f[n];
	return to;
}

void *memset(void *to, int byte, u64 n)
{
	volatile u8 *t = to;

	for (; n && ((u64)t & 7); n--)
		*t++ = (u8)byte;
	for (; n >= 8; n -= 8, t += 8)
		*(volatile u64 *)t = (u8)byte * 0x0101010101010101ul;
	while (n--)
		*t++ = (u8)byte;
	return to;
}

#endif

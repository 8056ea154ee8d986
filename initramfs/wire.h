/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The channel on the console. harness/wire.py is the other end.
 *
 * The kernel prints on the same line, at any point, also in the middle of a frame. Its text is ASCII or
 * UTF-8, so a frame uses only bytes that neither has on their own: 0xC0 begins it, 0xC1 ends it (both never
 * occur in UTF-8), and each byte 0x80..0xBF carries six bits (continuation bytes only follow a lead byte,
 * by which the reader tells text from frame). Inside are a CRC-32 and the message, squeezed: most bytes of
 * a system call's arguments are zero, and each byte on the line costs an emulated guest 25 microseconds.
 */
#ifndef WIRE_H
#define WIRE_H

#include "sys.h"

enum { WIRE_BEGIN = 0xC0, WIRE_END = 0xC1, WIRE_DATA = 0x80 };

/* The longest message, what it becomes when nothing in it is zero, and what that becomes on the line. */
enum { WORD = 8, MESSAGE_MAX = 48 * 1024 };
enum { SQUEEZED_MAX = MESSAGE_MAX / WORD * (WORD + 1) + 16, WIRE_MAX = (SQUEEZED_MAX + 4) / 3 * 4 + 8 };

/* CRC-32 as in zlib, by nibbles. */
static u32 crc32(const u8 *data, u64 length)
{
	static const u32 table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	u32 crc = ~0u;

	while (length--) {
		crc ^= *data++;
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

/* The bytes of the word at `from` that are not zero go to `to`; returns how many, and which in `map`. */
static u64 squeeze_word(u8 *to, u8 *map, const u8 *from, u64 left)
{
	u64 n = 0, i;

	*map = 0;
	for (i = 0; i < WORD && i < left; i++)
		if (from[i]) {
			*map |= (u8)(1u << i);
			to[n++] = from[i];
		}
	return n;
}

/* The length of the last word's padding, then each word's map and bytes; after a map of 0, how many more are zero. */
static u64 squeeze(u8 *to, const u8 *from, u64 length)
{
	u64 n = 1, at, in_word;
	u8 *run = 0, map;

	to[0] = (u8)(-length % WORD);
	for (at = 0; at < length; at += WORD) {
		in_word = squeeze_word(to + n + 1, &map, from + at, length - at);
		if (!map && run && *run < 255) {
			++*run;
			continue;
		}
		to[n] = map;
		n += 1 + in_word;
		run = 0;
		if (!map) {
			run = to + n++;
			*run = 0;
		}
	}
	return n;
}

/* The other way; returns the message's length, or -1 for what is no message. */
static s64 stretch(u8 *to, const u8 *from, u64 length)
{
	u64 n = 0, at = 1, i, words;

	if (!length || from[0] >= WORD)
		return -1;
	while (at < length) {
		u8 map = from[at++];

		words = map || at >= length ? 1 : 1ul + from[at++];
		if (n + words * WORD > MESSAGE_MAX)
			return -1;
		for (i = 0; i < words * WORD; i++)
			to[n++] = map >> i % WORD & 1 && at < length ? from[at++] : 0;
	}
	return n < from[0] ? -1 : (s64)(n - from[0]);
}

/* Puts a frame into `line`, which has room for WIRE_MAX bytes; returns its length. */
static u64 wire_encode(u8 *line, const u8 *squeezed, u64 length)
{
	u32 crc = crc32(squeezed, length);
	u64 n = 0, i;
	u32 bits = 0, count = 0;

	line[n++] = WIRE_BEGIN;
	for (i = 0; i < length + 4; i++) {
		u8 byte = i < 4 ? (u8)(crc >> (8 * i)) : squeezed[i - 4];

		bits = bits << 8 | byte;
		count += 8;
		while (count >= 6) {
			count -= 6;
			line[n++] = WIRE_DATA | (bits >> count & 63);
		}
	}
	if (count)
		line[n++] = WIRE_DATA | (bits << (6 - count) & 63);
	line[n++] = WIRE_END;
	return n;
}

/* The other way: `line` has only the data bytes, and is spoilt. Returns the message's length, or -1 for damage. */
static s64 wire_decode(u8 *message, u8 *line, u64 length)
{
	u32 bits = 0, count = 0, crc;
	u64 n = 0, i;

	for (i = 0; i < length; i++) {
		bits = bits << 6 | (line[i] & 63);
		count += 6;
		if (count >= 8) {
			count -= 8;
			line[n++] = (u8)(bits >> count);
		}
	}
	if (n < 4)
		return -1;
	crc = line[0] | line[1] << 8 | line[2] << 16 | (u32)line[3] << 24;
	return crc == crc32(line + 4, n - 4) ? stretch(message, line + 4, n - 4) : -1;
}

#endif

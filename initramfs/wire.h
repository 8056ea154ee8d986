/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The channel on the console. harness/protocol.py is the other end.
 *
 * The kernel prints on the same line, at any point, also in the middle of a frame. Its text is ASCII or
 * UTF-8, so a frame uses only bytes that neither has on their own: 0xC0 begins it, 0xC1 ends it (both never
 * occur in UTF-8), and each byte 0x80..0xBF carries six bits (continuation bytes only follow a lead byte,
 * by which the reader tells text from frame). What is inside is checked by a CRC-32.
 */
#ifndef WIRE_H
#define WIRE_H

#include "sys.h"

enum { WIRE_BEGIN = 0xC0, WIRE_END = 0xC1, WIRE_DATA = 0x80 };

/* The longest message, and what it becomes on the line. */
enum { MESSAGE_MAX = 48 * 1024, WIRE_MAX = (MESSAGE_MAX + 4) / 3 * 4 + 8 };

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

/* Puts the frame of a message into `line`, which has room for WIRE_MAX bytes; returns its length. */
static u64 wire_encode(u8 *line, const u8 *message, u64 length)
{
	u32 crc = crc32(message, length);
	u64 n = 0, i;
	u32 bits = 0, count = 0;

	line[n++] = WIRE_BEGIN;
	for (i = 0; i < length + 4; i++) {
		u8 byte = i < 4 ? (u8)(crc >> (8 * i)) : message[i - 4];

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

/* The other way, in place: `line` has only the data bytes. Returns the message's length, or -1 if it is damaged. */
static s64 wire_decode(u8 *line, u64 length)
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
	memmove(line, line + 4, n - 4);
	return crc == crc32(line, n - 4) ? (s64)(n - 4) : -1;
}

#endif

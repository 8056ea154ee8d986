# SPDX-License-Identifier: GPL-2.0-only
"""Frames on the console line: zeroes squeezed out, a checksum, six bits a byte. initramfs/wire.h is the other end.

A byte that the host sends costs a guest under TCG about 25 µs (an interrupt of its serial port, a tty, a wake-up),
and most bytes of a system call's arguments are zero.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

BEGIN, END = b"\xc0", b"\xc1"
#: Bytes that are packed together, with one in front that says which of them are there.
WORD = 8
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WIRE = bytes(range(0x80, 0xC0))
_TO_WIRE = bytes.maketrans(_BASE64, _WIRE)
_FROM_WIRE = bytes.maketrans(_WIRE, _BASE64)
_PRESENT = bytes(byte != 0 for byte in range(256))
_PLACES = [tuple(place for place in range(WORD) if tag >> place & 1) for tag in range(256)]
_TAGS = {bytes(place in places for place in range(WORD)): bytes([tag]) for tag, places in enumerate(_PLACES)}
_NOTHING = bytes(WORD)


def squeeze(data: bytes) -> bytes:
    """``data`` without its zeroes: the padding's length, then for each word a map of the bytes that follow.

    After the map of a word that is all zero comes the number of such words that follow it.
    """
    padding = -len(data) % WORD
    data += bytes(padding)
    out = bytearray([padding])
    at = 0
    while at < len(data):
        word = data[at : at + WORD]
        at += WORD
        if word == _NOTHING:
            first = at
            while at - first < 255 * WORD and data[at : at + WORD] == _NOTHING:
                at += WORD
            out += bytes((0, (at - first) // WORD))
        else:
            out += _TAGS[word.translate(_PRESENT)] + word.translate(None, b"\0")
    return bytes(out)


def stretch(data: bytes) -> bytes:
    """The inverse of ``squeeze``. Raises ValueError for what that cannot have made."""
    if not data or data[0] >= WORD:
        raise ValueError("no packed data")
    out = bytearray()
    at = 1
    try:
        while at < len(data):
            tag = data[at]
            at += 1
            if tag == 0:
                out += bytes(WORD * (1 + data[at]))
                at += 1
                continue
            if tag == 0xFF:
                out += data[at : at + WORD]
                at += WORD
                continue
            places = _PLACES[tag]
            word = bytearray(WORD)
            for place in places:
                word[place] = data[at]
                at += 1
            out += word
    except IndexError:
        raise ValueError("packed data that ends in the middle of a word") from None
    if at > len(data) or len(out) < data[0]:
        raise ValueError("packed data that ends too soon")
    return bytes(out[: len(out) - data[0]])


def encode(payload: bytes) -> bytes:
    """The frame of ``payload``."""
    packed = squeeze(payload)
    checked = struct.pack("<I", zlib.crc32(packed)) + packed
    return BEGIN + base64.b64encode(checked).rstrip(b"=").translate(_TO_WIRE) + END


def decode(data: bytes) -> bytes:
    """The payload of a frame's data bytes. Raises ValueError if it is damaged."""
    text = data.translate(_FROM_WIRE)
    try:
        checked = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if len(checked) < 4 or struct.unpack_from("<I", checked)[0] != zlib.crc32(checked[4:]):
        raise ValueError("the checksum does not fit")
    return stretch(checked[4:])

# SPDX-License-Identifier: GPL-2.0-only
"""Frames and messages, with the kernel talking in between."""

from __future__ import annotations

import random
import struct

import pytest

from harness.protocol import (
    DATA_MAX,
    Batch,
    Demultiplexer,
    Message,
    Op,
    Out,
    Pointers,
    Say,
)
from harness.wire import decode, encode, squeeze, stretch

KERNEL = "[    1.234567] WARNING: µ€ 😀 plain words\r\n".encode()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 255, 4096])
@pytest.mark.parametrize("zeroes", [0.0, 0.5, 0.9, 1.0])
def test_a_frame_gives_back_what_went_in(size: int, zeroes: float) -> None:
    dice = random.Random(size)  # noqa: S311
    payload = bytes(0 if dice.random() < zeroes else dice.randrange(256) for _ in range(size))
    frame = encode(payload)
    assert decode(frame[1:-1]) == payload
    assert not any(byte < 0x80 for byte in frame), "a frame has no ASCII in it"


def test_zeroes_cost_next_to_nothing_on_the_line() -> None:
    assert len(squeeze(bytes(4096))) < 10
    assert len(squeeze(b"text" * 100)) <= 400 * 9 // 8 + 1


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x00\x00", b"\x00\x03a"], ids=repr)
def test_what_was_never_squeezed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed data"):
        stretch(data)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_kernel_messages_anywhere_in_a_frame_neither_break_nor_fake_it(chunk: int) -> None:
    message = Message(7, Say.RESULT, (1, 2), b"body" * 20)
    frame = encode(message.pack())
    for place in range(len(frame) + 1):
        line = frame[:place] + KERNEL + frame[place:]
        demultiplexer = Demultiplexer()
        messages, text = [], b""
        for at in range(0, len(line), chunk):
            some, words = demultiplexer.feed(line[at : at + chunk])
            messages += some
            text += words
        assert messages == [message]
        assert text == KERNEL
        assert demultiplexer.damaged == 0


def test_a_damaged_frame_is_counted_and_not_returned() -> None:
    frame = bytearray(encode(Message(1, Say.RESULT, (), b"hello").pack()))
    frame[10] ^= 1
    demultiplexer = Demultiplexer()
    messages, text = demultiplexer.feed(bytes(frame) + encode(Message(2, Say.RESULT).pack()))
    assert [message.id for message in messages] == [2]
    assert demultiplexer.damaged == 1
    assert text == b""


def test_a_frame_cut_off_by_the_next_one_is_damaged() -> None:
    whole = encode(Message(3, Say.READY).pack())
    demultiplexer = Demultiplexer()
    messages, _ = demultiplexer.feed(whole[:-4] + whole)
    assert [message.id for message in messages] == [3]
    assert demultiplexer.damaged == 1


def test_stray_bytes_outside_a_frame_are_evidence_not_messages() -> None:
    assert Demultiplexer().feed(b"a\x85\xc1\xffb") == ([], b"a\x85\xffb")


def test_what_the_host_says_is_never_what_the_agent_says() -> None:
    assert not {int(op) for op in Op} & {int(say) for say in Say}, "an echo would pass for an answer"


def test_a_message_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        Message.unpack(b"abc")


def test_a_batch_places_buffers_and_pointers() -> None:
    batch, out = Batch(), Out(16, limit=True)
    batch.add(1, ("/path", out, 5, -100))
    batch.add(2, (Pointers(bytes(16), ((0, b"first\0"), (8, b"second\0"))),))
    body = batch.pack()
    calls, pointers, slices, _, given, size = struct.unpack_from("<HHHHII", body)
    assert (calls, pointers, slices) == (2, 2, 1)
    data = body[-given:].ljust(size, b"\0")
    places = struct.unpack_from("<2I", body, 16 + 2 * 64)
    assert [data[at : at + 6] for at in (struct.unpack_from("<Q", data, place)[0] for place in places)] == [
        b"first\0",
        b"second",
    ]
    assert struct.unpack_from("<q", body, 16 + 16 + 3 * 8) == (-100,)


def test_what_a_structure_points_to_comes_back_and_so_does_the_structure() -> None:
    batch, header, sense = Batch(), Out(16, b"S"), Out(4)
    batch.add(1, (Pointers(header, ((8, sense),)),))
    body = batch.pack()
    given, size = struct.unpack_from("<II", body, 8)
    data = body[-given:].ljust(size, b"\0")
    place, *slices = struct.unpack_from("<IIIHHIIHH", body, 16 + 64)
    (points_to,) = struct.unpack_from("<Q", data, place)
    assert sorted([slices[:2], slices[4:6]]) == [[place - 8, 16], [points_to, 4]]
    answers = struct.pack("<qI", 0, 16) + b"s".ljust(16, b"\0") + struct.pack("<I", 4) + b"ouch"
    assert batch.unpack(answers) == [0]
    assert (header.value[:1], sense.value) == (b"s", b"ouch")


def test_a_batch_reads_results_and_slices() -> None:
    batch, out = Batch(), Out(8, limit=True)
    batch.add(0, (3, out, 8))
    answer = struct.pack("<qI", 5, 5) + b"bytes"
    assert batch.unpack(answer) == [5]
    assert out.value == b"bytes"


def test_a_batch_too_large_for_one_message_is_an_error_here_not_in_the_guest() -> None:
    batch = Batch()
    batch.add(1, (bytes(range(256)) * (DATA_MAX // 256 + 1),))
    with pytest.raises(ValueError, match="too much"):
        batch.pack()

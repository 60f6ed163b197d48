"""FLAC: the sum of its frames' block sizes (RFC 9639 9.1).

Law: frames are found by their sync code and the checksum of their head, not by what STREAMINFO says of them.
"""

from __future__ import annotations

import re

from .duration import most

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_HEAD = 16
_HERTZ = {
    1: 88_200,
    2: 176_400,
    3: 192_000,
    4: 8000,
    5: 16_000,
    6: 22_050,
    7: 24_000,
    8: 32_000,
    9: 44_100,
    10: 48_000,
    11: 96_000,
}
_MOST_HERTZ = 655_350
"""STREAMINFO has room for no more that is a rate (RFC 9639 8.2)."""
_TRIES = 200_000
"""Sync codes looked at: a frame of ordinary sound has a kilobyte and more, so this is beyond any upload. The checksum
is 2 us of Python each."""


def seconds(data: bytes) -> float:
    """What a file lasts that begins with fLaC."""
    return frames(data, hertz(data[8:42]), 42)


def hertz(streaminfo: bytes) -> int:
    """Samples a second as STREAMINFO has them (RFC 9639 8.2)."""
    return int.from_bytes(streaminfo[10:13], "big") >> 4


def frames(data: bytes, rate: int, start: int = 0) -> float:
    """What the frames from `start` last, or as long as all bytes can where there is none."""
    total = 0.0
    for tries, found in enumerate(_SYNC.finditer(data, start)):
        if tries == _TRIES:
            return total + most(len(data) - found.start())
        total += frame_seconds(data[found.start() : found.start() + _HEAD], rate) or 0.0
    return total or most(len(data))


def frame_seconds(head: bytes, rate: int) -> float | None:
    """What the frame of this head lasts; None when it is none. `rate`: samples a second as STREAMINFO has them."""
    if len(head) < 6 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 0xF == 0xF or head[3] >> 4 > 10:
        return None
    number = head[4]
    at = 5 if number < 0x80 else 4 + (8 - (~number & 0xFF).bit_length())
    if 0x80 <= number < 0xC0 or number == 0xFF:
        return None
    code, hertz = head[2] >> 4, head[2] & 0xF
    if code in (6, 7):
        size = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    told = _HERTZ.get(hertz, rate)
    if hertz >= 12:
        length = 1 if hertz == 12 else 2
        told = int.from_bytes(head[at : at + length], "big") * {12: 1000, 13: 1, 14: 10}[hertz]
        at += length
    if at >= len(head) or _checksum(head[:at]) != head[at] or not 0 < told <= _MOST_HERTZ:
        return None
    return size / told


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
        table.append(value)
    return table


_TABLE = _table()


def _checksum(head: bytes) -> int:
    """CRC-8 with the polynomial x^8 + x^2 + x + 1."""
    sum_ = 0
    for byte in head:
        sum_ = _TABLE[sum_ ^ byte]
    return sum_

"""MPEG audio frames (mp3, mp2, mp1) and AAC frames in ADTS, one after the other: ISO 11172-3 2.4.2.3, 13818-7 6.2.

Law: every frame counts, whatever a Xing or VBRI header says of them; bytes between frames count at the lowest rate. A
header behind such bytes is believed only if another follows where it says, as decoders do when they look for the beat.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .duration import STEPS, most

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
# kbit/s by index: MPEG 1 layers I, II, III; MPEG 2 and 2.5 layer I, layers II and III
_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)
_ADTS_HERTZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


def seconds(data: bytes, start: int = 0) -> float:
    """What the frames from `start` last, and the bytes that are none."""
    at, end = start, len(data)
    if data[end - 128 : end - 125] == b"TAG":
        end -= 128
    total = 0.0
    lost = 0
    sure = True
    for _ in range(STEPS):
        frame = _frame(data, at)
        if frame is not None and (sure or at + frame[0] >= end or _frame(data, at + frame[0]) is not None):
            sure = True
            if at != start or not _is_index(data, at, frame[0]):
                total += frame[1]
            at += frame[0]
            if at >= end:
                return total + most(lost)
            continue
        found = _SYNC.search(data, at + 1, end)
        if found is None:
            return total + most(lost + end - at)
        lost += found.start() - at
        at, sure = found.start(), False
    return total + most(lost + end - at)


def _is_index(data: bytes, at: int, length: int) -> bool:
    """The first frame may hold a table instead of sound."""
    head = data[at : at + min(length, 64)]
    return b"Xing" in head or b"Info" in head or b"VBRI" in head


def _frame(data: bytes, at: int) -> tuple[int, float] | None:
    """Length in bytes and seconds of the frame that begins there."""
    head = data[at : at + 3]
    if len(head) < 3 or head[0] != 0xFF or head[1] < 0xE2:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _adts(data, at)
    return _mpeg(head)


def _adts(data: bytes, at: int) -> tuple[int, float] | None:
    head = data[at : at + 7]
    if len(head) < 7:
        return None
    index = head[2] >> 2 & 0xF
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if index >= len(_ADTS_HERTZ) or length < 7:
        return None
    return length, 1024 * (1 + (head[6] & 3)) / _ADTS_HERTZ[index]


@lru_cache(maxsize=4096)
def _mpeg(head: bytes) -> tuple[int, float] | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, hertz_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < index < 15 or hertz_index == 3:
        return None
    first = version == 3
    hertz = _HERTZ[hertz_index] // (1 if first else 2 if version == 2 else 4)
    rate = _RATES[first, layer if first or layer == 1 else 2][index - 1] * 1000
    if layer == 1:
        return (12 * rate // hertz + padding) * 4, 384 / hertz
    samples = 1152 if first or layer == 2 else 576
    return samples // 8 * rate // hertz + padding, samples / hertz

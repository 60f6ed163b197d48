"""MPEG program streams: the sound inside their packets (ISO 13818-1 2.5.3.3, 2.4.3.7), read as MPEG audio.

Law: pictures count nothing, the longest of the sound streams counts, and bytes that belong to no packet count at the
lowest rate.
"""

from __future__ import annotations

from . import mpegaudio
from .duration import STEPS, most

_PACK, _END, _PRIVATE = 0xBA, 0xB9, 0xBD
_SOUND = range(0xC0, 0xE0)


def seconds(data: bytes) -> float:
    """What a file lasts that begins with a pack header."""
    streams: dict[int, list[bytes]] = {}
    at, lost = 0, 0
    for _ in range(STEPS):
        if at + 4 > len(data):
            break
        code = data[at + 3]
        if data[at : at + 3] != b"\0\0\1" or code < _END:
            found = data.find(b"\0\0\1", at + 1)
            lost += (found if found >= 0 else len(data)) - at
            at = found if found >= 0 else len(data)
        elif code == _PACK:
            # 12 bytes in MPEG 1; in MPEG 2 14 and the stuffing its last byte tells
            at += 12 if data[at + 4 : at + 5] < b"\x40" else 14 + (data[at + 13] & 7 if at + 13 < len(data) else 0)
        elif code == _END:
            at += 4
        else:
            end = at + 6 + int.from_bytes(data[at + 4 : at + 6], "big")
            if code in _SOUND or code == _PRIVATE:
                streams.setdefault(code, []).append(data[_payload(data, at + 6) : end])
            at = end
    lost += max(0, len(data) - at)
    found_ = [
        mpegaudio.seconds(b"".join(pieces)) if code in _SOUND else most(sum(map(len, pieces)))
        for code, pieces in streams.items()
    ]
    return max(found_) + most(lost) if found_ else most(len(data))


def _payload(data: bytes, at: int) -> int:
    """Where the content of a packet begins, behind its own head."""
    if at + 2 < len(data) and data[at] & 0xC0 == 0x80:  # MPEG 2
        return at + 3 + data[at + 2]
    while at < len(data) and data[at] == 0xFF:  # MPEG 1: stuffing
        at += 1
    if at < len(data) and data[at] & 0xC0 == 0x40:  # buffer size
        at += 2
    kind = data[at] >> 4 if at < len(data) else 0
    return at + (5 if kind == 2 else 10 if kind == 3 else 1)

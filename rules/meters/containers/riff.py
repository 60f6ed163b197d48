"""WAV files: RIFF chunks (also RF64 and BW64), of which `fmt ` says how many bytes a second take.

Law: all bytes behind the head of the `data` chunk count, whatever its size says (writers to a pipe leave 0 or all ones,
provider-facts 4.1). How much one second takes is believed up to what recorders can do.
"""

from __future__ import annotations

from .duration import most

_PLAIN, _BYTE, _EXTENSIBLE = (1, 3), (6, 7), 0xFFFE
"""Codings whose samples have a fixed size: PCM and float, as many bits as is written; A-law and mu-law, a byte. The
third names one of them further on."""
_HERTZ, _CHANNELS, _BITS = 384_000, 8, 64
_CHUNKS = 1000


def seconds(data: bytes) -> float:
    """What a file lasts that begins with RIFF, RF64 or BW64."""
    at, rate = 12, 0
    for _ in range(_CHUNKS):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if len(data) < at + 8:
            break
        if name == b"fmt ":
            rate = _bytes_per_second(data[at + 8 : at + 8 + min(size, 40)])
        elif name == b"data":
            rest = len(data) - at - 8
            return rest / rate if rate else most(rest)
        at += 8 + size + size % 2
    return most(len(data))


def _bytes_per_second(form: bytes) -> int:
    """0 where the coding packs samples, so that its bytes tell no time."""
    coding = int.from_bytes(form[0:2], "little")
    if coding == _EXTENSIBLE:
        coding = int.from_bytes(form[24:26], "little")
    if len(form) < 16 or coding not in (*_PLAIN, *_BYTE):
        return 0
    channels, hertz = int.from_bytes(form[2:4], "little"), int.from_bytes(form[4:8], "little")
    bits = int.from_bytes(form[14:16], "little") if coding in _PLAIN else 8
    return min(channels, _CHANNELS) * min(hertz, _HERTZ) * -(-min(bits, _BITS) // 8)

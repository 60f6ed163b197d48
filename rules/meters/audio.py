"""How long the sound in a file lasts, from its bytes in memory.

The file's name and type are not asked, as upstreams go by the content too (provider-facts 4).

Law: never fails, and never less than what a decoder would play (containers/ says how). What no reader knows lasts as
long as so many bytes can.
"""

from __future__ import annotations

from collections.abc import Callable

from .containers import flac, mp4, mpegaudio, ogg, program, riff, webm
from .containers.duration import most

__all__ = ["most", "seconds"]

_READERS: tuple[tuple[tuple[bytes, ...], int, Callable[[bytes], float]], ...] = (
    ((b"RIFF", b"RF64", b"BW64"), 0, riff.seconds),
    ((b"fLaC",), 0, flac.seconds),
    ((b"OggS",), 0, ogg.seconds),
    ((b"\x1a\x45\xdf\xa3",), 0, webm.seconds),
    ((b"\0\0\1\xba",), 0, program.seconds),
    ((b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"), 4, mp4.seconds),
)
ELSEWHERE = 60.0
"""Seconds of a sound that is not in the body, only its URL: the length is not known before usage tells it, and a minute
is what the earlier system counted by (design 4.3)."""
_LEAST = 0.01
"""Seconds of any upload: the shortest Groq takes (provider-facts 4.3)."""


def seconds(data: bytes) -> float:
    """Seconds of sound in a file."""
    start = _behind_tags(data)
    head = data[start : start + 12]
    for marks, at, reader in _READERS:
        if head.startswith(marks, at):
            return max(_LEAST, reader(data[start:] if start else data))
    return max(_LEAST, mpegaudio.seconds(data, start))


def _behind_tags(data: bytes) -> int:
    """Where an ID3v2 tag ends (its length is written seven bits to a byte), if it ends within the file."""
    if data[:3] != b"ID3" or len(data) < 10 or max(data[6:10]) > 0x7F:
        return 0
    end = 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    end += 10 if data[5] & 0x10 else 0
    return end if end < len(data) else 0

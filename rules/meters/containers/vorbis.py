"""How long Vorbis packets play: each a quarter of its own block and of the one before (Vorbis I, 4.3.8).

Which of the two block sizes a packet has stands in its first byte, as the number of a mode; the modes stand at the end
of the setup header, which is read backwards, because all before them is of varying length (the way FFmpeg's parser
goes).
"""

from __future__ import annotations

_MODE = 41  # bits of a mode: block flag, window type, transform type, mapping
_MOST_SETUP = 65_536


class Blocks:
    """The headers of one stream, and its packets one by one."""

    __slots__ = ("_before", "_flags", "_hertz", "_mask", "_sizes", "_total")

    def __init__(self, identification: bytes, setup: bytes) -> None:
        self._hertz = int.from_bytes(identification[12:16], "little")
        sizes = identification[28] if len(identification) > 28 else 0
        self._sizes = (1 << (sizes & 0xF), 1 << (sizes >> 4))
        self._flags = _flags(setup)
        self._mask = (1 << (len(self._flags) - 1).bit_length()) - 1 if self._flags else 0
        self._before = 0
        self._total = 0

    @property
    def readable(self) -> bool:
        """The headers say how long a packet plays."""
        return bool(self._flags) and 0 < self._hertz <= 384_000 and 64 <= self._sizes[0] <= self._sizes[1] <= 8192

    @property
    def seconds(self) -> float:
        """What the packets so far play."""
        return self._total / 4 / self._hertz

    def take(self, first: int) -> None:
        """One more packet, by its first byte."""
        if first & 1:
            return  # a header
        mode = first >> 1 & self._mask
        size = self._sizes[1] if mode >= len(self._flags) or self._flags[mode] else self._sizes[0]
        if self._before:
            self._total += self._before + size
        self._before = size


def _flags(setup: bytes) -> list[bool]:
    """Whether each mode has long blocks; empty when the header cannot be read."""
    if len(setup) > _MOST_SETUP or setup[:7] != b"\x05vorbis":
        return []
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1  # the framing bit is the last that is set
    flags: list[bool] = []
    found: list[bool] = []
    while len(flags) < 64 and end >= 56 + 6 + _MODE:
        end -= _MODE
        mode = bits >> end & (1 << _MODE) - 1
        if mode >> 1 & 0xFFFFFFFF or mode >> 33 > 63:  # types are 0, and there are at most 64 mappings
            break
        flags.insert(0, bool(mode & 1))
        if bits >> end - 6 & 0x3F == len(flags) - 1:
            found = list(flags)
    return found

"""MP4, M4A and QuickTime: the samples of each sound track, in `moov` and in fragments (ISO 14496-12).

Law: AAC plays 1024 values a sample whatever the durations say; other codecs are believed down to PLAUSIBLE a sample,
below that each is charged at the most a packet of speech plays. The longest track counts: services take one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import opus
from .duration import STEPS, most

_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"}
PLAUSIBLE = 0.02
"""Seconds of the shortest packet in ordinary use (Opus, AMR); packets of other codecs are longer."""
_FRAME = 1024
_HERTZ = 192_000


@dataclass(slots=True)
class _Track:
    sound: bool = False
    scale: int = 0
    codec: bytes = b""
    hertz: int = 0
    samples: int = 0
    units: int = 0
    """Of 1/scale seconds."""
    default: int = 0
    """Units of a sample in a fragment that says nothing."""

    def seconds(self, size: int) -> float:
        samples = min(self.samples, size)  # a sample has a byte at least
        told = self.units / self.scale if self.scale else 0.0
        if self.codec == b"mp4a" and 0 < self.hertz <= _HERTZ:
            return max(min(told, most(size)), samples * _FRAME / self.hertz)
        return min(told, most(size)) if told >= samples * PLAUSIBLE * 0.99 else samples * opus.MOST


def seconds(data: bytes) -> float:
    """What a file lasts that begins with a box."""
    tracks: dict[int, _Track] = {}
    track = _Track()
    fragment_default = 0
    for name, start, end in _boxes(data):
        if name == b"trak":
            track = _Track()
        elif name == b"tkhd":
            at = start + (20 if data[start : start + 1] == b"\1" else 12)
            tracks[_number(data, at)] = track
        elif name == b"mdhd":
            at = start + (20 if data[start : start + 1] == b"\1" else 12)
            track.scale = _number(data, at)
        elif name == b"hdlr":
            track.sound = track.sound or data[start + 8 : start + 12] == b"soun"
        elif name == b"stsd":
            track.codec, track.hertz = data[start + 12 : start + 16], _number(data, start + 40) >> 16
        elif name == b"stts":
            track.units += sum(count * units for count, units in _pairs(data[start + 8 : end]))
        elif name in (b"stsz", b"stz2"):
            track.samples += _number(data, start + 8)
        elif name == b"trex":
            tracks.setdefault(_number(data, start + 4), _Track()).default = _number(data, start + 12)
        elif name == b"tfhd":
            track = tracks.setdefault(_number(data, start + 4), _Track())
            fragment_default = _default(data, start, track.default)
        elif name == b"trun":
            samples, units = _run(data, start, end, fragment_default)
            track.samples += samples
            track.units += units
    found = max((track.seconds(len(data)) for track in tracks.values() if track.sound), default=0.0)
    return found or most(len(data))


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of every box's content, those inside the listed ones too, in order."""
    at = 0
    for _ in range(STEPS):
        size, name = _number(data, at), data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = len(data) - at
        if len(name) < 4 or size < head:
            return
        yield name, at + head, min(at + size, len(data))
        at += head if name in _INSIDE else size
        if at >= len(data):
            return


def _pairs(table: bytes) -> Iterator[tuple[int, ...]]:
    return struct.iter_unpack(">II", table[: len(table) // 8 * 8])


def _default(data: bytes, start: int, otherwise: int) -> int:
    """`tfhd`: the duration of its samples, where the flags say that it stands there."""
    flags = _number(data, start) & 0xFFFFFF
    if not flags & 0x08:
        return otherwise
    return _number(data, start + 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0))


def _run(data: bytes, start: int, end: int, default: int) -> tuple[int, int]:
    """`trun`: its samples, and their durations together."""
    flags, samples = _number(data, start) & 0xFFFFFF, _number(data, start + 4)
    if not flags & 0x100:
        return samples, samples * default
    width = 4 * (flags >> 8 & 0xF).bit_count()
    at = start + 8 + (4 if flags & 0x01 else 0) + (4 if flags & 0x04 else 0)
    samples = min(samples, max(0, end - at) // width)
    durations = struct.iter_unpack(f">I{width - 4}x", data[at : at + samples * width])
    return samples, sum(units for (units,) in durations)

"""MP4, M4A and QuickTime: the samples of each sound track, in `moov` and in fragments (ISO 14496-12).

Law: packets play what a decoder finds in them, whatever the durations say; those of a codec that is not read count by
their bytes. The longest track counts: services take one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from . import flac, packets
from .duration import STEPS, most

_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"}
_PLAIN = {
    b"sowt": 16,
    b"twos": 16,
    b"lpcm": 16,
    b"raw ": 8,
    b"in24": 24,
    b"in32": 32,
    b"fl32": 32,
    b"fl64": 64,
    b"alaw": 8,
    b"ulaw": 8,
}
"""Codecs whose samples are not packed, and their bits."""
_READ = {b"Opus": "opus", b".mp3": "mp3", b"fLaC": "flac", b"ac-3": "ac3", b"ec-3": "eac3"}
_MP3 = (0x69, 0x6B)
"""Of the object types of `mp4a` (ISO 14496-1 7.2.6.6)."""
_MOST_TRACKS = 64
_ENTRY = 65_536
"""Bytes of what `stsd` says of samples; it has some hundred."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Numbers as they lie in the file, read when they are asked for: tables of millions are no tuples here."""

    table: bytes = b""
    width: int = 4
    row: int = 4
    """Bytes from one to the next."""
    every: int = 0
    """All are this one, where it is not 0."""

    @property
    def count(self) -> int:
        return len(self.table) // self.row

    def of(self, index: int) -> int:
        at = index * self.row
        return self.every or int.from_bytes(self.table[at : at + self.width], "big")


_NO_NUMBERS = _Numbers()


@dataclass(slots=True)
class _Track:
    sound: bool = False
    scale: int = 0
    units: int = 0
    """Of 1/scale seconds."""
    samples: int = 0
    entry: bytes = b""
    """What `stsd` says of its samples."""
    sizes: _Numbers = _NO_NUMBERS
    """Of the samples in chunks."""
    each: bytes = b""
    """`stsc`, three numbers a row: from which chunk on, counted from 1, there are so many samples in each."""
    chunks: _Numbers = _NO_NUMBERS
    """Where they begin."""
    default: tuple[int, int] = (0, 0)
    """Units and size of a sample in a fragment that says nothing."""
    fragments: list[tuple[int, int, _Numbers]] = field(default_factory=list)
    """Where the samples in fragments begin, run by run, how many there are, and their sizes."""

    def seconds(self, data: bytes, steps: int) -> float:
        """What it lasts. `steps`: the most samples that are looked at."""
        told = self.units / self.scale if self.scale else 0.0
        return max(min(told, most(len(data))), self._played(data, steps))

    def _played(self, data: bytes, steps: int) -> float:
        entry, codec = self.entry, self.entry[4:8]
        samples = min(self.samples, len(data))  # one has a byte at least
        hertz, channels = float(_number(entry, 32) >> 16), int.from_bytes(entry[24:26], "big")
        if codec in _PLAIN:
            bits = _PLAIN[codec]
            if entry[16:18] == b"\0\2":  # QuickTime's second version
                (hertz,) = struct.unpack(">d", entry[40:48].ljust(8, b"\0"))
                channels, bits = _number(entry, 48), _number(entry, 56)
            return packets.plain(samples * channels * -(-bits // 8), hertz, channels, bits)
        if codec == b"alac":
            cookies = [entry[at + 8 :] for at in _every(entry, b"alac") if at > 8] or [b""]
            return samples * max(map(packets.alac_frame, cookies))
        described = [_described(entry, at + 8) for at in _every(entry, b"esds")] if codec == b"mp4a" else []
        if codec == b"mp4a" and not any(kind in _MP3 for kind, _ in described):
            configs = [config for _, config in described] or [b""]
            return samples * max(packets.aac_frame(config, hertz) for config in configs)
        found = [data[at : at + size] for at, size in islice(self._places(len(data)), steps)]
        streaminfo = min((entry[at + 12 :] for at in _every(entry, b"dfLa")), key=flac.hertz, default=b"")
        name = "mp3" if described else _READ.get(codec, "")
        unseen = most(len(data)) if len(found) == steps or not any(found) else 0.0
        return packets.seconds(name, found, streaminfo) + unseen

    def _places(self, end: int) -> Iterator[tuple[int, int]]:
        """Where each sample lies, and its size."""
        number, run, each = 0, 0, 0
        for index in range(self.chunks.count):
            while 12 * run < len(self.each) and _number(self.each, 12 * run) <= index + 1:
                each, run = _number(self.each, 12 * run + 4), run + 1
            last = min(number + each, self.samples)
            yield from _side_by_side(self.chunks.of(index), number, last, self.sizes, end)
            number = last
        for at, count, sizes in self.fragments:
            yield from _side_by_side(at, 0, count, sizes, end)


def _side_by_side(at: int, first: int, last: int, sizes: _Numbers, end: int) -> Iterator[tuple[int, int]]:
    for number in range(first, last):
        if at >= end:
            return
        size = sizes.of(number)
        yield at, size
        at += size


def seconds(data: bytes) -> float:
    """What a file lasts that begins with a box."""
    tracks: dict[int, _Track] = {}
    track = _Track()
    moof = base = behind = 0
    default = (0, 0)
    for name, began, start, end in _boxes(data):
        if name == b"trak":
            track = _Track()
        elif name == b"tkhd":
            at = start + (20 if data[start : start + 1] == b"\1" else 12)
            tracks[_number(data, at)] = track
        elif name == b"trex":
            told = tracks.setdefault(_number(data, start + 4), _Track())
            told.default = _number(data, start + 12), _number(data, start + 16)
        elif name == b"moof":
            moof = began
        elif name == b"tfhd":
            track = tracks.setdefault(_number(data, start + 4), _Track())
            base, default = _fragment(data, start, moof, track.default)
            behind = base
        elif name == b"trun":
            behind = _run(data, (start, end), (base, behind), default, track)
        else:
            _describe(track, name, data, start, end)
    heard = [track for track in tracks.values() if track.sound]
    found = max((track.seconds(data, STEPS // len(heard)) for track in heard[:_MOST_TRACKS]), default=0.0)
    return found if found and len(heard) <= _MOST_TRACKS else max(found, most(len(data)))


def _describe(track: _Track, name: bytes, data: bytes, start: int, end: int) -> None:
    """A box of a track in `moov`."""
    if name == b"mdhd":
        at = start + (20 if data[start : start + 1] == b"\1" else 12)
        track.scale = _number(data, at)
    elif name == b"hdlr":
        track.sound = track.sound or data[start + 8 : start + 12] == b"soun"
    elif name == b"stsd" and _number(data, start + 4) == 1:
        track.entry = data[start + 8 : min(end, start + _ENTRY)]
    elif name == b"stts":
        track.units += sum(count * units for count, units in struct.iter_unpack(">II", _whole(data, start, end, 8)))
    elif name in (b"stsz", b"stz2"):
        track.samples += _number(data, start + 8)
        track.sizes = _sizes(name, data, start, end)
    elif name == b"stsc":
        track.each = _whole(data, start, end, 12)
    elif name in (b"stco", b"co64"):
        width = 4 if name == b"stco" else 8
        track.chunks = _Numbers(_whole(data, start, end, width), width, width)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Name and beginning of every box, start and end of its content; those inside the listed ones too, in order."""
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
        yield name, at, at + head, min(at + size, len(data))
        at += head if name in _INSIDE else size
        if at >= len(data):
            return


def _whole(data: bytes, start: int, end: int, width: int) -> bytes:
    """The rows of a table: behind its version and its number of rows, at most STEPS."""
    rows = min(max(0, end - start - 8) // width, STEPS)
    return data[start + 8 : start + 8 + rows * width]


def _sizes(name: bytes, data: bytes, start: int, end: int) -> _Numbers:
    """`stsz`: one size for all, or a table; `stz2`: a table of narrower numbers, of which those of four bits are not
    read."""
    one = _number(data, start + 4)
    if name == b"stsz" and one:
        return _Numbers(every=one)
    width = 4 if name == b"stsz" else one // 8
    return _Numbers(data[start + 12 : end], width, width) if width in (1, 2, 4) else _NO_NUMBERS


def _fragment(data: bytes, start: int, moof: int, otherwise: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """`tfhd`: where the samples of its runs begin, and duration and size of each where the flags say that they stand
    there."""
    flags, at = _number(data, start) & 0xFFFFFF, start + 8
    base, (duration, size) = moof, otherwise
    if flags & 0x01:
        base, at = int.from_bytes(data[at : at + 8], "big"), at + 8
    at += 4 if flags & 0x02 else 0
    if flags & 0x08:
        duration, at = _number(data, at), at + 4
    if flags & 0x10:
        size = _number(data, at)
    return base, (duration, size)


def _run(data: bytes, box: tuple[int, int], origins: tuple[int, int], default: tuple[int, int], track: _Track) -> int:
    """`trun`: its samples, their durations and where they lie, by an offset from the first of `origins` or without one
    at the second; returns where they end."""
    (start, end), (base, begins) = box, origins
    flags, samples = _number(data, start) & 0xFFFFFF, _number(data, start + 4)
    at = start + 8
    if flags & 0x01:
        begins, at = base + struct.unpack(">i", data[at : at + 4].rjust(4, b"\0"))[0], at + 4
    at += 4 if flags & 0x04 else 0
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    row = 4 * len(fields)
    if row:
        samples = min(samples, max(0, end - at) // row)
    units, sizes = samples * default[0], _Numbers(every=default[1])
    if 0x100 in fields:
        units = sum(rows[0] for rows in struct.iter_unpack(f">I{row - 4}x", data[at : at + samples * row]))
    if 0x200 in fields:
        sizes = _Numbers(data[at + 4 * fields.index(0x200) : at + samples * row], 4, row)
    track.samples += samples
    track.units += units
    track.fragments.append((begins, samples, sizes))
    return begins + (sum(map(sizes.of, range(samples))) if 0x200 in fields else samples * default[1])


def _every(data: bytes, mark: bytes) -> list[int]:
    """Where the mark stands: a box of that name, or whatever a client made look like one."""
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def _described(entry: bytes, at: int) -> tuple[int, bytes]:
    """`esds`: the object type, and the configuration of its decoder (ISO 14496-1 7.2.6)."""
    at = _behind_length(entry, at) + 3
    at = _behind_length(entry, at)
    kind = entry[at] if at < len(entry) else 0
    at = _behind_length(entry, at + 13)
    return kind, entry[at : at + 8]


def _behind_length(entry: bytes, at: int) -> int:
    """Where a descriptor begins behind its tag and its length."""
    at += 1
    while at < len(entry) and entry[at] & 0x80:
        at += 1
    return at + 1

"""WebM and Matroska: the blocks of each sound track (RFC 9559; the elements are those of provider-facts 4.2).

Law: the longest of what the packets play, the time of the last block and, where there is one, the Duration element; a
file that a browser records has none. Bytes that are no element count at the lowest rate, and so do packets of a codec
that is not read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from . import opus, packets, vorbis
from .duration import STEPS, most

_SEGMENT, _INFO, _SCALE, _DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
_CLUSTER, _TIMESTAMP, _SIMPLE, _GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_TRACKS, _ENTRY, _NUMBER, _KIND, _CODEC, _PRIVATE = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86, 0x63A2
_SOUND, _HERTZ, _CHANNELS, _BITS = 0xE1, 0xB5, 0x9F, 0x6264
_ENCODINGS = 0x6D80
_INSIDE = {_SEGMENT, _INFO, _CLUSTER, _GROUP, _TRACKS, _ENTRY, _SOUND}
_KNOWN = {
    *(_SIMPLE, _BLOCK, _PRIVATE, 0x1A45DFA3, 0xEC, 0x114D9B74, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469),
}
"""Elements that may be long: blocks, codec headers, the head, padding, indexes, tags, chapters, attachments."""
_MOST_TRACKS = 64
_AUDIBLE = 2  # the kind of a track
_SMALL = 1000
"""Bytes of any other element; what claims more is taken for damage."""
_CLUSTER_MARK = b"\x1f\x43\xb6\x75"
_READ = {b"A_MPEG/L3": "mp3", b"A_MPEG/L2": "mp3", b"A_FLAC": "flac", b"A_AC3": "ac3", b"A_EAC3": "eac3"}


@dataclass(slots=True)
class _Track:
    number: int = 0
    kind: int = 0
    codec: bytes = b""
    private: bytes = b""
    encoded: bool = False
    """Its packets are packed once more, or lack their beginnings."""
    hertz: float = 8000.0
    channels: int = 1
    bits: int = 0
    count: int = 0
    """Of packets."""
    played: float = 0.0
    last: float = 0.0
    blocks: vorbis.Blocks | None = None
    rest: list[bytes] = field(default_factory=list)
    """Packets of other codecs."""

    def take(self, packet: bytes, count: int) -> None:
        """A block of so many packets."""
        self.count += count
        if self.encoded:
            self.codec = b""
        if self.codec == b"A_OPUS":
            self.played += opus.seconds(packet[:2]) if count == 1 else count * opus.MOST
        elif self.codec == b"A_VORBIS":
            if self.blocks is None:
                self.blocks = _vorbis(self.private)
            for _ in range(count if packet else 0):
                self.blocks.take(packet[0])
        elif self.codec not in (b"A_AAC", b"A_ALAC") and self.kind == _AUDIBLE:
            self.rest.append(packet)

    def seconds(self, told: float) -> float:
        """With what the file says of itself."""
        if self.blocks is not None:
            self.played = self.blocks.seconds if self.blocks.readable else self.count * opus.MOST
        elif self.codec == b"A_AAC":
            self.played = self.count * packets.aac_frame(self.private, self.hertz)
        elif self.codec == b"A_ALAC":
            self.played = self.count * packets.alac_frame(self.private)
        elif self.codec.startswith(b"A_PCM"):
            self.played = packets.plain(sum(map(len, self.rest)), self.hertz, self.channels, self.bits)
        elif self.codec != b"A_OPUS":
            self.played = packets.seconds(_READ.get(self.codec, ""), self.rest, self.private[8:])
        return max(told, self.last, self.played)


def seconds(data: bytes) -> float:
    """What a file lasts that begins with an EBML head."""
    tracks: list[_Track] = []
    scale, told, cluster = 1_000_000, 0.0, 0
    at = lost = 0
    for _ in range(STEPS):
        began = at
        name, at = _vint(data, at, keep=True)
        size, at = _vint(data, at, keep=False)
        if name in _INSIDE:
            if name == _ENTRY and len(tracks) < _MOST_TRACKS:
                tracks.append(_Track())
            continue
        if name is None or size is None or (name not in _KNOWN and size > _SMALL) or at + size > len(data):
            if began >= len(data):
                break
            # what stands here is no element: decoders look for the next cluster
            found_at = data.find(_CLUSTER_MARK, began + 1)
            at = found_at if found_at >= 0 else len(data)
            lost += at - began
            continue
        if name in (_SIMPLE, _BLOCK):
            _block(data, at, size, tracks, cluster, scale)
        elif name == _SCALE:
            scale = _unsigned(data, at, size) or 1_000_000
        elif name == _DURATION:
            told = _float(data[at : at + size])
        elif name == _TIMESTAMP:
            cluster = _unsigned(data, at, size)
        elif tracks:
            _describe(tracks[-1], name, data[at : at + min(size, 1 << 17)])
        at += size
    left = most(lost + max(0, len(data) - at))
    told = min(told * scale / 1e9, most(len(data)))
    found = max((one.seconds(told) for one in tracks if one.kind == _AUDIBLE and one.count), default=0.0)
    return found + left if found else most(len(data))


def _describe(track: _Track, name: int, value: bytes) -> None:
    if name == _NUMBER:
        track.number = int.from_bytes(value[:8], "big")
    elif name == _KIND:
        track.kind = int.from_bytes(value[:8], "big")
    elif name == _CODEC:
        track.codec = bytes(value[:32]).rstrip(b"\0")[:32]
        if track.codec.startswith(b"A_AAC"):
            track.codec = b"A_AAC"
    elif name == _ENCODINGS:
        track.encoded = True
    elif name == _PRIVATE:
        track.private = value
    elif name == _HERTZ:
        track.hertz = _float(value)
    elif name == _CHANNELS:
        track.channels = int.from_bytes(value[:8], "big")
    elif name == _BITS:
        track.bits = int.from_bytes(value[:8], "big")


def _block(data: bytes, at: int, size: int, tracks: list[_Track], cluster: int, scale: int) -> None:
    number, start = _vint(data, at, keep=False)
    end = at + size
    track = next((one for one in tracks if one.number == number), None)
    if track is None or start + 3 > end:
        return
    relative = int.from_bytes(data[start : start + 2], "big", signed=True)
    track.last = max(track.last, min((cluster + relative) * scale / 1e9, most(len(data))))
    laced = data[start + 2] & 0x06
    track.take(data[start + 3 : end], 1 + data[start + 3] if laced and start + 3 < end else 1)


def _vint(data: bytes, at: int, *, keep: bool) -> tuple[int | None, int]:
    """A number of variable length, and where it ends; None for an unknown size, and at the end of the data."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        return None, len(data)
    value = int.from_bytes(data[at : at + length], "big")
    if keep:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def _unsigned(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + min(size, 8)], "big")


def _float(value: bytes) -> float:
    """A positive number; 0 for anything else."""
    found = 0.0
    if len(value) in (4, 8):
        (found,) = struct.unpack(">f" if len(value) == 4 else ">d", value)
    return found if 0 < found < 1e15 else 0.0


def _vorbis(private: bytes) -> vorbis.Blocks:
    """The three headers, laced: a 2, two lengths as sums of bytes up to the first below 255, then the headers."""
    lengths, at = [], 1
    for _ in range(2):
        length = 0
        while at < len(private):
            length += private[at]
            at += 1
            if private[at - 1] < 255:
                break
        lengths.append(length)
    setup = at + sum(lengths)
    return vorbis.Blocks(private[at : at + lengths[0]], private[setup:])

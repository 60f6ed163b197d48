"""Ogg: the packets of its pages (RFC 3533), Opus (RFC 7845), Vorbis and FLAC by what they play.

Law: where a page says it ends in time (its granule position) is not asked: decoders play every packet. Streams that
follow each other or stand side by side are added up. Other codecs count by their bytes.
"""

from __future__ import annotations

from . import flac, opus, vorbis
from .duration import STEPS, most

_MARK = b"OggS"
_OTHER = {b"\x80theora", b"fishead\0", b"\x01video\0"}
"""Streams that carry no sound."""
_MOST_STREAMS = 1000


class _Stream:
    """One logical stream."""

    def __init__(self) -> None:
        self.packets = 0
        self.opus = self.silent = False
        self.flac = 0
        self.vorbis: vorbis.Blocks | None = None
        self.seconds = 0.0
        self.size = 0
        self._identification = b""
        self._setup = b""

    def take(self, packet: bytes, size: int) -> None:
        """One packet: its beginning in this page, and how much of it stands there."""
        self.packets += 1
        self.size += size
        if self.packets == 1:
            self.opus = packet.startswith(b"OpusHead")
            self.silent = any(packet.startswith(mark) for mark in _OTHER)
            self.flac = int.from_bytes(packet[27:30], "big") >> 4 if packet.startswith(b"\x7fFLAC") else 0
            self._identification = packet if packet.startswith(b"\x01vorbis") else b""
        elif self.opus:
            if self.packets > 2:  # the second holds tags
                self.seconds += opus.seconds(packet[:2])
        elif self.flac:
            if packet[:1] == b"\xff":  # else it is a block of metadata
                self.seconds += flac.frame_seconds(packet[:16], self.flac) or most(size)
        elif self.vorbis is not None and packet:
            self.vorbis.take(packet[0])
        elif self._identification and packet.startswith(b"\x05vorbis"):
            self._setup = packet

    def go_on(self, rest: bytes) -> None:
        """The rest of a packet that began in an earlier page."""
        self.size += len(rest)
        if self._setup and self.vorbis is None and len(self._setup) < 1 << 17:
            self._setup += rest

    def end_packet(self) -> None:
        """The packet that was begun is whole."""
        if self._setup and self.vorbis is None:
            blocks = vorbis.Blocks(self._identification, self._setup)
            self._setup = b""
            if blocks.readable:
                self.vorbis = blocks
            else:
                self._identification = b""

    @property
    def lasts(self) -> float:
        """Seconds."""
        if self.silent:
            return 0.0
        if self.opus or self.flac:
            return self.seconds
        return self.vorbis.seconds if self.vorbis is not None else most(self.size)


def seconds(data: bytes) -> float:
    """What a file lasts that begins with OggS."""
    streams: dict[bytes, _Stream] = {}
    at, lost, steps = 0, 0, 0
    while 0 <= at < len(data) and steps < STEPS:
        if data[at : at + 4] != _MARK:
            found = data.find(_MARK, at)
            lost += (found if found >= 0 else len(data)) - at
            at = found
            continue
        count = data[at + 26] if at + 26 < len(data) else 0
        table = data[at + 27 : at + 27 + count]
        serial = data[at + 14 : at + 18]
        if serial not in streams and len(streams) >= _MOST_STREAMS:
            serial = b""  # all further ones are one, of no codec
        stream = streams.setdefault(serial, _Stream())
        steps += 1 + len(table)
        goes_on = bool(data[at + 5] & 1) if at + 5 < len(data) else False
        at = _page(data, at + 27 + count, table, stream, goes_on=goes_on)
    if 0 <= at < len(data):
        lost += len(data) - at
    return sum(stream.lasts for stream in streams.values()) + most(lost)


def _page(data: bytes, at: int, table: bytes, stream: _Stream, *, goes_on: bool) -> int:
    """Take the packets of one page; returns where it ends."""
    start, length = at, 0
    for lace in table:
        length += lace
        if lace < 255:
            _packet(data, start, length, stream, goes_on=goes_on)
            stream.end_packet()
            start, length, goes_on = start + length, 0, False
    if length:
        _packet(data, start, length, stream, goes_on=goes_on)
    return start + length


def _packet(data: bytes, start: int, length: int, stream: _Stream, *, goes_on: bool) -> None:
    piece = data[start : start + length]
    if goes_on and stream.packets:
        stream.go_on(piece)
    else:
        stream.take(piece, len(piece))

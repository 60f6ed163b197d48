"""How long the packets of a sound track play, by codec, for containers whose tables and time stamps a client writes.

Law: what a decoder goes by counts: the frames in the packets, and the codec's own configuration. A codec that is not
read lasts as long as so many bytes can.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import flac, mpegaudio, opus
from .duration import most

_AC3 = 1536
"""Values of an AC-3 frame, and the most of an E-AC-3 frame (ETSI TS 102 366)."""
_LOWEST_HERTZ = {"ac3": 32_000, "eac3": 16_000}
_AAC, _USAC = 1024, 4096
"""Values of a frame; of USAC the most (ISO 14496-3, 23003-3)."""
_AAC_HERTZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_MOST_HERTZ = 384_000
_LONGEST = 1.0
"""Seconds of any frame of ALAC that is believed; encoders write 4096 values."""


def seconds(codec: str, packets: Sequence[bytes], config: bytes) -> float:
    """What the packets play. `codec`: opus, mp3, flac, ac3, eac3, or another name; `config`: of flac, the file's
    STREAMINFO."""
    if codec == "opus":
        return sum(opus.seconds(packet[:2]) for packet in packets)
    whole = b"".join(packets)
    if codec == "mp3":
        return mpegaudio.seconds(whole)
    if codec == "flac":
        return flac.frames(whole, flac.hertz(config))
    if codec in _LOWEST_HERTZ:
        return whole.count(b"\x0b\x77") * _AC3 / _LOWEST_HERTZ[codec] or most(len(whole))
    return most(len(whole))


def aac_frame(config: bytes, otherwise: float) -> float:
    """Seconds of an AAC frame by its AudioSpecificConfig (ISO 14496-3 1.6.2.1). `otherwise`: values a second where that
    cannot be read."""
    bits = int.from_bytes(config[:8].ljust(8, b"\0"), "big")
    kind, used = bits >> 59, 5
    if kind == 31:
        kind, used = 32 + (bits >> 53 & 0x3F), 11
    index = bits >> (60 - used) & 0xF
    hertz = float(_AAC_HERTZ[index]) if index < len(_AAC_HERTZ) else 0.0
    if index == 15:
        hertz = float(bits >> (36 - used) & 0xFFFFFF)
    if len(config) < 2 or not 0 < hertz <= _MOST_HERTZ:
        hertz = otherwise
    return (_USAC if kind == 42 else _AAC) / hertz if 0 < hertz <= _MOST_HERTZ else opus.MOST


def alac_frame(cookie: bytes) -> float:
    """Seconds of an ALAC frame by the decoder's configuration, of 24 bytes."""
    size, hertz = int.from_bytes(cookie[:4], "big"), int.from_bytes(cookie[20:24], "big")
    return min(size / hertz, _LONGEST) if hertz else _LONGEST


def plain(size: int, hertz: float, channels: int, bits: int) -> float:
    """Of samples that are not packed: `size` bytes."""
    rate = hertz * channels * -(-bits // 8)
    believed = 0 < hertz <= _MOST_HERTZ and 0 < channels <= 8 and 0 < bits <= 64
    return size / rate if believed else most(size)

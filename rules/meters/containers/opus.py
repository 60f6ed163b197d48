"""How long an Opus packet plays: from its first byte or two (RFC 6716 3.1, 3.2)."""

from __future__ import annotations

MOST = 0.12
"""Seconds a packet can play."""
# milliseconds of a frame by the upper five bits: SILK, hybrid, CELT
_FRAME = (*((10, 20, 40, 60) * 3), *((10, 20) * 2), *((2.5, 5, 10, 20) * 4))


def seconds(packet: bytes) -> float:
    """What a packet plays, of which the first two bytes are enough."""
    if not packet:
        return 0.0
    code = packet[0] & 3
    frames = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 63)[code]
    return min(MOST, frames * _FRAME[packet[0] >> 3] / 1000)

"""What is found in a file, and the bounds of it."""

from __future__ import annotations

LOWEST = 750
"""Bytes a second of the thinnest audio worth sending: Opus at 6 kbit/s (provider-facts 4.1)."""
STEPS = 1_000_000
"""Frames, packets or boxes read of one file: the smallest ordinary ones, 24 bytes at 8 kbit/s, fill the 25 MB that
OpenAI takes (provider-facts 4.3) with about as many. What comes after counts by its bytes."""


def most(size: int) -> float:
    """The seconds so many bytes can last."""
    return size / LOWEST

"""What is found in a file, and the bounds of it."""

from __future__ import annotations

LOWEST = 750
"""Bytes a second of the thinnest audio worth sending: Opus at 6 kbit/s (provider-facts 4.1)."""
STEPS = 400_000
"""Frames, packets or boxes read of one file: as many as 25 MB, the most OpenAI takes (provider-facts 4.3), hold of the
smallest ordinary frames, mp3 at 8 kbit/s with 72 bytes. What comes after counts by its bytes. Steps of Python take up
to 10 us, so a file made to be slow keeps a counting thread for 4 s; other threads run meanwhile."""


def most(size: int) -> float:
    """The seconds so many bytes can last."""
    return size / LOWEST

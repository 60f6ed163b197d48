"""rules/meters/containers/packets.py: frames by a codec's own configuration; the rest is seen in test_audio.py."""

from __future__ import annotations

import pytest

from rules.meters.containers.duration import most
from rules.meters.containers.packets import aac_frame, alac_frame, plain, seconds


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("1190", 1024 / 48_000),  # kind 2, index 3, stereo
        ("1588", 1024 / 8_000),  # index 11
        ("1780fa0008", 1024 / 128_000),  # index 15: the rate is written out
        ("2b11880800", 1024 / 24_000),  # with SBR: the core's rate, and the core's values
        ("f94640", 4096 / 48_000),  # USAC, kind 42 behind an escape: the most it has
        ("", 1024 / 44_100),
        ("17", 1024 / 44_100),
        ("16f0", 1024 / 44_100),  # index 13 is none
    ],
)
def test_an_aac_frame_by_its_configuration(config: str, expected: float) -> None:
    """What the container says of the rate counts only where that says nothing."""
    assert aac_frame(bytes.fromhex(config), 44_100) == pytest.approx(expected)


def test_a_frame_of_which_nothing_is_known_is_a_long_one() -> None:
    """And no field makes it endless."""
    assert aac_frame(b"", 0) == 0.12
    assert alac_frame(b"") == alac_frame(b"\xff" * 20 + b"\0\0\0\1") == 1
    assert alac_frame((4096).to_bytes(4, "big") + b"\0" * 16 + (44_100).to_bytes(4, "big")) == 4096 / 44_100


def test_plain_samples_last_as_their_rate_says() -> None:
    """A rate that cannot be one is not believed."""
    assert plain(192_000, 48_000, 2, 16) == 1
    assert plain(48_000, 16_000, 1, 24) == 1
    odd = ((0, 1, 16), (float("nan"), 1, 16), (1e9, 1, 16), (8000, 0, 16), (8000, 9, 16), (8000, 1, 0))
    for hertz, channels, bits in odd:
        assert plain(7500, hertz, channels, bits) == most(7500)


def test_packets_of_a_codec_that_is_not_read_count_by_their_bytes() -> None:
    """So do those of one that is, where nothing of it is found."""
    for codec in ("", "speex", "flac", "ac3", "mp3"):
        assert seconds(codec, [b"\0" * 700, b"\0" * 50], b"") == most(750)
    assert seconds("ac3", [b"\x0b\x77" + b"\0" * 500], b"") == 1536 / 32_000
    assert seconds("opus", [b"\x18", b"", b"\x1b\x02"], b"") == pytest.approx(0.06 + 0.12)

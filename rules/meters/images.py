"""What an image, a file or a sound inside a body counts, without looking into it.

Law: never less than the provider can charge where the provider names a ceiling. The size of an image is not known from
its URL, so the ceiling of the model is taken (provider-facts 2.5, OpenAI images-vision guide July 2026, Claude docs
August 2026); the true usage settles it.
"""

from __future__ import annotations

from typing import NamedTuple


class Image(NamedTuple):
    """Largest number of tokens of one image by the `detail` asked for."""

    low: int
    high: int
    automatic: int
    """`auto`, `original`, or no detail given."""


def _tiles(base: int, tile: int) -> Image:
    """Fitted into 2048x2048 and with the short side at 768 px, an image has at most 4 x 2 squares of 512 px."""
    return Image(base, base + 8 * tile, base + 8 * tile)


def _patches(budget: int, multiplier: float = 1.0, *, automatic: int | None = None) -> Image:
    """Patches of 32x32 px up to a budget; `low` is a version of 512x512, so 256 patches."""
    high = round(budget * multiplier)
    return Image(round(256 * multiplier), high, high if automatic is None else automatic)


# First match wins, so longer names stand first.
_IMAGES: tuple[tuple[tuple[str, ...], Image], ...] = (
    (("gpt-4o-mini",), _tiles(2833, 5667)),
    (("gpt-4.1-mini", "gpt-5-mini", "gpt-5.4-mini"), _patches(1536, 1.62)),
    (("gpt-4.1-nano", "gpt-5-nano", "gpt-5.4-nano"), _patches(1536, 2.46)),
    (("o4-mini",), _patches(1536, 1.72)),
    (("gpt-4o", "chatgpt-4o-", "gpt-4.1", "gpt-4.5"), _tiles(85, 170)),
    (("gpt-5.4",), _patches(2500, automatic=10_000)),
    # From 5.6 on there is no ceiling; the one of 5.5 stands in for it.
    (("gpt-5.5", "gpt-5.6", "gpt-6"), _patches(2500, automatic=10_000)),
    (("gpt-5.1", "gpt-5.2", "gpt-5.3"), _patches(1536)),
    (("gpt-5",), _tiles(70, 140)),
    (("o1", "o3"), _tiles(75, 150)),
    (("computer-use-preview",), _tiles(65, 129)),
    # Claude up to 4.6; later ones take larger images.
    (
        (
            *("claude-2", "claude-3", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2", "claude-opus-4-5"),
            *("claude-opus-4-6", "claude-sonnet-4-", "claude-haiku-4-"),
        ),
        Image(1568, 1568, 1568),
    ),
    (("claude-",), Image(4784, 4784, 4784)),
)
_OTHER = _patches(2500)

FILE = 3000 + 4784
"""A document of unknown length counts as one PDF page: its text and its image at their most (provider-facts 2.5)."""

_AUDIO_TOKENS_PER_SECOND = 10
"""One token per 100 ms of audio a user sends: hearsay about OpenAI's realtime models, not in provider-facts."""
_BYTES_PER_SECOND = {"mp3": 4000}
"""mp3 at its lowest plausible rate, 32 kbit/s (provider-facts 4.1)."""
_PCM_BYTES_PER_SECOND = 32_000
"""16-bit mono at 16 kHz, the lowest rate in use (provider-facts 4.1)."""


def image_tokens(base: str, detail: object) -> int:
    """Most tokens one image can count for the model, given the `detail` asked for."""
    image = next((image for prefixes, image in _IMAGES if base.startswith(prefixes)), _OTHER)
    if detail == "low":
        return image.low
    return image.high if detail == "high" else image.automatic


def audio_tokens(encoded: int, form: object) -> int:
    """Tokens of a base64 sound of that many characters in the form `wav` or `mp3`, from the bytes it has."""
    rate = _BYTES_PER_SECOND.get(form, _PCM_BYTES_PER_SECOND) if isinstance(form, str) else _PCM_BYTES_PER_SECOND
    return -(-encoded * 3 * _AUDIO_TOKENS_PER_SECOND // (4 * rate))

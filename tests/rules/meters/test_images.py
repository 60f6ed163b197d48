"""rules/meters/images.py: what an image counts, by model, detail and size in pixels."""

import pytest

from rules.meters.images import image_tokens


@pytest.mark.parametrize(
    ("model", "detail", "expected"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o", "high", 1445),
        ("gpt-4o", None, 1445),
        ("gpt-4o-mini", "low", 2833),
        ("gpt-4o-mini", "auto", 48169),
        ("gpt-4.1-mini", "high", 2489),
        ("gpt-5", "high", 1190),
        ("gpt-5-nano", "high", 3779),
        ("gpt-5.2", None, 1536),
        ("gpt-5.4", None, 2500),
        ("gpt-5.4", "original", 10_000),
        ("gpt-5.5", "high", 2500),
        ("gpt-5.5", "original", 10_000),
        ("gpt-6.1-sol", None, 10_000),
        ("o3", "high", 1275),
        ("computer-use-preview", "high", 65 + 4 * 129),
        ("claude-sonnet-4-5", None, 1568),
        ("claude-opus-4-6", None, 1568),
        ("claude-opus-4-7", None, 4784),
        ("claude-sonnet-5", None, 4784),
        ("gemini-3-pro", None, 4128),
        ("something-else", ["high"], 2500),
    ],
)
def test_most_of_an_image(model: str, detail: object, expected: int) -> None:
    """An image of unknown size counts the ceiling its model has for the detail asked for."""
    assert image_tokens(model, detail) == expected


@pytest.mark.parametrize(
    ("model", "detail", "size", "expected"),
    [
        # the worked numbers of provider-facts 2.5
        ("gpt-5.2", None, (1024, 1024), 1024),
        ("gpt-5.2", None, (1800, 2400), 1452),
        ("gpt-4.1-mini", None, (1024, 1024), 1659),
        ("gpt-4.1-mini", None, (1800, 2400), 2353),
        # no cap, a cap by side, a cap by patches
        ("gpt-5.6-sol", None, (8000, 8000), 62_500),
        ("gpt-5.6-sol", "high", (8000, 8000), 2500),
        ("gpt-5.5", "original", (6000, 1000), 188 * 32),
        ("gpt-5.5", "original", (12_000, 2000), 188 * 32),
        ("gpt-5.5", "original", (6000, 6000), 10_000),
        ("gpt-5.2", "low", (8000, 8000), 256),
        ("gpt-5.2", None, (1, 100_000), 64),
        ("gpt-5.2", None, (33, 31), 2),
        # tiles: fitted into 2048, short side to 768; never enlarged
        ("gpt-4o", "high", (1024, 1024), 85 + 4 * 170),
        ("gpt-4o", "high", (2048, 4096), 85 + 6 * 170),
        ("gpt-4o", None, (150, 150), 85 + 170),
        ("gpt-4o", "low", (4096, 8192), 85),
        ("gpt-5", "high", (1024, 1024), 70 + 4 * 140),
        ("gpt-4o-mini", None, (512, 513), 2833 + 2 * 5667),
        ("computer-use-preview", None, (1024, 768), 65 + 2 * 129),
        # Claude: cells of 28 px
        ("claude-opus-4-6", None, (280, 280), 100),
        ("claude-opus-4-6", None, (4000, 4000), 1568),
        ("claude-opus-4-7", None, (2576, 1400), 92 * 50),
        ("claude-opus-4-7", None, (9999, 9999), 4784),
        ("gemini-2.5-flash", None, (1536, 768), 516),
        ("gemini-3-pro", None, (100, 100), 1120),
    ],
)
def test_an_image_of_known_size(model: str, detail: object, size: tuple[int, int], expected: int) -> None:
    """Patches, tiles or cells of what the image is shrunk to."""
    assert image_tokens(model, detail, size) == expected


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-nano", "gpt-5.4", "claude-opus-5", "claude-opus-4-5", "other"])
@pytest.mark.parametrize("size", [(1, 1), (1, 10**6), (10**6, 1), (2047, 2049), (10**6, 10**6), (2**31, 2**31)])
def test_no_size_counts_above_the_ceiling(model: str, size: tuple[int, int]) -> None:
    """Whatever a picture says of itself, a model with a cap is charged at most that, and at least something."""
    for detail in ("low", "high", "auto"):
        assert 0 < image_tokens(model, detail, size) <= image_tokens(model, detail)

"""What an image counts: patches, tiles or cells, by its size in pixels and the detail asked for.

Law: never less than the provider can charge where the provider names a ceiling. Where the size is not known (only a
URL, a file id, bytes no reader knows), the ceiling of the model is taken (provider-facts 2.5, OpenAI images-vision
guide July 2026, Claude docs August 2026); the true usage settles it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .margins import OLDER_CLAUDE

Size = tuple[int, int]
Detail = str
"""`low`, `high`, `original`, `auto`; anything else, and nothing, is `auto`."""

_PATCH = 32
_LOW = 256
"""`low` is a version of 512 x 512: 16 x 16 patches."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What an image is shrunk to before its patches are counted."""

    patches: float
    side: float
    """Longest side in pixels."""


_SMALL, _LARGE = Bound(1536, 2048), Bound(2500, 2048)
_ORIGINAL = Bound(10_000, 6000)
_NONE = Bound(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Patches:
    """Squares of 32 px, times a multiplier."""

    high: Bound
    automatic: Bound
    """For `auto`, and without a detail."""
    original: Bound
    multiplier: float = 1.0

    def most(self, detail: Detail) -> int:
        """Of an image of unknown size. Where there is no cap, the one of the model before it stands in."""
        if detail == "low":
            return math.ceil(_LOW * self.multiplier)
        return math.ceil(min(self._bound(detail).patches, _ORIGINAL.patches) * self.multiplier)

    def of(self, size: Size, detail: Detail) -> int:
        """The facts' formula (2.5): fit the longest side, then shrink so that whole patches stay within the budget."""
        if detail == "low":
            return math.ceil(_LOW * self.multiplier)
        bound = self._bound(detail)
        width, height = _fit(size, bound.side)
        count = _squares(width, _PATCH) * _squares(height, _PATCH)
        if count > bound.patches:
            shrink = math.sqrt(_PATCH * _PATCH * bound.patches / (width * height))
            across, down = width * shrink / _PATCH, height * shrink / _PATCH
            if across >= 1 and down >= 1:
                shrink *= min(math.floor(across) / across, math.floor(down) / down)
                count = _squares(width * shrink, _PATCH) * _squares(height * shrink, _PATCH)
            count = int(min(count, bound.patches))
        return math.ceil(count * self.multiplier)

    def _bound(self, detail: Detail) -> Bound:
        return {"high": self.high, "original": self.original}.get(detail, self.automatic)


@dataclass(frozen=True, slots=True)
class Tiles:
    """A base, and squares of 512 px after fitting into 2048 x 2048 and shrinking the short side to 768."""

    base: int
    tile: int
    short: int = 768

    def most(self, detail: Detail) -> int:
        """Of an image of unknown size: 2048 px by the short side."""
        return self.base if detail == "low" else self.of((2048, self.short), detail)

    def of(self, size: Size, detail: Detail) -> int:
        """A smaller image is not enlarged."""
        if detail == "low":
            return self.base
        width, height = _fit(size, 2048)
        shrink = min(1.0, self.short / min(width, height))
        return self.base + self.tile * _squares(width * shrink, 512) * _squares(height * shrink, 512)


@dataclass(frozen=True, slots=True)
class Cells:
    """Claude's: squares of 28 px within a longest side and a number of tokens; it knows no detail."""

    tokens: int
    side: int

    def most(self, detail: Detail) -> int:
        """Of an image of unknown size."""
        del detail
        return self.tokens

    def of(self, size: Size, detail: Detail) -> int:
        """Shrinking further for the tokens never adds any."""
        del detail
        width, height = _fit(size, self.side)
        return min(self.tokens, _squares(width, 28) * _squares(height, 28))


@dataclass(frozen=True, slots=True)
class Crops:
    """Gemini's: 258 for each square of 768 px, at least `least`. Hearsay: not in provider-facts."""

    least: int

    def most(self, detail: Detail) -> int:
        """Of an image of unknown size: as one of 3072 x 3072, the largest side said to be kept."""
        return self.of((3072, 3072), detail)

    def of(self, size: Size, detail: Detail) -> int:
        """A larger image is shrunk to 3072 px."""
        del detail
        width, height = _fit(size, 3072)
        return max(self.least, 258 * _squares(width, 768) * _squares(height, 768))


Rule = Patches | Tiles | Cells | Crops


def _small(multiplier: float = 1.0) -> Patches:
    return Patches(_SMALL, _SMALL, _SMALL, multiplier)


# First match wins, so longer names stand first.
_RULES: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("gpt-4o-mini",), Tiles(2833, 5667)),
    (("gpt-4.1-mini", "gpt-5-mini", "gpt-5.4-mini"), _small(1.62)),
    (("gpt-4.1-nano", "gpt-5-nano", "gpt-5.4-nano"), _small(2.46)),
    (("o4-mini",), _small(1.72)),
    (("gpt-4o", "chatgpt-4o-", "gpt-4.1", "gpt-4.5"), Tiles(85, 170)),
    (("gpt-5.4",), Patches(_LARGE, _LARGE, _ORIGINAL)),
    (("gpt-5.5",), Patches(_LARGE, _ORIGINAL, _ORIGINAL)),
    # Gpt-6 is newer than the list, and taken to be like its latest.
    (("gpt-5.6", "gpt-6"), Patches(_LARGE, _NONE, _NONE)),
    (("gpt-5.1", "gpt-5.2", "gpt-5.3"), _small()),
    (("gpt-5",), Tiles(70, 140)),
    (("o1", "o3"), Tiles(75, 150)),
    (("computer-use-preview", "gpt-image-1"), Tiles(65, 129, short=512)),
    (OLDER_CLAUDE, Cells(1568, 1568)),
    (("claude-",), Cells(4784, 2576)),
    (("gemini-3",), Crops(1120)),
    (("gemini-",), Crops(258)),
)
_OTHER = Patches(_LARGE, _LARGE, _LARGE)


def image_tokens(base: str, detail: object, size: Size | None = None) -> int:
    """Tokens of one image for the base model, given the `detail` asked for and its size in pixels, None: unknown."""
    asked = detail if isinstance(detail, str) else "auto"
    rule = _rule(base)
    return rule.most(asked) if size is None else rule.of(size, asked)


def _rule(base: str) -> Rule:
    find: Callable[[tuple[str, ...]], bool] = base.startswith
    return next((rule for prefixes, rule in _RULES if find(prefixes)), _OTHER)


def _fit(size: tuple[float, float], side: float) -> tuple[float, float]:
    """Shrunk so that no side is longer."""
    shrink = min(1.0, side / max(size))
    return size[0] * shrink, size[1] * shrink


def _squares(length: float, side: int) -> int:
    """Squares that cover a length; a length a rounding error above a whole number of them is that number."""
    return max(1, math.ceil(length / side - 1e-9))

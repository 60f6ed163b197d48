"""How many tokens a model makes of what we count as one: what is known at first, and what usage teaches.

Law: a margin is at least 1, moves to what replies say, and stands above their mean by how much they scatter, so that an
estimate is seldom too small. Usage that lies, or a reply that counts what we did not see, moves it a little, and never
beyond MOST.

Each process learns for itself: what a wrong margin costs lasts until the call is settled, some twenty calls teach the
right one, and so nothing has to be kept in the store or agreed on between replicas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from .tokens import base_model, encoding_name

MOST = 4.0
"""A margin is never above this: twice the worst that comparisons report for any vendor, code and rare languages
included (provider-facts 2.8: up to 1.5, and 1.3 times that for Claude 4.7 and later)."""
UNKNOWN = 1.2
"""Where nothing is known (provider-facts 2.8: what is cautious for Cohere and Llama, and covers Gemini's 15 %)."""
_CLAUDE = 1.6
"""Claude 4.7 and later: about 30 % more tokens than before (provider-facts 2.8: 1.5 to 1.6)."""
_OLDER_CLAUDE = 1.25
"""Up to 4.6 (provider-facts 2.8: 1.2 to 1.25)."""
_OLDER = (
    *("claude-2", "claude-3", "claude-instant", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2"),
    *("claude-opus-4-5", "claude-opus-4-6", "claude-sonnet-4-", "claude-haiku-4-"),
)
OLDER_CLAUDE = _OLDER
"""Names of Claude 4.6 and earlier."""

# How strongly the start counts, in tokens of calls: as much as a few ordinary chats.
_TRUST = 2000.0
# The most one call counts for: else a single long one would decide.
_ONE_CALL = 8000.0
# What remains of all that was seen at each further call: about the last fifty calls decide.
_FADE = 0.98
# What differs from our count by no more is our count: where the encoding is published it is exact, and the overheads,
# which are not, weigh little in calls of ordinary length.
_EXACT = 0.02
# How many mean deviations the margin stands above the mean. Of normally scattered ratios 2.5 mean deviations are two
# standard deviations, which 98 of 100 calls stay below.
_DEVIATIONS = 2.5


@lru_cache(maxsize=4096)
def start(model: str) -> float:
    """What the counts of a model are multiplied by before usage has taught anything (provider-facts 2.8): 1 where its
    encoding is published, else more."""
    base = base_model(model)
    if base.startswith("claude-"):
        return _OLDER_CLAUDE if base.startswith(_OLDER) else _CLAUDE
    return 1.0 if encoding_name(base)[1] else UNKNOWN


@dataclass(frozen=True, slots=True)
class Learned:
    """What the replies of one model have taught. A value; `after` gives the next one. All amounts are tokens, and
    fade."""

    start: float
    """What is believed before anything is known."""
    trust: float = _TRUST
    """How many tokens that belief is worth."""
    counted: float = 0.0
    """What we counted."""
    true: float = 0.0
    """What the upstream counted for the same texts."""
    apart: float = 0.0
    """How far the single calls were from their mean."""

    @property
    def margin(self) -> float:
        """What to multiply counts by, 1 to MOST."""
        weighed = self.start * self.trust + self.true + _DEVIATIONS * self.apart
        believed = weighed / (self.trust + self.counted)
        return min(MOST, believed) if believed > 1 + _EXACT else 1.0

    def after(self, counted: float, true: float) -> Learned:
        """With one more call: what we counted of its texts, at least 1, and what the upstream did. Any other numbers
        teach nothing."""
        if not 1 <= counted < math.inf or not 0 <= true < math.inf:
            return self
        scale = min(1.0, _ONE_CALL / counted)
        counted, true = counted * scale, min(true, MOST * counted) * scale
        all_counted, all_true = self.counted * _FADE + counted, self.true * _FADE + true
        return Learned(
            start=self.start,
            trust=self.trust * _FADE,
            counted=all_counted,
            true=all_true,
            apart=self.apart * _FADE + abs(true - counted * all_true / all_counted),
        )

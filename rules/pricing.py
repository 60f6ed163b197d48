"""What calls cost in money: prices of models, an estimate before a call goes, the true cost after.

Law: a model without a price costs nothing and is reported; nothing is guessed. What a price list leaves open costs
what it costs elsewhere: cached input as much as other input.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .meters.usage import Usage

_MILLION = 1_000_000
_MOST_REMEMBERED = 1024
_LONGEST = 256
"""Characters of a model's name that are remembered: the longest believed (meters/estimate.py)."""
# `-2024-08-06` as OpenAI dates a model, `-20251001` as Anthropic does, and the name of the newest.
_DATE = re.compile(r"-(?:20\d\d-\d\d-\d\d|20\d{6}|latest)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one model, in USD per million tokens. None: as the field says."""

    input: float | None = None
    """None: it is not billed by tokens."""
    output: float = 0.0
    cached_input: float | None = None
    """As input."""
    cache_write: float | None = None
    """As input."""
    cache_write_1h: float | None = None
    """As cache_write."""
    audio_input: float | None = None
    """As input."""
    audio_output: float | None = None
    """As output."""
    minute: float | None = None
    """USD per minute of audio; beside a price of tokens it is the estimate only."""
    least_seconds: float = 0.0
    """A shorter recording is billed as one of this length."""
    search: float = 0.0
    """USD per search of the web."""
    long: tuple[int, float, float] | None = None
    """Above so many tokens of input all input costs so many times as much, and all output so many times."""
    times: float = 1.0
    """What multiplies all of that."""
    regional: float = 1.0
    """The same, where a region's own host serves the model."""

    @property
    def is_free(self) -> bool:
        """Nothing of it costs anything."""
        return not (self.input or self.output or self.minute or self.search or self.audio_input or self.audio_output)

    def estimate(self, costs: Mapping[str, float]) -> float:
        """USD of a call that will cost this much by meter."""
        given, output = costs.get("input_tokens"), costs.get("output_tokens", 0.0)
        if self.input is not None and (given or output or "audio_seconds" not in costs):
            more_input, more_output = self._times(given or 0.0)
            whole = (given or 0.0) * self.input * more_input + output * self.output * more_output
            return whole / _MILLION * self.times
        return self._minutes(costs.get("audio_seconds", 0.0)) * self.times

    def cost(self, usage: Usage) -> float | None:
        """USD of a call that did cost this much; None: the usage says too little."""
        given, output = usage.billed or (usage.input_tokens, usage.output_tokens)
        if given is None and output is None:
            return self._minutes(usage.audio_seconds) * self.times if usage.audio_seconds is not None else None
        if self.input is None or given is None:
            return None
        written = usage.written - usage.written_1h
        plain = max(0, given - usage.cached - usage.written - usage.audio_input)
        write = _or(self.cache_write, self.input)
        of_input = (
            plain * self.input
            + usage.cached * _or(self.cached_input, self.input)
            + written * write
            + usage.written_1h * _or(self.cache_write_1h, write)
            + usage.audio_input * _or(self.audio_input, self.input)
        )
        spoken = usage.audio_output
        of_output = max(0, (output or 0) - spoken) * self.output + spoken * _or(self.audio_output, self.output)
        more_input, more_output = self._times(given)
        of_tokens = (of_input * more_input + of_output * more_output) / _MILLION
        return (of_tokens + usage.searches * self.search) * self.times

    def _times(self, given: float) -> tuple[float, float]:
        if self.long is None or given <= self.long[0]:
            return 1.0, 1.0
        return self.long[1], self.long[2]

    def _minutes(self, seconds: float) -> float:
        return max(seconds, self.least_seconds) / 60 * (self.minute or 0.0) if seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Of the models of one service."""

    rows: tuple[tuple[str, Price], ...] = ()
    """Name, or shell-style pattern of names, and price: the operator's before the table's. A name that is written out
    stands before every pattern, the first of two alike before the second."""
    tiers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Service tier -> what it multiplies."""
    regions: tuple[str, ...] = ()
    """Hosts of single regions: `*.suffix`."""
    _found: dict[tuple[str, bool], Price | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, model: str | None, host: str = "") -> Price | None:
        """The price of a model at a host; None: it has none."""
        if model is None:
            return None
        asked = (model, any(host.endswith(one[1:]) for one in self.regions))
        if asked in self._found:
            return self._found[asked]
        found = self._find(model)
        if found is not None and asked[1]:
            found = replace(found, times=found.times * found.regional)
        if len(model) <= _LONGEST:
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[asked] = found
        return found

    def cost(self, price: Price | None, usage: Usage) -> float | None:
        """USD of a call at this price; None: there is none, or the usage says too little."""
        cost = price.cost(usage) if price is not None else None
        return cost * self.tiers.get(usage.tier or "", 1.0) if cost is not None else None

    def _find(self, model: str) -> Price | None:
        for name in dict.fromkeys((model, _DATE.sub("", model))):
            for row, price in self.rows:
                if row == name:
                    return price
        return next((price for row, price in self.rows if fnmatch.fnmatchcase(model, row)), None)


NO_PRICES = Prices()


def _or(price: float | None, other: float) -> float:
    return other if price is None else price

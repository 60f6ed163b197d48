"""What a finished call is charged: what the upstream said, else what was seen of it, else what was expected.

Law: a charge is corrected only by what is known (limiter.md 14.2, provider-facts 1.8, 2.7). A stream that broke off is
charged what it had produced and never less than its input; one that ended without a word about its cost is never
charged less than was expected; where the upstream keeps what it reserved (`settle: up`) no charge on its limits falls.
Money is always the true amount, because the bill is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .meters.usage import Usage, counts_input_only
from .policy import Endpoint, Service
from .pricing import Price


@dataclass(slots=True, kw_only=True)
class Ending:
    """How a call ended, as far as its cost goes."""

    usage: Usage | None = None
    """What the upstream said."""
    produced: int | None = None
    """Output tokens seen, of a stream of events."""
    whole: bool = True
    """The reply came to its end."""
    failed: bool = False
    """It was an error: nothing is billed for those."""


@dataclass(slots=True, kw_only=True)
class Settlement:
    """Amounts by meter, in natural units."""

    charged: Mapping[str, float] = field(default_factory=dict)
    """What the gate is told; a meter that is not here keeps its estimate."""
    actual: Mapping[str, float] = field(default_factory=dict)
    """What is known of the true cost."""
    told: bool = False
    """The upstream said so itself: the estimate can be judged by it."""


def settlement(
    service: Service, endpoint: Endpoint, price: Price | None, estimated: Mapping[str, float], ending: Ending
) -> Settlement:
    """`price`: of the call's model; `estimated`: what was charged when the call went, by meter."""
    if ending.failed:
        return Settlement(charged={"usd": 0.0} if "usd" in estimated else {})
    usage = ending.usage
    told = usage is not None and (usage.tokens is not None or usage.audio_seconds is not None)
    seen = _seen(endpoint, usage, ending.produced, estimated) if not told else usage
    if seen is None:
        return Settlement()
    actual = seen.meters()
    usd = seen.usd if service.reply_tells == "cost" else None
    if usd is None:
        usd = service.prices.cost(price, seen)
    if usd is not None and "usd" in estimated:
        actual["usd"] = usd + endpoint.costs.get("usd", 0.0)
    charged = dict(actual)
    for meter, amount in actual.items():
        falls_not = service.settle == "up" and meter != "usd"
        if falls_not or not (told or not ending.whole):
            charged[meter] = max(amount, estimated.get(meter, 0.0))
    return Settlement(charged=charged, actual=actual, told=told)


def _seen(
    endpoint: Endpoint, usage: Usage | None, produced: int | None, estimated: Mapping[str, float]
) -> Usage | None:
    """What a stream has cost so far: its input as told, else as estimated, and the output that was seen."""
    if produced is None:
        return None
    if usage is None or usage.input_tokens is None:
        given = round(estimated.get("input_tokens", 0.0))
        usage = Usage(input_tokens=given, limited_input=given)
    limited = usage.limited_input or 0
    tokens = limited if counts_input_only(endpoint.body) else limited + produced
    return replace(usage, output_tokens=produced, tokens=tokens)

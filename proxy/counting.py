"""Counts bodies: at once where that takes a few milliseconds at most, else in a thread; and keeps what usage has
taught.

The margins that usage teaches live here, in this process (rules/meters/margins.py says why not in the store).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from rules.meters import Estimate, NotAtOnce, estimate
from rules.meters.margins import Learned, start
from rules.policy import Endpoint, Service
from rules.pricing import Price

from . import headers
from .head import Head
from .metrics import Metrics

# Bodies above this are counted in a thread, whatever they hold: decoding this much JSON of ordinary shape takes 0.1 ms.
# Below, the count itself says when it would take longer (meters/tokens.py, AT_ONCE).
COUNT_INLINE = 65_536
# Models whose margins are kept: far more than any team calls. The one that was taught least recently goes.
_MOST_MODELS = 4096
# Models that the log names for what is not known of them; clients may invent any number.
MOST_NAMED = 256

_Kept = TypeVar("_Kept")

_log = logging.getLogger("headgate.counting")


class Counting:
    """One for a process."""

    def __init__(self, *, metrics: Metrics, counters: Executor) -> None:
        self._metrics = metrics
        self._counters = counters
        self._learned: dict[tuple[str, str], Learned] = {}
        self._answered: dict[tuple[str, str], str] = {}
        """What replies said is behind a name."""
        self._prices: dict[tuple[str, str], Price] = {}
        """What a token of a model did cost, input and output alike, where only replies tell."""
        self._named: set[tuple[str, str]] = set()

    async def count(self, body: bytes, head: Head, service: Service, endpoint: Endpoint) -> Estimate:
        """What a metered body costs."""
        found = None
        margin, stands_for = self.margin(service), partial(self.stands_for, service)
        count = partial(count_of, body, head, service, endpoint, margin=margin, stands_for=stands_for)
        if len(body) <= COUNT_INLINE:
            with contextlib.suppress(NotAtOnce):
                found = count(at_once=True)
        if found is None:
            found = await asyncio.get_running_loop().run_in_executor(self._counters, count)
        if not found.readable:
            self._metrics.unreadable_body.labels(service.name).inc()
        elif not found.known_model:
            self._report_unknown(service, found.model or "a model that is not named")
        return found

    def _report_unknown(self, service: Service, model: str) -> None:
        """Count a call of a model whose tokenizer is not known, and name that once."""
        self._metrics.unknown_model.labels(service.name).inc()
        known = (service.name, model)
        if known not in self._named and len(self._named) < MOST_NAMED:
            self._named.add(known)
            message = "%s: the tokenizer of %s is not known: its texts count %.2f times as much as OpenAI's would"
            _log.info(message, service.name, model, self.margin(service)(model))

    def stands_for(self, service: Service, name: str) -> str:
        """The model behind the name that a call gives: as configured, else as replies said, else of that name."""
        return service.deployments.get(name) or self._answered.get((service.name, name), name)

    def price(self, service: Service, name: str) -> Price | None:
        """What calls of a model cost by their last reply, where only replies tell that."""
        return self._prices.get((service.name, name))

    def margin(self, service: Service) -> Callable[[str], float]:
        """Name -> factor for its texts, as learned so far."""

        def of(name: str) -> float:
            learned = self._learned.get((service.name, name))
            return learned.margin if learned is not None else starting(service)(self.stands_for(service, name))

        return of

    def teach(
        self, service: Service, count: Estimate | None, actual: Mapping[str, float], told: str | None = None
    ) -> None:
        """A reply told its usage, by meter, and perhaps which model answered."""
        if count is None or count.model is None:
            return
        key = (service.name, count.model)
        if told is not None and service.reply_tells == "model":
            _keep(self._answered, key, told)
        usd, tokens = actual.get("usd"), actual.get("tokens")
        if service.reply_tells == "cost" and usd and tokens:
            rate = usd / tokens * 1_000_000
            _keep(self._prices, key, Price(input=rate, output=rate))
        taught = count.taught(actual["input_tokens"]) if "input_tokens" in actual else None
        if taught is not None:
            known = self._learned.get(key) or Learned(starting(service)(self.stands_for(service, count.model)))
            _keep(self._learned, key, known.after(*taught))


def _keep(table: dict[tuple[str, str], _Kept], key: tuple[str, str], value: _Kept) -> None:
    """As the youngest of at most _MOST_MODELS."""
    table.pop(key, None)
    if len(table) >= _MOST_MODELS:
        del table[next(iter(table))]
    table[key] = value


def starting(service: Service) -> Callable[[str], float]:
    """Model -> factor before usage has taught anything: the configuration's, else what is known of the model."""
    told = service.token_margin
    return start if told is None else lambda _model: told


def count_of(
    body: bytes,
    head: Head,
    service: Service,
    endpoint: Endpoint,
    *,
    margin: Callable[[str], float] | None = None,
    stands_for: Callable[[str], str] | None = None,
    at_once: bool = False,
) -> Estimate:
    """What a metered body costs, with what the configuration says unless more is given. `at_once`: raises NotAtOnce
    rather than take long."""
    behind = stands_for or (lambda name: service.deployments.get(name, name))
    return estimate(
        endpoint.body,
        body,
        content_type=_field(head, b"content-type"),
        content_encoding=_field(head, b"content-encoding"),
        path=head.target,
        margin=margin or (lambda name: starting(service)(behind(name))),
        stands_for=behind,
        at_once=at_once,
    )


def _field(head: Head, name: bytes) -> str | None:
    value = headers.value_of(head.fields, name)
    return value.decode("latin-1") if value is not None else None

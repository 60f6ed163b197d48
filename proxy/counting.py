"""Counts bodies: at once where that takes a few milliseconds at most, else in a thread; and keeps what usage has
taught.

The margins that usage teaches live here, in this process (rules/meters/margins.py says why not in the store).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from rules.meters import Estimate, NotAtOnce, estimate
from rules.meters.margins import Learned, start
from rules.policy import Endpoint, Service

from . import headers
from .head import Head
from .metrics import Metrics

# Bodies above this are counted in a thread, whatever they hold: decoding this much JSON of ordinary shape takes 0.1 ms.
# Below, the count itself says when it would take longer (meters/tokens.py, AT_ONCE).
COUNT_INLINE = 65_536
# Models whose margins are kept: far more than any team calls. The one that was taught least recently goes.
_MOST_MODELS = 4096


class Counting:
    """One for a process."""

    def __init__(self, *, metrics: Metrics, counters: Executor) -> None:
        self._metrics = metrics
        self._counters = counters
        self._learned: dict[tuple[str, str], Learned] = {}

    async def count(self, body: bytes, head: Head, service: Service, endpoint: Endpoint) -> Estimate:
        """What a metered body costs."""
        found = None
        margin = self.margin(service)
        if len(body) <= COUNT_INLINE:
            with contextlib.suppress(NotAtOnce):
                found = count_of(body, head, service, endpoint, margin=margin, at_once=True)
        if found is None:
            loop = asyncio.get_running_loop()
            count = lambda: count_of(body, head, service, endpoint, margin=margin)  # noqa: E731
            found = await loop.run_in_executor(self._counters, count)
        if not found.readable:
            self._metrics.unreadable_body.labels(service.name).inc()
        elif not found.known_model:
            self._metrics.unknown_model.labels(service.name).inc()
        return found

    def margin(self, service: Service) -> Callable[[str], float]:
        """Model -> factor for its texts, as learned so far."""

        def of(model: str) -> float:
            learned = self._learned.get((service.name, model))
            return learned.margin if learned is not None else starting(service)(model)

        return of

    def teach(self, service: Service, count: Estimate | None, actual: Mapping[str, float]) -> None:
        """A reply told its usage, by meter."""
        true = actual.get("input_tokens")
        if count is None or count.model is None or true is None:
            return
        taught = count.taught(true)
        if taught is None:
            return
        key = (service.name, count.model)
        known = self._learned.pop(key, None) or Learned(starting(service)(count.model))
        if len(self._learned) >= _MOST_MODELS:
            del self._learned[next(iter(self._learned))]
        self._learned[key] = known.after(*taught)


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
    at_once: bool = False,
) -> Estimate:
    """What a metered body costs, with what is known at start unless a margin is given. `at_once`: raises NotAtOnce
    rather than take long."""
    return estimate(
        endpoint.body,
        body,
        content_type=_field(head, b"content-type"),
        content_encoding=_field(head, b"content-encoding"),
        path=head.target,
        margin=margin or starting(service),
        at_once=at_once,
    )


def _field(head: Head, name: bytes) -> str | None:
    value = headers.value_of(head.fields, name)
    return value.decode("latin-1") if value is not None else None

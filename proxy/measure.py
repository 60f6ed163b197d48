"""Step 3, the half that touches bytes: a bounded look at the body, and the facts the rules plan with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor

from rules.match import Matcher
from rules.meters import Estimate
from rules.meters.audio import most
from rules.meters.document import MOST
from rules.meters.models import in_query
from rules.meters.streamusage import FORMATS, ask
from rules.meters.tokens import CHARACTERS_PER_TOKEN
from rules.plan import Facts, costs_of, digest, has_budget, is_unpriced
from rules.policy import Endpoint, Service
from rules.pricing import Price

from . import credentials
from .call import ClientBody
from .clients import Identity
from .counting import COUNT_INLINE, MOST_NAMED, Counting
from .errand import Errand, fingerprint, host_of
from .errors import Problem
from .head import Head
from .metrics import Metrics

# A body that is not metered is kept for a second sending up to this size, and streamed above it.
REPLAY_BYTES = 65_536
# The most a metered body may hold in memory, packed or not; a longer one is streamed and counted by its length. The
# largest request OpenAI takes is 512 MB of images (provider-facts 2.5), ordinary ones stay far below this.
METERED_BYTES = MOST
# Of a body that is streamed, so much must be here before its call is let go: what the least rate lets come in four
# seconds (threats 4.3), so that sound which is spoken meanwhile is not kept for long.
BEGUN_BYTES = 4096
# A body that is one of these, or is vouched for by one of these fields, is sent as it came.
_BOUND_BY = frozenset(
    (b"content-encoding", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature-input")
)

_log = logging.getLogger("headgate.measure")


class Measure:
    """Reads bodies within a bound on all that are held at once, and counts them."""

    def __init__(self, *, metrics: Metrics, counters: Executor, held_bytes: int) -> None:
        self._metrics = metrics
        self._counters = counters
        self.counting = Counting(metrics=metrics, counters=counters)
        """What bodies are counted with."""
        self._room = held_bytes
        metrics.held_bodies.set_function(lambda: float(held_bytes - self._room))
        self._named: set[tuple[str, str]] = set()

    def give_back(self, size: int) -> None:
        """The call is over: its body is no longer held."""
        self._room += size

    async def look(self, errand: Errand) -> int:
        """Read as much of the body as counting and a second sending need; returns the bytes it now occupies.

        Raises Problem (overloaded, and what ClientBody raises) or ClientGone.
        """
        occupied = await self._look(errand)
        if errand.service.mode != "off" and (errand.call.body.length != 0 or errand.call.head.websocket is not None):
            self._report_unpriced(errand)
        return occupied

    async def _look(self, errand: Errand) -> int:
        call, service, endpoint = errand.call, errand.service, errand.endpoint
        metered = is_metered(service, endpoint)
        parameters = credentials.form_parameters(service.credential, call.head.fields) if errand.pooled else ()
        whole = metered or bool(parameters)
        limit = METERED_BYTES if whole else REPLAY_BYTES
        length = call.body.length
        if length == 0:
            errand.body = b""
            if call.head.websocket is not None:
                errand.named_model = errand.record.model = in_query(call.head.target)
            errand.again = fingerprint(call.head, b"")
            return 0
        if not whole if length is None else length > limit:
            if parameters:
                # it may hold a credential of the client's, which must not leave beside ours (threats E2)
                raise Problem("body_too_large", f"a form for {service.name} may have {limit} bytes", close=True)
            # else clients that send next to nothing would take the upstream's connections from all others (threats G1)
            await call.body.begun(BEGUN_BYTES)
            return 0
        body = errand.body = await self._read(call.body, limit)
        errand.again = fingerprint(call.head, body)
        if parameters:
            errand.body = credentials.take_out_of_form(parameters, body)
        try:
            if metered:
                errand.count = await self.counting.count(body, call.head, service, endpoint)
                errand.record.model = errand.count.model
                if _may_ask(errand, errand.count):
                    await self._ask_usage(errand, body)
        except BaseException:
            self.give_back(len(body))
            raise
        return len(body)

    async def _ask_usage(self, errand: Errand, body: bytes) -> None:
        if len(body) <= COUNT_INLINE:
            edited = ask(body)
        else:
            edited = await asyncio.get_running_loop().run_in_executor(self._counters, ask, body)
        if edited is not None:
            errand.body, errand.asked_usage = edited, True

    def _report_unpriced(self, errand: Errand) -> None:
        """Count a call whose price is not known, and name its model once where a budget should have counted it."""
        service, model = errand.service, errand.model or "a model that is not known"
        unread = errand.call.head.websocket is not None
        if not is_unpriced(service, errand.endpoint, self.price(errand), unread=unread):
            return
        self._metrics.unpriced.labels(service.name).inc()
        known = (service.name, model)
        if known in self._named or len(self._named) >= MOST_NAMED or not has_budget(self.facts(errand)):
            return
        self._named.add(known)
        does = "cost what the model that their reply names does" if service.reply_tells == "model" else "cost 0 usd"
        if service.unpriced == "refuse" and service.mode == "enforce":
            does = "are refused"
        _log.warning("%s: %s has no price: its calls %s", service.name, model, does)

    def margin(self, errand: Errand) -> float:
        """What tokens counted from texts of the call's model are multiplied by."""
        return self.counting.margin(errand.service)(errand.model or "")

    def price(self, errand: Errand, told: str | None = None) -> Price | None:
        """What the call's model costs. `told`: the model that the reply named, which decides where nothing else says
        what the name stands for that the call gave."""
        service, name = errand.service, errand.model
        model = self.counting.stands_for(service, name) if name is not None else None
        if told is not None and service.reply_tells == "model" and model == name:
            model = told
        price = service.prices.of(model, host_of(service, errand.authority))
        return price if price is not None or name is None else self.counting.price(service, name)

    def teach(self, errand: Errand, actual: Mapping[str, float], told: str | None) -> None:
        """A reply said what the call did cost, by meter, and perhaps which model it was."""
        self.counting.teach(errand.service, errand.count, actual, told)

    async def _read(self, body: ClientBody, limit: int) -> bytes:
        """The whole body, which occupies room from here on. What is only announced occupies none: else a few slow
        clients could take the room of all."""
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in body:
                if len(piece) > self._room:
                    raise Problem("overloaded", "too many bodies are held", close=True, retry_after_ms=1000)
                self._room -= len(piece)
                size += len(piece)
                if size > limit:
                    raise Problem("body_too_large", f"the body is larger than {limit} bytes", close=True)
                pieces.append(piece)
        except BaseException:
            self.give_back(size)
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def facts(self, errand: Errand) -> Facts:
        """Everything `rules.plan` asks of a call."""
        return facts_of(
            errand.rules.matcher,
            errand.call.head,
            errand.identity,
            errand.service,
            errand.endpoint,
            model=errand.model,
            price=self.price(errand),
            count=errand.count,
            length=errand.call.body.length or 0,
            again=errand.again,
        )


def is_metered(service: Service, endpoint: Endpoint) -> bool:
    """Whether bodies are read to be counted."""
    return endpoint.body != "none" and service.mode != "off"


def _may_ask(errand: Errand, count: Estimate) -> bool:
    """A stream whose API keeps usage back, which nobody asked for, in a body that may be edited."""
    if not errand.service.ask_usage or not count.stream or count.include_usage or errand.endpoint.body not in FORMATS:
        return False
    return not any(name.lower() in _BOUND_BY for name, _ in errand.call.head.fields)


def facts_of(
    matcher: Matcher,
    head: Head,
    identity: Identity,
    service: Service,
    endpoint: Endpoint,
    *,
    model: str | None,
    price: Price | None,
    count: Estimate | None,
    length: int,
    again: str = "",
) -> Facts:
    """The facts of a call. `price`: of its model; `count`: of its body, None where that was not read; `length`: of the
    body, in bytes; `again`: its fingerprint."""
    unread = head.websocket is not None
    common, of_key = matcher.limits_for(service, endpoint, model)
    counted: Mapping[str, float] = count.costs if count is not None else {}
    if count is None and length and endpoint.body != "none":
        if endpoint.body == "audio":
            counted = {"audio_seconds": most(length)}
        else:
            tokens = length / CHARACTERS_PER_TOKEN
            counted = {"tokens": tokens, "input_tokens": tokens}
    caller = None
    signer = credentials.signer(service.credential, head.fields)
    if signer is not None or not service.pooled:
        own = signer or credentials.find(service.credential, head.fields, head.target)
        caller = digest(own.decode("ascii", "replace")) if own is not None else None
    return Facts(
        service=service,
        endpoint=endpoint,
        common=common,
        of_key=of_key,
        model=model,
        user=identity.user,
        client=identity.client,
        tier=identity.tier,
        weight=identity.weight,
        priority=identity.priority,
        costs=costs_of(service, endpoint, model, counted, price),
        caller=caller,
        signed=signer is not None,
        max_wait_ms=head.control.max_wait_ms,
        again=again,
        unpriced=(bool(length) or unread) and is_unpriced(service, endpoint, price, unread=unread),
    )

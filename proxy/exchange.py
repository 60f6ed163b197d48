"""The one straight line of a call, steps 2 to 9 of design section 3.

Every room is entered from here and returns to here. The one loop is a call that met a limit or a bad key and goes
back to the gate, keeping its place in the line; the one way out before the end is a Problem, answered at the bottom.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from rules import dialects
from rules.plan import plan
from rules.settling import Ending, settlement
from rules.verdict import Grant, Plan, Refuse

from . import headers, outgoing
from .call import Call, ClientGone
from .clients import Identity
from .departure import Departure, dispatch
from .errand import Errand, InForce, identity_of, is_intercepted, service_of
from .errors import Problem, place_of
from .faults import TooLate, UpstreamProblem
from .gate import Gate
from .head import Authority
from .lessons import Lessons
from .log import CallLog, Record
from .measure import Measure
from .metrics import Metrics
from .redaction import Veil
from .refusal import problem_of
from .shedding import Shedding
from .stream import Passage, relay
from .tunnel import Tunnels
from .upstream import Reply, Upstream

_log = logging.getLogger("headgate.exchange")

# An error body is read this far to tell what it means (the longest recorded ones are under 4 KiB).
ERROR_BYTES = 65_536
_USELESS = (
    "{}: the key this call went with is of no use, and the call cannot be sent again by us; another key may serve"
)
# Sendings of one call: each of them waited for its grant, so this bounds a pool of dead keys, not a storm.
ATTEMPTS = 8


class Exchange:
    """Steps 2 to 9, for calls of every entrance."""

    def __init__(
        self,
        *,
        in_force: Callable[[], InForce],
        measure: Measure,
        gate: Gate,
        upstream: Upstream,
        tunnels: Tunnels,
        shedding: Shedding,
        metrics: Metrics,
        call_log: CallLog,
        now_ms: Callable[[], float],
        wall: Callable[[], float],
        pseudonym: bytes,
        own: Callable[[Authority], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`now_ms`: the gate's clock, wall time that never steps back. `wall`: the time of day in seconds of the epoch,
        for Date. `pseudonym`: our name in Via.
        `own`: whether an authority is where this process listens. `jitter`: draws from 0 to 1."""
        self._in_force = in_force
        self._measure = measure
        self._gate = gate
        self._upstream = upstream
        self._tunnels = tunnels
        self._shedding = shedding
        self._metrics = metrics
        self._call_log = call_log
        self._now_ms = now_ms
        self._wall = wall
        self._pseudonym = pseudonym
        self._own = own
        self.draining = False
        self.running = 0
        """Calls inside, for the drain."""
        self.idle = asyncio.Event()
        self.lessons = Lessons(gate, now_ms, jitter)

    async def serve(self, call: Call) -> None:
        """Take a call from its head to its answer. Raises only ClientGone and CancelledError."""
        head = call.head
        record = Record(
            call_id=call.id, entrance=head.entrance, method=head.method, target=head.target, started=call.received
        )
        self.running += 1
        self.idle.clear()
        try:
            await self._serve(call, record)
        except Problem as problem:
            await self._answer(call, record, problem)
        except (ClientGone, asyncio.CancelledError) as gone:
            record.code = getattr(gone, "code", ClientGone.code)
            raise
        except Exception as error:
            _log.error("call %s: %s", call.id, place_of(error))
            await self._answer(call, record, Problem("internal", "an error of our own; the log names it", close=True))
        finally:
            self.running -= 1
            if self.running == 0:
                self.idle.set()
            self._close(record)

    async def _serve(self, call: Call, record: Record) -> None:
        head, rules = call.head, self._in_force()
        if self.draining:
            raise Problem("draining", "this Headgate is shutting down", close=True, retry_after_ms=1000)
        if headers.passed_through(head.fields, self._pseudonym) or (head.authority and self._own(head.authority)):
            raise Problem("loop", "the call leads back to this Headgate", close=True)
        identity = identity_of(call, rules)
        record.client, record.user, record.tier = identity.client, identity.user, identity.tier
        if head.entrance == "connect":
            assert head.authority is not None
            await self._connect(call, rules, record, head.authority)
            return
        room = self._tunnels.websocket(call) if head.websocket is not None else contextlib.nullcontext()
        with room:
            await self._call(call, rules, record, identity)

    async def _call(self, call: Call, rules: InForce, record: Record, identity: Identity) -> None:
        head = call.head
        service = service_of(head, rules.matcher)
        if service is None:
            await self._pass(call, rules, record, identity)
            return
        endpoint = rules.matcher.endpoint(service, head.method, head.target)
        record.service, record.endpoint = service.name, endpoint.name
        errand = Errand(call, record, rules, identity, service, endpoint, head.authority)
        occupied = await self._measure.look(errand)
        try:
            await self._send(errand)
        finally:
            self._measure.give_back(occupied)

    async def _connect(self, call: Call, rules: InForce, record: Record, authority: Authority) -> None:
        record.status = 200
        if authority.port != 443 and rules.matcher.by_host(authority.host) is not None:
            # unread, its calls would pass the gate by
            raise Problem("port_denied", "a tunnel to a service is opened on port 443 only", close=True)
        if is_intercepted(authority, rules.matcher):
            record.code = "intercept"
            await self._tunnels.intercept(call, authority)
        else:
            target = rules.egress.target(authority, "https")
            record.code = "tunnel"
            record.code = await self._tunnels.relay(call, target) or record.code

    async def _pass(self, call: Call, rules: InForce, record: Record, identity: Identity) -> None:
        """A forward call to a host outside the catalogue: no key, no gate, only a line in the log."""
        head = call.head
        assert head.authority is not None
        target = rules.egress.target(head.authority, head.scheme)
        raw_target, fields = outgoing.passed(call, target, identity.token, self._pseudonym)
        record.attempts = 1
        reply = await dispatch(self._upstream, call, target, raw_target, fields, b"" if call.body.empty else None)
        record.upstream_ms = (asyncio.get_running_loop().time() - call.received) * 1000
        await self._relay(call, record, reply, None, ())

    # 3 to 8: plan, grant, send, relay, learn, settle

    async def _send(self, errand: Errand) -> None:
        record = errand.record
        began_ms = self._now_ms()
        wish = self._plan(errand)
        longest_ms = wish.max_wait_ms if isinstance(wish, Plan) else 0
        attempt, late = 0, False
        while True:
            if isinstance(wish, Refuse):
                raise problem_of(errand.service, wish, record.waited_ms)
            # whoever asks again keeps the place in the line that he had first
            since = began_ms if attempt or late else None
            crowded = self._shedding.why_not_hold(errand.identity.client) if wish.max_wait_ms else None
            if crowded is not None:
                wish.max_wait_ms = 0
            self._shedding.enter(errand.identity.client)
            try:
                verdict = await self._gate.acquire(wish, enqueued_ms=since, anew=lambda: self._plan(errand))
            finally:
                self._shedding.leave(errand.identity.client)
            record.waited_ms += verdict.waited_ms
            if isinstance(verdict, Refuse):
                if crowded is not None and verdict.code == "wait_too_long":
                    raise Problem(
                        "overloaded", f"{crowded}, and this one would have to", retry_after_ms=verdict.retry_after_ms
                    )
                raise problem_of(errand.service, verdict, record.waited_ms)
            record.key, record.attempts = verdict.key, attempt + 1
            if verdict.observed is not None and errand.service.mode == "observe":
                record.observe(verdict.observed)
            last = attempt + 1 == ATTEMPTS or errand.body is None
            try:
                if await self._attempt(errand, verdict, last=last):
                    return
                attempt, late = attempt + 1, False
            except TooLate:
                record.attempts = attempt
                self._metrics.of(errand.service.name).late.inc()
                if late and not wish.max_wait_ms:
                    raise problem_of(errand.service, Refuse(code="hold_expired"), record.waited_ms) from None
                late = True
            wish = self._plan(errand)
            if isinstance(wish, Plan):
                wish.max_wait_ms = max(0, longest_ms - int(self._now_ms() - began_ms))

    def _plan(self, errand: Errand) -> Plan | Refuse:
        """What the call takes, by the policy in force now: it may change while the call waits, or between sendings."""
        errand.follow(self._in_force())
        facts = self._measure.facts(errand)
        facts.replayable = errand.body is not None and errand.record.attempts + 1 < ATTEMPTS
        errand.record.estimate = facts.costs
        return plan(facts)

    async def _attempt(self, errand: Errand, grant: Grant, *, last: bool) -> bool:
        """Send once with a grant. True when the client has its answer; False to go back to the gate.

        Raises TooLate when the grant's time was over before the call could leave. The grant is finished in any case.
        """
        call, record, name = errand.call, errand.record, errand.service.name
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        departure = Departure(grant, self._now_ms)
        try:
            where, target, fields = outgoing.addressed(errand, grant, self._pseudonym)
            reply = await dispatch(self._upstream, call, where, target, fields, errand.body, departure.may_go)
        except UpstreamProblem as fault:
            self._finish(errand, grant, None, counted=fault.counted)
            raise
        except BaseException:
            # TooLate, or the client is gone
            self._finish(errand, grant, None, counted=departure.left)
            raise
        seconds = loop.time() - sent_at
        record.upstream_ms = seconds * 1000
        counts = self._metrics.of(name)
        counts.upstream_seconds.observe(seconds)
        counts.upstream_status(reply.status).inc()
        passage: Passage | None = None
        first = b""
        counted = True
        try:
            if reply.status >= 300 or (reply.status >= 200 and dialects.explains_success(errand.service.dialect)):
                first = await reply.read(ERROR_BYTES)
            lesson = self.lessons.of_reply(errand, grant, reply, first)
            if lesson is not None:
                counted = lesson.counted
                if lesson.retry and not last:
                    # a body we have not seen the end of is not worth reading for a warm connection
                    reply.release() if reply.complete else reply.abort()
                    return False
                if errand.pooled and lesson.meaning in ("dead", "exhausted"):
                    # the client can do nothing about a key that is ours; what it can do is ask again
                    raise Problem("no_key", _USELESS.format(name), retry_after_ms=1000)
            elif errand.endpoint.body != "none" and reply.status >= 200:
                passage = Passage(errand.endpoint.body, reply, asked_usage=errand.asked_usage)
            veil = Veil(outgoing.secret_of(errand.service, grant)) if errand.pooled else None
            if veil is not None:
                reply.reason, reply.headers = veil.over(reply.reason), veil.over_fields(reply.headers)
                if reply.status >= 300 and reply.complete:
                    reply.headers, first = veil.over_error(reply.headers, first)
            await self._relay(call, record, reply, passage, (first,) if first else (), veil)
            return True
        except BaseException:
            reply.abort()
            raise
        finally:
            self._finish(errand, grant, passage, counted=counted, whole=reply.complete, status=reply.status)

    async def _relay(
        self,
        call: Call,
        record: Record,
        reply: Reply,
        passage: Passage | None,
        first: tuple[bytes, ...],
        veil: Veil | None = None,
    ) -> None:
        """Step 6. Whatever ends it, the reply is released or aborted."""
        record.status, record.origin = reply.status, "upstream"
        if reply.status < 200:
            await self._switch(call, record, reply)
            return
        tap, edit = (passage.tap.feed, passage.edit) if passage is not None else (None, None)
        fields = headers.end_to_end(reply.headers, drop=(b"content-length", *(edit.drops if edit is not None else ())))
        fields += headers.own_fields(call.id, record)
        if headers.value_of(reply.headers, b"date") is None:
            fields.append(self._date())  # RFC 9110 section 6.6.1: whoever has a clock appends it
        declared = headers.value_of(reply.headers, b"content-length") if edit is None else None
        answer = call.answer
        if self.draining:
            answer.keep_alive = False
        answer.start(reply.status, reply.reason, fields, length=int(declared) if declared is not None else None)
        try:
            if not first and not reply.buffered:
                await answer.flush()
            await relay(reply, answer, tap, first, edit, veil)
            reply.release()
        except UpstreamProblem as fault:
            if not answer.started:
                raise  # nothing has left: it can be told
            record.code = fault.code
            answer.cut()
        finally:
            reply.abort()
            record.bytes_out = answer.sent

    async def _switch(self, call: Call, record: Record, reply: Reply) -> None:
        """A WebSocket's 101: from here on bytes pass unread, and the call lasts until they end."""
        pair = call.tunnel
        assert pair is not None
        fields = headers.end_to_end(reply.headers) + headers.own_fields(call.id, record)
        try:
            transport, early = reply.switch()
            await self._tunnels.switch(call, call.answer.compose(101, reply.reason, fields, None), transport, early)
        finally:
            reply.abort()
            record.code, record.bytes_out = pair.code, pair.far.passed

    def _finish(
        self,
        errand: Errand,
        grant: Grant,
        passed: Passage | None,
        *,
        counted: bool,
        whole: bool = False,
        status: int = 0,
    ) -> None:
        """Step 8: the true cost, as far as it is known. `whole`: the reply came to its end."""
        if not counted:
            self._gate.refund(grant)
            return
        service, record = errand.service, errand.record
        ending = Ending() if passed is None else passed.ending(errand.model, self._measure.margin(errand))
        ending.whole, ending.failed = whole, status >= 400
        if passed is not None and passed.tap.failed is not None:
            self.lessons.of_stream(errand, grant, passed.tap.failed)
        estimated = record.estimate or {}
        answered = ending.usage.model if ending.usage is not None else None
        price = self._measure.price(errand, answered)
        settled = settlement(service, errand.endpoint, price, estimated, ending)
        self._gate.settle(grant, settled.charged)
        counts = self._metrics.of(service.name)
        counts.spent.inc(settled.charged.get("usd", estimated.get("usd", 0.0)))
        record.actual = settled.actual or record.actual
        if settled.told:
            self._measure.teach(errand, settled.actual, answered)
        for meter, amount in settled.actual.items() if settled.told else ():
            if estimated.get(meter):
                counts.estimate_ratio(meter).observe(amount / estimated[meter])

    # 9: answers of our own, the log line

    async def _answer(self, call: Call, record: Record, problem: Problem) -> None:
        record.code = problem.code
        if call.answer.started:
            # what the client saw stays in the record: the status that was sent, then a cut
            call.answer.cut()
            return
        record.status, record.origin = problem.status, "headgate"
        service = self._in_force().policy.services.get(record.service or "")
        body = problem.body(service.shape if service is not None else "plain", call.id)
        fields = [
            self._date(),
            *problem.headers(),
            (b"Content-Type", b"application/json"),
            *headers.own_fields(call.id, record),
        ]
        await call.answer.problem(problem, fields, body)
        record.bytes_out = call.answer.sent

    def _date(self) -> tuple[bytes, bytes]:
        return headers.date(int(self._wall()))

    def _close(self, record: Record) -> None:
        self._metrics.call(record)
        self._call_log.write(record)

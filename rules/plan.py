"""The one door into the rules: facts about a call -> Plan or Refuse; what a reply said -> Lesson.

A Plan names every bucket the call draws on and what it takes from each: the common limits once, the limits of keys
and groups per candidate key (limiter 4, 8). Scope values enter a bucket's name only as a hash, so that no client can
steer one call into another's bucket (threats I13).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .backoff import delay_ms
from .dialects import Reading, Scope, rests
from .policy import Backoff, Endpoint, Key, Limit, Service, Upkeep
from .pricing import Price
from .verdict import Block, Candidate, Charge, Grant, Lesson, Plan, Refuse

# A caller's own key whose quota is used up and that says no time: one call an hour is what finding out costs.
EXHAUSTED_MS = 3_600_000
# A service in trouble that names a time is believed for a minute: what follows it is a guess of the service's too, and
# one call of many may have met what the others would not.
OVERLOADED_MS = 60_000
# The gate counts below 2^53 (limiter 4.3), and a client may ask for any number of tokens: a larger cost is as much too
# large for every limit as this one.
_MOST = 2**53 - 1
# Characters of scope values up to which their hash is remembered: a user and a model name at their longest (head.py,
# meters/estimate.py: 256 each).
_REMEMBERED = 512

_NO_UPKEEP = Upkeep()


@dataclass(slots=True, kw_only=True)
class Facts:
    """What is known of a call before it goes. A value; verdict.py says why such are not declared frozen."""

    service: Service
    endpoint: Endpoint
    common: Sequence[Limit]
    of_key: Sequence[Limit]
    """The limits that count this call, as rules.match sorted them."""
    model: str | None
    user: str
    client: str
    tier: str | None
    costs: Mapping[str, float]
    """Meter -> amount in natural units, `requests` included."""
    caller: str | None
    """Hash of the caller's own credential, where it is the key."""
    max_wait_ms: int | None
    """What the client asked for; None: the policy's."""
    weight: float = 1.0
    """Of the tier."""
    priority: int = 0
    """Among the calls of the same user, 0 to 9."""
    replayable: bool = False
    """It can be sent again, with another key."""
    again: str = ""
    """As in Plan."""
    signed: bool = False
    """The caller's credential signs the call, so that no key of a pool can take its place."""
    unpriced: bool = False
    """What the call will cost in money is not known (`is_unpriced`)."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Outline:
    """A plan without its costs: what calls of one user and model to one endpoint share."""

    service: Service
    limits: tuple[Sequence[Limit], Sequence[Limit]]
    flow: str
    tier: str
    """As a hash."""
    weight: float
    common: tuple[tuple[str, Limit], ...]
    """Bucket and limit."""
    draws: tuple[tuple[tuple[str, Limit], ...], ...]
    """The same for each group, or each key where a limit is the key's own."""
    candidates: tuple[tuple[str, str, tuple[str, ...], int, int], ...]
    """Key, group, scopes, place in `draws`, rank."""


# Users and models come from outside, so what is remembered of them is bounded; a table that is full starts anew.
_MOST_OUTLINES = 4096
_outlines: dict[tuple[object, ...], _Outline] = {}


def plan(facts: Facts) -> Plan | Refuse:
    """Every bucket the call draws on, for each key that may serve it.

    Refuses with no_key when the pool is empty or wholly reserved for other tiers, and with no_price when a limit counts
    money and the service refuses calls whose price is not known.
    """
    service = facts.service
    if facts.unpriced and service.unpriced == "refuse" and service.mode == "enforce" and has_budget(facts):
        return Refuse(code="no_price")
    off = service.mode == "off"
    common_costs = [0 if off else _cost(limit, facts.costs) for limit in facts.common]
    key_costs = [0 if off else _cost(limit, facts.costs) for limit in facts.of_key]
    outline = _outline(facts, common_costs, key_costs)
    if not outline.candidates:
        return Refuse(code="no_key")
    max_wait_ms = service.hold.max_wait_ms
    if facts.max_wait_ms is not None:
        max_wait_ms = min(facts.max_wait_ms, MAX_WAIT_MS)
    taken = [_charges(draw, key_costs) for draw in outline.draws]
    return Plan(
        service=service.name,
        endpoint=facts.endpoint.name,
        model=facts.model,
        flow=outline.flow,
        charges=_charges(outline.common, common_costs),
        candidates=tuple(
            [Candidate(key, group, blocks, taken[at], rank) for key, group, blocks, at, rank in outline.candidates]
        ),
        max_wait_ms=max_wait_ms,
        max_queue=service.hold.max_queue,
        tier=outline.tier,
        weight=outline.weight,
        priority=facts.priority,
        observe=service.mode != "enforce",
        replayable=facts.replayable,
        again=facts.again,
        outline=outline,
    )


# threats 4.3: a hold is capped at 10 minutes, whatever the client asks for.
MAX_WAIT_MS = 600_000


def costs_of(
    service: Service, endpoint: Endpoint, model: str | None, counted: Mapping[str, float], price: Price | None = None
) -> dict[str, float]:
    """What a call costs by meter: what was counted, the endpoint's costs as the least of each, `costMapping` for its
    requests, and in USD the price of that beside what the endpoint itself costs."""
    costs = {**endpoint.costs, **counted}
    for meter, least in endpoint.costs.items():
        costs[meter] = max(costs[meter], least)
    if "requests" in costs and model is not None:
        costs["requests"] *= service.cost_mapping.get(model, 1.0)
    if price is not None and not price.is_free:
        costs["usd"] = costs.get("usd", 0.0) + price.estimate(costs)
    elif price is None and service.reply_tells is not None and _is_sold(endpoint):
        costs.setdefault("usd", 0.0)  # the reply says what it was
    return costs


# What a reply tells (settling.py).
_TOLD = frozenset(("tokens", "input_tokens", "output_tokens", "audio_seconds", "usd"))
# Meters that something is billed by; requests and units are counted, not sold.
_SOLD = frozenset(("tokens", "input_tokens", "output_tokens", "audio_seconds", "images"))


def is_unpriced(service: Service, endpoint: Endpoint, price: Price | None, *, unread: bool = False) -> bool:
    """A call of this kind is billed by what it uses, and nothing says at which price. `unread`: what it uses goes by
    without being read, so that no price helps but one the endpoint has for the whole call."""
    if unread:
        return "usd" not in endpoint.costs
    return price is None and _is_sold(endpoint) and "usd" not in endpoint.costs and service.reply_tells != "cost"


def _is_sold(endpoint: Endpoint) -> bool:
    return endpoint.body != "none" or not _SOLD.isdisjoint(endpoint.costs)


def has_budget(facts: Facts) -> bool:
    """A limit that counts the call is of money."""
    return any(limit.meter == "usd" for limits in (facts.common, facts.of_key) for limit in limits)


def learn(
    reading: Reading,
    grant: Grant,
    *,
    model: str | None,
    endpoint: str,
    backoff: Backoff,
    attempt: int,
    pooled: bool,
    wide: bool = False,
    status: int = 0,
    upkeep: Upkeep = _NO_UPKEEP,
    finding: bool = False,
    jitter: float = 0.0,
) -> Lesson:
    """What a reply means for its key, its group and this call.

    `attempt` counts from 0. A 429 rests the group for the call's model, or for its endpoint where the provider counts
    by endpoint (Q16 of limiter 18) or the endpoint's limit is being found out (`finding`), until Retry-After, or for
    the backoff's delay, `jitter` of it drawn from 0 to 1; the whole group if another of its models was refused too
    (`wide`). A refused or used-up key rests alone, so that the others go on, until a call that tries it succeeds; a
    used-up one is not tried before the time the upstream named. A service in trouble rests for as long as it asks, at
    most a minute; the call itself may have been carried out, and is not sent again. What the operator said of the
    status (`upkeep`) goes before what the reply means.
    """
    meaning, scope = upkeep.meaning(status, reading.meaning) if pooled else reading.meaning, reading.scope
    if meaning != reading.meaning and meaning != "slow_down":
        scope = "key"
    if finding and meaning == "slow_down":
        scope = "endpoint"
    if meaning == "slow_down" and scope == "key" and not pooled:
        scope = "group"
    where = _resting(scope, grant, model, endpoint, wide=wide and meaning == "slow_down")

    def block(for_ms: int, every_ms: int = 0, known: bool = True) -> Block:
        key = grant.key if pooled else ""
        every = every_ms if pooled else 0
        return Block(where, for_ms, meaning, status, key, model if where[0] == "m" else None, every, known)

    def lesson(*blocks: Block, retry: bool = False) -> Lesson:
        return Lesson(blocks=blocks, retry=retry, counted=reading.counted, meaning=meaning)

    after_ms = reading.retry_after_ms
    if meaning == "slow_down":
        return lesson(block(after_ms if after_ms is not None else delay_ms(backoff, attempt, jitter)), retry=True)
    if meaning == "overloaded" and after_ms is not None:
        return lesson(block(min(after_ms, OVERLOADED_MS)))
    if meaning == "exhausted":
        if not pooled:
            return lesson(block(after_ms if after_ms is not None else EXHAUSTED_MS))
        every_ms, known = upkeep.probe_ms, after_ms is not None
        return lesson(block(after_ms if after_ms is not None else every_ms, every_ms, known), retry=True)
    if meaning == "dead" and pooled:
        # a caller's own key is not ours to take out, the next call brings another
        where = key_scope(grant.key)
        return lesson(block(upkeep.probe_ms, upkeep.probe_ms, False), retry=True)
    return lesson()


def _resting(scope: Scope, grant: Grant, model: str | None, endpoint: str, *, wide: bool) -> str:
    if scope == "key":
        return key_scope(grant.key)
    if scope == "endpoint":
        return endpoint_scope(grant.group, endpoint)
    return model_scope(grant.group, model) if scope == "group_model" and not wide else group_scope(grant.group)


def key_scope(key: str) -> str:
    """The scope that rests one key."""
    return f"k:{key}"


def group_scope(group: str) -> str:
    """The scope that rests every key of a group."""
    return f"g:{digest(group)}"


def model_scope(group: str, model: str | None) -> str:
    """The scope that rests a group for one model."""
    return f"m:{digest(group, model or '')}"


def endpoint_scope(group: str, endpoint: str) -> str:
    """The scope that rests a group for one endpoint."""
    return f"e:{digest(group, endpoint)}"


def digest(*values: str) -> str:
    """Eight bytes of BLAKE2b over the values, each preceded by its length, in hex."""
    # long values are no one's that comes often, and remembering them would fill the memory
    return _digest(*values) if sum(map(len, values)) <= _REMEMBERED else _digest.__wrapped__(*values)


@lru_cache(maxsize=65_536)
def _digest(*values: str) -> str:
    hashed = hashlib.blake2b(digest_size=8)
    for value in values:
        raw = value.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(raw))
        hashed.update(raw)
    return hashed.hexdigest()


def _cost(limit: Limit, costs: Mapping[str, float]) -> int:
    """In 1/scale units; 0: the limit does not count the call. What usage will tell is charged one unit at least: only
    what was charged can be settled, and output without a bound is expected to be nothing."""
    amount = 1.0 if limit.kind == "concurrent" else costs.get(limit.meter, 0.0)
    if amount == 0 and limit.meter in _TOLD and limit.meter in costs:
        return 1
    # less than a billionth of a unit is what the product of two doubles is off by
    return math.ceil(min(amount * limit.scale, _MOST) - 1e-9) if amount > 0 else 0


def _charges(draw: Sequence[tuple[str, Limit]], costs: Sequence[int]) -> tuple[Charge, ...]:
    taken = [cost for cost in costs if cost]
    return tuple([Charge(bucket, limit, cost) for (bucket, limit), cost in zip(draw, taken, strict=True)])


def _outline(facts: Facts, common_costs: Sequence[int], key_costs: Sequence[int]) -> _Outline:
    service = facts.service
    # which limits count the call is part of what is shared, so it is part of the name
    counted = (*map(bool, common_costs), *map(bool, key_costs))
    endpoint = facts.endpoint.name
    who = (facts.user, facts.client, facts.tier, facts.weight, facts.caller, facts.signed)
    asked = (service.name, endpoint, facts.model, *who, counted)
    found = _outlines.get(asked)
    if found is not None:
        if found.service is service and found.limits[0] is facts.common and found.limits[1] is facts.of_key:
            return found
        # another policy came into force: nothing of the old one is kept, its keys least of all
        _outlines.clear()
    scope = {"model": facts.model or "", "user": facts.user, "client": facts.client, "endpoint": endpoint}
    of_key = [limit for limit, cost in zip(facts.of_key, key_costs, strict=True) if cost]
    common = [limit for limit, cost in zip(facts.common, common_costs, strict=True) if cost]
    learned = any(limit.learned for limit in of_key)
    shared = not any("key" in limit.per for limit in of_key)
    by_endpoint = rests(service.dialect) == "endpoint"
    draws: dict[str, tuple[tuple[str, Limit], ...]] = {}
    candidates = []
    for key in _keys(facts):
        name = key.group if shared else key.id
        if name not in draws:
            draws[name] = _buckets(of_key, {**scope, "group": key.group, "key": key.id})
        narrow = endpoint_scope(key.group, endpoint) if by_endpoint else model_scope(key.group, facts.model)
        blocks = [key_scope(key.id), group_scope(key.group), narrow]
        if learned and not by_endpoint:
            blocks.append(endpoint_scope(key.group, endpoint))
        # a tier's reserved keys go before those it shares (limiter 8)
        rank = 0 if facts.tier is not None and facts.tier in key.reserve_for else 1
        candidates.append((key.id, key.group, tuple(blocks), list(draws).index(name), rank))
    found = _Outline(
        service=service,
        limits=(facts.common, facts.of_key),
        flow=digest(facts.tier or "", facts.user),
        tier=digest(facts.tier) if facts.tier else "",
        weight=facts.weight,
        common=_buckets(common, scope),
        draws=tuple(draws.values()),
        candidates=tuple(candidates),
    )
    if len(_outlines) >= _MOST_OUTLINES:
        _outlines.clear()
    _outlines[asked] = found
    return found


def _keys(facts: Facts) -> Sequence[Key]:
    """The keys that may serve the call, in order; the caller's own where there is no pool."""
    if facts.service.pooled and not facts.signed:
        return _allowed(facts.service.keys, facts.tier)
    caller = f"caller-{facts.caller or 'none'}"
    return [Key(id=caller, secret="", group=caller)]


def _buckets(limits: Iterable[Limit], scope: Mapping[str, str]) -> tuple[tuple[str, Limit], ...]:
    return tuple([(f"{limit.id}:{digest(*[scope[part] for part in limit.per])}", limit) for limit in limits])


def _allowed(keys: Sequence[Key], tier: str | None) -> list[Key]:
    """Keys the tier may use: those reserved for it, then those reserved for nobody."""
    reserved = [key for key in keys if tier is not None and tier in key.reserve_for]
    return reserved + [key for key in keys if not key.reserve_for]

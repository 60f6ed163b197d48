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
from .dialects import Reading
from .policy import Backoff, Endpoint, Key, Limit, Service
from .verdict import Block, Candidate, Charge, Grant, Lesson, Plan, Refuse

# A key that was refused as invalid is tried again after a day: someone may have reinstated it, and one call a day
# is what finding out costs. A key whose quota is used up and that says no time: an hour, for the same reason.
DEAD_MS = 86_400_000
EXHAUSTED_MS = 3_600_000
# Characters of scope values up to which their hash is remembered: a user and a model name at their longest (head.py,
# meters/estimate.py: 256 each).
_REMEMBERED = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a call before it goes."""

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


def plan(facts: Facts) -> Plan | Refuse:
    """Every bucket the call draws on, for each key that may serve it.

    Refuses with no_key when the pool is empty or wholly reserved for other tiers.
    """
    service = facts.service
    model = facts.model or ""
    scope = {"model": model, "user": facts.user, "client": facts.client, "endpoint": facts.endpoint.name}
    enforced = service.mode != "off"
    common = _charges(facts.common, scope, facts.costs) if enforced else ()
    candidates = _candidates(facts, scope, enforced)
    if not candidates:
        return Refuse(code="no_key")
    max_wait_ms = service.hold.max_wait_ms
    if facts.max_wait_ms is not None:
        max_wait_ms = min(facts.max_wait_ms, MAX_WAIT_MS)
    return Plan(
        service=service.name,
        endpoint=facts.endpoint.name,
        model=facts.model,
        flow=digest(facts.tier or "", facts.user),
        charges=common,
        candidates=candidates,
        max_wait_ms=max_wait_ms,
        max_queue=service.hold.max_queue,
        observe=service.mode != "enforce",
    )


# threats 4.3: a hold is capped at 10 minutes, whatever the client asks for.
MAX_WAIT_MS = 600_000


def costs_of(service: Service, endpoint: Endpoint, model: str | None, counted: Mapping[str, float]) -> dict[str, float]:
    """What a call costs by meter: the endpoint's fixed costs, `costMapping` for its requests, and what was counted."""
    costs = {**endpoint.costs, **counted}
    if "requests" in costs and model is not None:
        costs["requests"] *= service.cost_mapping.get(model, 1.0)
    return costs


def learn(reading: Reading, grant: Grant, *, model: str | None, backoff: Backoff, attempt: int, pooled: bool) -> Lesson:
    """What a reply means for its key, its group and this call.

    `attempt` counts from 0. A 429 rests the group for the call's model (Q16 of limiter 18) until Retry-After, or for
    the backoff's delay; a refused or used-up key rests alone, so that the others go on.
    """
    meaning = reading.meaning
    if meaning == "ok" or meaning == "fault":
        return Lesson(counted=reading.counted, meaning=meaning)
    if meaning == "overloaded":
        return Lesson(counted=reading.counted, meaning=meaning)
    if meaning == "slow_down":
        for_ms = reading.retry_after_ms
        if for_ms is None:
            for_ms = delay_ms(backoff, attempt)
        scope = model_scope(grant.group, model) if reading.scope == "group_model" else group_scope(grant.group)
        return Lesson(blocks=(Block(scope, for_ms, meaning),), retry=True, counted=reading.counted, meaning=meaning)
    if meaning == "exhausted":
        for_ms = reading.retry_after_ms if reading.retry_after_ms is not None else EXHAUSTED_MS
        scope = key_scope(grant.key) if reading.scope == "key" else group_scope(grant.group)
        return Lesson(blocks=(Block(scope, for_ms, meaning),), retry=pooled, counted=reading.counted, meaning=meaning)
    # dead: a caller's own key is not ours to take out, the next call brings another
    if not pooled:
        return Lesson(counted=reading.counted, meaning=meaning)
    blocks = (Block(key_scope(grant.key), DEAD_MS, meaning),)
    return Lesson(blocks=blocks, retry=True, counted=reading.counted, meaning=meaning)


def key_scope(key: str) -> str:
    """The scope that rests one key."""
    return f"k:{key}"


def group_scope(group: str) -> str:
    """The scope that rests every key of a group."""
    return f"g:{digest(group)}"


def model_scope(group: str, model: str | None) -> str:
    """The scope that rests a group for one model."""
    return f"m:{digest(group, model or '')}"


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


def _candidates(facts: Facts, scope: Mapping[str, str], enforced: bool) -> tuple[Candidate, ...]:
    service = facts.service
    if not service.pooled:
        caller = facts.caller or "none"
        keys: Iterable[Key] = (Key(id=f"caller-{caller}", secret="", group=f"caller-{caller}"),)
    else:
        keys = _allowed(service.keys, facts.tier)
    found = []
    by_group: dict[str, tuple[Charge, ...]] = {}
    shared = not any("key" in limit.per for limit in facts.of_key)
    for key in keys:
        charges = by_group.get(key.group) if shared else None
        if charges is None:
            values = {**scope, "group": key.group, "key": key.id}
            charges = by_group[key.group] = _charges(facts.of_key, values, facts.costs) if enforced else ()
        blocks = (key_scope(key.id), group_scope(key.group), model_scope(key.group, facts.model))
        found.append(Candidate(key.id, key.group, blocks, charges))
    return tuple(found)


def _allowed(keys: Sequence[Key], tier: str | None) -> list[Key]:
    """Keys the tier may use, its reserved ones only where it has any (limiter 8)."""
    reserved = [key for key in keys if tier is not None and tier in key.reserve_for]
    return reserved + [key for key in keys if not key.reserve_for]


def _charges(limits: Iterable[Limit], scope: Mapping[str, str], costs: Mapping[str, float]) -> tuple[Charge, ...]:
    found = []
    for limit in limits:
        amount = 1.0 if limit.kind == "concurrent" else costs.get(limit.meter, 0.0)
        if amount > 0:
            bucket = f"{limit.id}:{digest(*[scope[part] for part in limit.per])}"
            found.append(Charge(bucket, limit, math.ceil(amount * limit.scale)))
    return tuple(found)

"""What an operator is told of a pool's keys: one state each, and why, from everything that rests.

Law: a key is named by its id. Pure: what the store said and how long ago, in; words, out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .gate.resting import KeyRest
from .plan import group_scope, key_scope
from .policy import Key, KeyState

STATES: tuple[KeyState, ...] = ("active", "rate_limited", "exhausted", "error", "off")
"""In order of weight: where several hold, the last is the key's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """How one key stands."""

    key: str
    """Its id."""
    group: str
    reserve_for: tuple[str, ...]
    state: KeyState = "active"
    reason: str = ""
    """In words; empty: active."""
    age_ms: int | None = None
    """So long it has been so; None: active."""
    for_ms: int | None = None
    """Until it is back, or one call may try it; None: active, or until an operator says so."""
    tries: bool = False
    """It is back when a call that tries it succeeds."""


def scopes_of(keys: Sequence[Key], rests: Iterable[KeyRest], key: Key) -> list[str]:
    """Everything that rests of which the key has a part, itself first."""
    groups = {one.id: one.group for one in keys}
    found = [rest.scope for rest in rests if _concerns(rest, key, groups)]
    return list(dict.fromkeys((key_scope(key.id), *found)))


def statuses(keys: Sequence[Key], rests: Iterable[KeyRest], age_ms: float = 0) -> list[KeyStatus]:
    """How each key of a pool stands. `age_ms`: how long ago the store said `rests`."""
    running = [rest for rest in rests if rest.for_ms is None or rest.tries or rest.for_ms > age_ms]
    groups = {key.id: key.group for key in keys}
    return [_status(key, [rest for rest in running if _concerns(rest, key, groups)], round(age_ms)) for key in keys]


def _concerns(rest: KeyRest, key: Key, groups: dict[str, str]) -> bool:
    if rest.scope in (key_scope(key.id), group_scope(key.group)):
        return True
    # the scope of a model or an endpoint does not tell whose it is; the key that met it does
    return rest.scope[:2] in ("m:", "e:") and rest.key is not None and groups.get(rest.key) == key.group


def _status(key: Key, rests: list[KeyRest], age_ms: int) -> KeyStatus:
    if not rests:
        return KeyStatus(key=key.id, group=key.group, reserve_for=key.reserve_for)
    worst = max(rests, key=lambda rest: (STATES.index(rest.state), rest.for_ms or 0))
    return KeyStatus(
        key=key.id,
        group=key.group,
        reserve_for=key.reserve_for,
        state=worst.state,
        reason=_reason(worst, rests, key),
        age_ms=worst.age_ms + age_ms,
        for_ms=None if worst.for_ms is None else max(0, worst.for_ms - age_ms),
        tries=worst.tries,
    )


def _reason(rest: KeyRest, rests: list[KeyRest], key: Key) -> str:
    if rest.state == "off":
        return "turned off by an operator"
    said = f"the upstream answered {rest.status}" if rest.status else "the upstream said in a stream"
    if rest.state == "error":
        return f"{said}: the key is refused"
    met = "" if rest.key == key.id or rest.key is None else f" (met with {rest.key})"
    if rest.state == "exhausted":
        return f"{said}: its quota is used up{met}"
    models = sorted({one.model for one in rests if one.model is not None and one.state == rest.state})
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    return f"{said}: too fast{' for ' + named if named and rest.model is not None else ''}{met}"

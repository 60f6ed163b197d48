"""What rests and what is learned, as the wire carries it: operations and list of rests.lua, operations of learned.lua.

Law: a key is named by its id and a group by a hash; nothing here can hold a secret.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..policy import KeyState
from ..verdict import Block, Charge
from . import wire

RATE_LIMITED, EXHAUSTED, ERROR, OFF = 1, 2, 3, 4
_STATES: dict[int, KeyState] = {
    RATE_LIMITED: "rate_limited",
    EXHAUSTED: "exhausted",
    ERROR: "error",
    OFF: "off",
}
_STATE_OF = {"slow_down": RATE_LIMITED, "exhausted": EXHAUSTED, "dead": ERROR}


@dataclass(frozen=True, slots=True)
class KeyRest:
    """One scope that rests, and why, as the store knows it (rests.lua)."""

    scope: str
    for_ms: int | None
    """From the answer on; None: until an operator says otherwise."""
    tries: bool
    """It ends when a call that tries it succeeds; `for_ms` is when the next one may."""
    known: bool
    """It is known that it will serve by then."""
    state: KeyState
    status: int
    """The upstream's, 0: none."""
    age_ms: int
    """So long the scope has been in this state."""
    key: str | None
    """The key that met it; None: whichever the scope names."""
    model: str | None
    every_ms: int = 0
    """Between two calls that try it."""


def rest(block: Block) -> list[bytes | int]:
    """A scope rests. Of a caller's own key nothing is kept but the end."""
    scope, ms = wire.word(block.scope).encode(), max(0, min(block.for_ms, wire.MOST >> 10))
    if not block.key:
        return [b"B", scope, ms]
    why: list[bytes | int] = [
        _STATE_OF[block.reason],
        block.status,
        wire.word(block.key).encode(),
        wire.word(block.model or "-").encode(),
    ]
    return [b"R", scope, ms, min(block.every_ms, wire.MOST >> 10), int(block.known), *why]


def lift(scopes: Sequence[str]) -> list[bytes | int]:
    """A call that tried these scopes succeeded."""
    return [b"U", len(scopes), *[wire.word(scope).encode() for scope in scopes]]


def turn(scope: str, *, on: bool) -> list[bytes | int]:
    """An operator turns a key on or off."""
    return [b"O", wire.word(scope).encode(), int(on)]


def again(rest: KeyRest, age_ms: float, *, off: bool) -> list[bytes | int]:
    """What was listed `age_ms` ago, for a store that does not know it; empty where it is over. `off`: what an operator
    turned off too."""
    if rest.for_ms is None:
        return turn(rest.scope, on=False) if off else []
    left = max(0, math.ceil(rest.for_ms - age_ms))
    if not left and not rest.tries:
        return []
    state = next(number for number, name in _STATES.items() if name == rest.state)
    why: list[bytes | int] = [state, rest.status, (rest.key or "-").encode(), (rest.model or "-").encode()]
    return [b"R", rest.scope.encode(), left, rest.every_ms if rest.tries else 0, int(rest.known), *why]


def refused(charge: Charge, ago_ms: int) -> list[bytes | int]:
    """A call that was sent `ago_ms` ago was refused: a learned limit has something to learn."""
    limit = charge.limit
    return [
        b"X",
        wire.word(charge.bucket).encode(),
        limit.slice_ms,
        limit.length_ms,
        max(0, min(ago_ms, wire.MOST >> 10)),
    ]


def given(charge: Charge, amount: int, span_ms: int) -> list[bytes | int]:
    """Headers name the amount, in 1/scale units, for windows of at least `span_ms`: nothing is left to learn."""
    return [b"H", wire.word(charge.bucket).encode(), min(amount, 2**31), min(span_ms, 2**31), charge.limit.length_ms]


RESTS: list[bytes | int] = [b"L"]
"""Asks for the states of keys (explain.question)."""


def rests(answer: bytes) -> tuple[int, tuple[KeyRest, ...]]:
    """Decode the answer to RESTS: the version, and every scope that rests."""
    version, *words = answer.decode().split()
    found = []
    for at in range(0, len(words), 9):
        scope, for_ms, tries, state, status, age_ms, key, model, every = words[at : at + 9]
        found.append(
            KeyRest(
                scope=scope,
                for_ms=None if for_ms == "-1" else int(for_ms),
                tries=tries != "0",
                known=tries != "1",
                state=_STATES[int(state)],
                status=int(status),
                age_ms=int(age_ms),
                key=None if key == "-" else key,
                model=None if model == "-" else model,
                every_ms=int(every),
            )
        )
    return int(version), tuple(found)

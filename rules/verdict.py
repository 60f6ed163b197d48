"""What the rules and the gate say about a call: values that carry their reason.

Plan goes into the gate, Grant or Refuse comes out, or Explained where it was only asked; Lesson is what a reply
taught. The reasons are the codes of
design 4.2: the same word reaches the client's header, the log line and the metric label.

None is changed once made. Those built for every call are not declared frozen: that makes them three times as costly to
build (0.6 us against 0.2 us for three fields), and a call builds a dozen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .policy import Limit


@dataclass(slots=True)
class Charge:
    """What a call takes from one bucket."""

    bucket: str
    """`<limit id>:<hash of scope values>`, what the gate's store calls it."""
    limit: Limit
    cost: int
    """In 1/limit.scale units."""


@dataclass(slots=True)
class Candidate:
    """A key that could serve the call, the limits it draws on, and the scopes whose rest makes it unusable."""

    key: str
    """Key id; the secret never enters the gate."""
    group: str
    blocks: tuple[str, ...]
    charges: tuple[Charge, ...]
    rank: int = 0
    """Keys of the least rank go first: those reserved for the call's tier (limiter 8)."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """One attempt to send a call, as the gate needs it."""

    service: str
    endpoint: str
    model: str | None
    flow: str
    """Who stands in line: the user within the tier. In a lane (gate/standing.py) calls of one flow are served in order
    of priority and age."""
    charges: tuple[Charge, ...]
    """On common limits."""
    candidates: tuple[Candidate, ...]
    max_wait_ms: int
    max_queue: int
    tier: str = ""
    weight: float = 1.0
    """What the tier's users together get of a full limit, against the other tiers' (limiter 9)."""
    priority: int = 0
    """Within the flow, 0 to 9; the highest goes first."""
    observe: bool = False
    """Count, never hold or refuse."""
    replayable: bool = False
    """It can be sent again with another key, so it may try one out that has been of no use."""
    again: str = ""
    """What the call is known by when it comes back after a refusal: a hash of what it asks for. Empty: nothing is
    promised to it."""
    outline: object = field(default=None, compare=False, repr=False)
    """Plans with one and the same outline name the same buckets, keys and scopes and differ in costs and times only, so
    what is derived from those names may be remembered by it. None: nothing is known of that."""


@dataclass(slots=True)
class Taken:
    """A charge that was made, and where: the slice a later settlement must correct."""

    charge: Charge
    slice: int
    """When the slice charged began, in ms of the gate's clock; twin.lua and quota.lua name theirs; 0 in flight."""
    used: int = field(default=0, compare=False)
    """Of the bucket, by everybody and with this charge."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the upstream said about a bucket with its answer to a call that was charged there."""

    taken: Taken
    used: int
    """At least so much is in use, in 1/limit.scale units; 0: nothing that is news."""
    since_ms: int | None
    """The upstream's window began no earlier, in ms of the gate's clock; None: nobody knows, or its bucket refills."""
    refills: bool
    """Its bucket refills, in as long as our window lasts."""
    slack: int
    """Of a bucket that refills: so much more or less than `used` may be in use."""
    whole: int
    """How much it holds, of which `used` is used."""
    for_ms: int
    """Until the upstream's window ends, from its answer."""
    amount: int | None
    """What the bucket holds by the upstream, at most the limit's own amount; None: it did not say for sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a call that went although it did not fit would have been told, were its service enforced (limiter 11)."""

    code: str
    """`held`, or why it would have been refused, as Refuse has it."""
    limit: Limit | None = None
    """The limit that binds, where one does."""
    wait_ms: int | None = None
    """From then until it would have been admitted; None: waiting does not help, or nobody knows."""


@dataclass(slots=True, kw_only=True)
class Grant:
    """Go now, with this key."""

    service: str
    attempt: str
    key: str
    group: str
    taken: tuple[Taken, ...]
    waited_ms: int
    valid_until_ms: float = math.inf
    """By the clock of whoever asked. Later the call must not leave: it is refunded and asks again (limiter.md Q10)."""
    observed: Observed | None = None
    """Of a service that is only observed; None: it fitted."""
    tries: tuple[str, ...] = ()
    """Scopes that rest until a call through them succeeds, and this is one (gate/rests.lua)."""
    made_ms: float = -math.inf
    """It was made no earlier, by the clock of whoever asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Not now: a code of design 4.2, and when it makes sense to come back."""

    code: str
    """wait_too_long, hold_expired, never_fits, queue_full, no_key, no_price, draining, overloaded, or
    store_unavailable."""
    limit: Limit | None = None
    """The limit that binds, where one does."""
    retry_after_ms: int | None = None
    """From now until the earliest moment the call would be admitted; None: waiting does not help, or nobody knows."""
    waited_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How one limit stands for a call, in 1/limit.scale units."""

    charge: Charge
    """The bucket, and what the call would take from it."""
    used: int
    amount: int
    """What may be used of it now: less than the limit's own while a replica is alone (limiter 12)."""
    ahead: int
    """What waiting calls will take before this one; an estimate."""
    fits_ms: int | None
    """From now until the call fits behind those; None: never, or only a call that ends can tell."""
    paced: bool = False
    """There is room earlier: it is the window's pace that spreads the calls until then (limiter 4.2)."""

    @property
    def room(self) -> int:
        """What is free now, waiting calls not counted."""
        return max(0, self.amount - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What the gate would say to a call now (limiter 11). Nothing was charged, and nobody stands in line for it."""

    verdict: str
    """go, wait, refuse."""
    code: str | None = None
    """Why it would be refused, as Refuse has it."""
    key: str | None = None
    """The key it would go with; if it would not go, the one that could serve it first. None: no key may serve it."""
    group: str | None = None
    rests_ms: int = 0
    """How long that key still rests."""
    wait_ms: int | None = None
    """0: it would go now, or as soon as those due before it have gone. For wait and refuse the estimate of when it
    would be admitted, from now; None: waiting does not help, or nobody knows."""
    binds: Charge | None = None
    """The bucket that decides that."""
    rooms: tuple[Room, ...] = ()
    """The common limits, then those of the key."""
    waiting: int = 0
    """Calls of all replicas that wait for the service."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rest a scope: no key that names it in `Candidate.blocks` is granted until the time has passed."""

    scope: str
    for_ms: int
    reason: str
    """slow_down, exhausted, dead, overloaded."""
    status: int = 0
    """What the upstream answered; 0: something else said so."""
    key: str = ""
    """Id of the pool's key that met it; empty: the caller's own, of which nothing is kept."""
    model: str | None = None
    every_ms: int = 0
    """Not 0: it does not end by itself, but when a call that tries it succeeds: the first after `for_ms`, then one in
    so many."""
    known: bool = True
    """It is known that it ends after `for_ms`, so that calls may wait for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a reply taught about keys and scopes; about buckets: Told."""

    blocks: tuple[Block, ...] = ()
    retry: bool = False
    """The call met a limit or a bad key: with another grant it may still succeed."""
    counted: bool = True
    """False: the upstream cannot have counted the call, so it is refunded."""
    meaning: str = "ok"
    """ok, slow_down, exhausted, dead, overloaded, fault."""

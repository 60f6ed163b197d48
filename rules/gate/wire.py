"""Operations and replies as both hosts speak them: flat arguments of bytes and integers (tick.lua lists them).

Law: text from outside is made harmless here (one printable word, never a brace), numbers are integers below 2^53, and
a secret never gets this far. The Lua trusts what it is given. (Values built for every call are not declared frozen:
verdict.py says why.)
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ..periods import next_end
from ..policy import Limit
from ..verdict import Charge, Grant, Observed, Plan, Refuse, Taken
from .lateness import longest_way_ms
from .standing import SHARE, Standing, share, standing

DONE, RESYNC, STALE = 0, 1, 2

MOST = 2**53 - 1
"""The largest amount, cost or time (limiter.md 4.3)."""

ORIGIN_MS = 1_704_067_200_000
"""2024-01-01 UTC in Unix time: where the gate's wall clock begins (limiter.md 4.3)."""

SKEW_MS = 900_000
"""How far apart the clocks of replicas and store may be (limiter.md 17 asks for 10 min): a quota's period that ended
less than this ago is still named, so that the store's clock decides whether it has."""

KEEPS_PLACE, OBSERVE, REPLAYABLE = 1, 2, 4

_KINDS = {"window": "w", "concurrent": "c", "token_bucket": "t", "quota": "q"}

_CODES = ("held", "wait_too_long", "never_fits", "queue_full", "no_key", "store_unavailable", "hold_expired")
_PLAIN = re.compile(r"[!-z|]{1,120}")
_MOST_REMEMBERED = 8192
_LONGEST_REMEMBERED = 256
"""Characters: a user's or a model's name at its longest (head.py, meters/estimate.py)."""
_NAME_AT = 5
"""Place of a frame's name among its words (call.lua)."""

_words: dict[str, str] = {}
_limits: dict[int, tuple[Limit, str]] = {}
_pools: dict[tuple[object, ...], str] = {}
_frames: WeakKeyDictionary[object, tuple[bytes, Standing, float, float]] = WeakKeyDictionary()
"""Outline -> frame, where it stands, and from when until when by the wall clock it holds."""


def word(text: str) -> str:
    """`text` as one word of printable ASCII without braces; anything else becomes its hash."""
    found = _words.get(text)
    if found is None:
        if _PLAIN.fullmatch(text) and not text.startswith("#"):
            found = text
        else:
            found = "#" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        # what is long is no one's that comes often, and remembering it would fill the memory
        if len(text) <= _LONGEST_REMEMBERED:
            if len(_words) >= _MOST_REMEMBERED:
                _words.clear()
            _words[text] = found
    return found


def meta_key(service: str) -> bytes:
    """The one declared key of a tick; the service alone is the hash tag (limiter.md 4)."""
    return f"rl:{{{word(service)}}}:meta".encode()


def kind_of(limit: Limit) -> str:
    """The letter of a limit's kind (bucket.lua)."""
    return "e" if limit.count_at == "end" else _KINDS[limit.kind]


def _limit(limit: Limit) -> str:
    known = _limits.get(id(limit))
    if known is not None and known[0] is limit:
        return known[1]
    if not 0 <= limit.amount <= MOST:
        raise ValueError(f"amount of {limit.id} must be between 0 and 2^53-1")
    one, two = limit.refill if limit.kind == "token_bucket" else (limit.slice_ms, limit.length_ms)
    text = f"{'l' if limit.learned else kind_of(limit)} {limit.amount} {one} {two}"
    if limit.kind == "window":
        text += f" {limit.burst} {limit.busy_burst}"
    if limit.learned:
        text += f" {limit.start} {limit.least_burst}"
    if len(_limits) >= _MOST_REMEMBERED:
        _limits.clear()
    _limits[id(limit)] = (limit, text)
    return text


def _end(limit: Limit, wall_ms: float) -> int:
    """When the quota's period ends, by the gate's wall clock."""
    assert limit.period is not None
    return next_end(limit.period, limit.timezone, math.floor(wall_ms) + ORIGIN_MS) - ORIGIN_MS


def _quota(limit: Limit, wall_ms: float, until: float) -> tuple[str, float]:
    """The quota's words, and until when they hold, at most `until`: two ends, the first maybe just past."""
    if not 0 <= limit.amount <= MOST:
        raise ValueError(f"amount of {limit.id} must be between 0 and 2^53-1")
    end = _end(limit, wall_ms - SKEW_MS)
    return f"q {limit.amount} {end} {_end(limit, end)} {limit.jitter_ms}", min(until, end + SKEW_MS)


def _limits_of(charges: Sequence[Charge], words: list[str], wall_ms: float, until: float) -> float:
    for charge in charges:
        words.append(word(charge.bucket))
        if charge.limit.kind == "quota":
            text, until = _quota(charge.limit, wall_ms, until)
            words.append(text)
        else:
            words.append(_limit(charge.limit))
    return until


def _pool(plan: Plan) -> str:
    """Name of the distinct candidate set: keys and their buckets, whatever the amounts are now."""
    key = tuple([(word(c.key), *[word(charge.bucket) for charge in c.charges]) for c in plan.candidates])
    found = _pools.get(key)
    if found is None:
        found = hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()[:24]
        if len(_pools) >= _MOST_REMEMBERED:
            _pools.clear()
        _pools[key] = found
    return found


@dataclass(slots=True)
class Arrival:
    """A plan in the words of the wire: what does not change while the call waits."""

    frame: bytes
    costs: tuple[int, ...]
    flags: int
    most_waiting: int
    priority: int
    share: int
    standing: Standing
    again: str
    """What the call is known by when it comes back (promise.lua); `-`: nothing."""


def arrival(plan: Plan, *, keeps_place: bool = False, wall_ms: float = 0) -> Arrival:
    """Encode a plan (frame and costs: call.lua). A bucket stands once among the commons and once in a candidate.
    `wall_ms`: the wall clock from ORIGIN_MS; it decides which periods of a quota the gate chooses between.

    Raises ValueError for a cost or amount the gate cannot count.
    """
    known = _frames.get(plan.outline) if plan.outline is not None else None
    if known is None or not known[2] <= wall_ms < known[3]:
        known = _frame(plan, wall_ms)
        if plan.outline is not None:
            _frames[plan.outline] = known
    frame, stands = known[:2]
    costs = [charge.cost for charge in plan.charges]
    taken = len(costs)
    for candidate in plan.candidates:
        costs += [charge.cost for charge in candidate.charges]
    if costs and not (min(costs) >= 0 and max(costs) <= MOST):
        raise ValueError("a cost must be between 0 and 2^53-1")
    flags = (KEEPS_PLACE if keeps_place else 0) + (OBSERVE if plan.observe else 0)
    flags += REPLAYABLE if plan.replayable else 0
    if plan.candidates:
        taken += len(plan.candidates[0].charges)
    part = min(share(costs[:taken], stands.bases), SHARE)
    return Arrival(
        frame, tuple(costs), flags, plan.max_queue, min(max(plan.priority, 0), 9), part, stands, word(plan.again or "-")
    )


def _frame(plan: Plan, wall_ms: float) -> tuple[bytes, Standing, float, float]:
    stands = standing(plan)
    words = [_pool(plan), str(len(plan.candidates)), str(len(plan.charges)), stands.line_class, str(stands.weight)]
    until = _limits_of(plan.charges, words, wall_ms, math.inf)
    for candidate in plan.candidates:
        words += (word(candidate.key), word(candidate.group), str(candidate.rank))
        words += (str(len(candidate.blocks)), str(len(candidate.charges)))
        words += map(word, candidate.blocks)
        until = _limits_of(candidate.charges, words, wall_ms, until)
    # its name is its content's, so that replicas that know nothing of one another give it the same one
    words.insert(_NAME_AT, hashlib.sha256(" ".join(words).encode()).hexdigest()[:24])
    # a clock that steps back less stays in the periods named, further back they are looked up anew
    since = wall_ms - SKEW_MS if until < math.inf else -math.inf
    return " ".join(words).encode(), stands, since, until


def arrive(n: int, age_ms: int, wait_ms: int, what: Arrival) -> list[bytes | int]:
    """A call enters: enqueued `age_ms` ago, willing to wait `wait_ms` from now."""
    stands = what.standing
    head: list[bytes | int] = [
        b"A",
        n,
        age_ms,
        wait_ms,
        what.flags,
        what.most_waiting,
        stands.flow.encode(),
        what.priority,
        what.share,
        what.again.encode(),
    ]
    return [*head, what.frame, *what.costs]


def correct(stands: Standing, delta: int) -> list[bytes | int]:
    """What a flow has had is `delta` more (or less) than it was charged at grant, in 1/SHARE."""
    return [b"F", stands.line_class.encode(), stands.flow.encode(), max(-MOST, min(delta, MOST))]


def settle(charge: Charge, slice_: int, delta: int) -> list[bytes | int]:
    """Correct the slice that was charged by `delta` = actual - charged. Slice -1: wherever it was, count it now.

    A token bucket knows its charge by its time, a quota by its period (twin.lua, quota.lua); the latter is never -1.
    """
    limit = charge.limit
    one, two = limit.slice_ms, limit.length_ms
    if limit.kind == "token_bucket":
        one, two = limit.refill
    elif limit.kind == "quota":
        one, two = 0, _end(limit, slice_ // 2) if slice_ % 2 else 0
    return [b"S", kind_of(limit).encode(), word(charge.bucket).encode(), one, two, slice_, charge.cost, delta]


@dataclass(slots=True)
class Granted:
    """A grant as the host says it."""

    n: int
    candidate: int
    """Index in Plan.candidates."""
    fullest: int
    """Place among the charges of the fullest bucket, from 1; 0: the call charges nothing."""
    slices: tuple[int, ...]
    uses: tuple[int, ...]
    """Of each bucket charged, by everybody and with this grant."""
    pushed: bool
    """Made by another replica's tick: it must be acknowledged."""
    age_ms: int = 0
    """How old it was when the reply was made."""
    observed: Refused | None = None
    """What an observed call would have been told; code `held`: to wait."""
    tries: bool = False
    """Its outcome tells whether a resting key is back."""
    learned: int | None = None
    """How much of the limit that is being found out may be used now; None: the call is on no such limit."""

    def grant(self, plan: Plan, attempt: str, waited_ms: int, made_ms: float = math.inf) -> Grant:
        """The verdict for the call whose plan this answers. `made_ms`: the charge is no older than that, by the
        caller's clock."""
        candidate = plan.candidates[self.candidate]
        charges = (*plan.charges, *candidate.charges)
        stood = zip(charges, self.slices, self.uses, strict=True)
        taken = tuple([Taken(charge, slice_, used) for charge, slice_, used in stood])
        return Grant(
            service=plan.service,
            attempt=attempt,
            key=candidate.key,
            group=candidate.group,
            taken=taken,
            waited_ms=waited_ms,
            valid_until_ms=math.inf if plan.observe else made_ms + longest_way_ms(charges),
            observed=self.observed.observe(plan) if self.observed is not None else None,
            tries=candidate.blocks if self.tries else (),
            made_ms=made_ms,
        )


def charge_at(plan: Plan, position: int) -> Charge | None:
    """The charge at a place in the costs, from 1; None for 0."""
    if position == 0:
        return None
    charges = [*plan.charges, *[charge for c in plan.candidates for charge in c.charges]]
    return charges[position - 1]


def limit_at(plan: Plan, position: int) -> Limit | None:
    """The limit of that charge."""
    charge = charge_at(plan, position)
    return charge.limit if charge is not None else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as the host says it."""

    n: int
    code: str
    position: int
    """Place in the costs of the limit that binds, from 1; 0: none."""
    wait_ms: int | None

    def refuse(self, plan: Plan, waited_ms: int) -> Refuse:
        """The verdict for the call whose plan this answers."""
        limit = limit_at(plan, self.position)
        return Refuse(code=self.code, limit=limit, retry_after_ms=self.wait_ms, waited_ms=waited_ms)

    def observe(self, plan: Plan) -> Observed:
        """The same, of an observed call that was granted."""
        return Observed(code=self.code, limit=limit_at(plan, self.position), wait_ms=self.wait_ms)


@dataclass(frozen=True, slots=True)
class Seen:
    """How things stand for a call that only asked, as the host says it."""

    n: int
    candidate: int
    """Index in Plan.candidates: the one it would get, or that fits earliest."""
    rests_ms: int
    wait_ms: int | None
    rooms: tuple[tuple[int, int, int, int | None, bool], ...]
    """Used, amount, ahead, when it fits, and whether that is for its pace, of each common limit and each of the
    candidate's."""


@dataclass(slots=True)
class Reply:
    """What a tick answered."""

    age_ms: int
    """How long ago, by the store's clock: 0 unless the tick is a repeated one."""
    status: int
    epoch: int
    next_ms: int | None
    """When a tick could grant something, from now; None: nothing waits for a time."""
    rank: int
    replicas: int
    waiting: int
    """Calls waiting for the service, on all replicas."""
    version: int
    """Another one: what is known of keys has changed."""
    granted: tuple[Granted, ...]
    refused: tuple[Refused, ...]
    held: tuple[tuple[int, int], ...]
    """(n, place in the costs of the limit that binds, from 1; 0: none) of arrivals that wait."""
    seen: tuple[Seen, ...]
    """Of arrivals that only ask."""


def reply(answer: bytes) -> Reply:
    """Decode a reply of either host."""
    numbers = list(map(int, answer.split()))
    age, status, epoch, next_ms, rank, replicas, waiting, version = numbers[:8]
    granted: list[Granted] = []
    refused: list[Refused] = []
    held: list[tuple[int, int]] = []
    seen: list[Seen] = []
    observed: Refused | None = None
    tries, learned = False, None
    at, end = 8, len(numbers)
    while at < end:
        kind = numbers[at]
        if kind in (1, 3):
            n, candidate, fullest, count = numbers[at + 1 : at + 5]
            first, at, pushed = at + 5, at + 5 + 2 * count, kind == 3
            slices, uses = tuple(numbers[first:at:2]), tuple(numbers[first + 1 : at : 2])
            age_ms = numbers[at] if pushed else 0
            granted.append(Granted(n, candidate - 1, fullest, slices, uses, pushed, age_ms, observed, tries, learned))
            observed, tries, learned = None, False, None
            at += pushed
        elif kind == 7:
            tries = True
            at += 2
        elif kind == 8:
            learned = numbers[at + 2]
            at += 3
        elif kind == 4:
            held.append((numbers[at + 1], numbers[at + 2]))
            at += 3
        elif kind == 5:
            n, candidate, rests_ms, wait, count = numbers[at + 1 : at + 6]
            at += 6 + 5 * count
            rows = [numbers[i : i + 5] for i in range(at - 5 * count, at, 5)]
            rooms = tuple(
                [(used, amount, ahead, _known(fits), paced == 1) for used, amount, ahead, fits, paced in rows]
            )
            seen.append(Seen(n, candidate - 1, rests_ms, _known(wait), rooms))
        else:
            code, position, wait = numbers[at + 2 : at + 5]
            told = Refused(numbers[at + 1], _CODES[code], position, _known(wait))
            if kind == 2:
                refused.append(told)
            else:
                observed = told
            at += 5
    look = None if next_ms < 0 else next_ms
    head = (age, status, epoch, look, rank, replicas, waiting, version)
    return Reply(*head, tuple(granted), tuple(refused), tuple(held), tuple(seen))


def _known(wait: int) -> int | None:
    return None if wait < 0 else wait

"""A limit as written -> Limit: integers, a stable id, and how finely its window is cut.

Law: the amount is no part of the id, so a limit that is raised keeps its bucket; everything else that changes what is
counted is (limiter 4.3, Q19). So a limit that gets another window, kind or scope begins with an empty bucket, and for
one window up to the old amount and the new one may go. Whatever cannot be exact is rounded to the stricter side.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .forms import LimitForm
from .ground import Ground, Loc
from .policy import METERS, SCOPES, Kind, Limit

MAX_COUNT = 2**53  # the gate counts in doubles (limiter 4.3)
MICROCENT = 100_000_000
"""Money is counted in hundred-millionths of a USD. The cheapest token on sale costs half of one (provider-facts 5.1,
gpt-5-nano from its cache), a call is rounded up by less than one; a limit may be of 90 million USD, and as much as
90,000 USD may wait (thousandths of cost are counted then, bucket.lua)."""
OTHERS = "others"
_WHOLE = ("requests", "tokens", "input_tokens", "output_tokens", "images", "units")
"""Meters whose smallest single cost is 1, unless fractions of it are counted."""
# A rate p/q and a share of a thousandth of it are multiplied in doubles: p * q * 1000 stays below 2^53 (twin.lua).
_MOST_PRODUCT = 2**53 // 1000
_LEAST_PRECISION = 1000
_LEAST_PACED = 10
"""Smallest amount of a window that is paced unless `burst` says so: fewer calls make no even flow, and who has five a
minute expects to send five."""
_PACED_BELOW_MS = 3_600_000
"""Windows of an hour or more are paced only where `burst` says so: what a team may use in a day it expects to be able
to use now; in a shorter one it would wait for the user who burnt it (limiter 4.2)."""


@dataclass(frozen=True, slots=True)
class Written:
    """A limit's form, and where it stands."""

    form: LimitForm
    ground: Ground
    loc: Loc
    meter: str | None = None
    """The meter of a section named after one (`openai_tokens`): its limits are of that meter whatever they say."""
    factor: float = 1.0
    """What its amount is multiplied by (`whisper_minutes`: 60 seconds)."""

    def reading(self) -> tuple[str, float]:
        """Meter and amount in natural units."""
        form = self.form
        if form.concurrent is not None:
            return "concurrent", form.concurrent
        if form.audio_minutes is not None:
            return self.meter or "audio_seconds", form.audio_minutes * 60
        if form.capacity is not None:
            return self.meter or form.meter or "requests", form.capacity * self.factor
        meter, amount = next((name, getattr(form, name)) for name in METERS if getattr(form, name) is not None)
        return self.meter or meter, amount * self.factor

    def rate(self) -> Fraction:
        """What a bucket refills a second, in natural units, exactly as written."""
        return Fraction(repr(self.form.refill_rate or 0.0)) * Fraction(self.factor)


class _Impossible(ValueError):
    """A limit no policy can hold, and why."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a limit counts over: its kind, the words for it in ids and names, and the fields of its kind."""

    kind: Kind
    identity: str
    span: str
    count: int
    fields: dict[str, Any]
    amount: float
    """In natural units, as people wrote it."""


def compile_limits(
    written: Sequence[Written], *, jitter_ms: int, fractional_requests: bool, place: str = ""
) -> tuple[Limit, ...]:
    """All limits of one list. Mistakes go to each limit's ground. `place` names the endpoint or part they belong to."""
    compiled: dict[str, Limit] = {}
    for one in written:
        meter, amount = one.reading()
        per = tuple(scope for scope in SCOPES if scope in one.form.per)
        models = tuple(one.form.models or ())
        scale = _scale(meter, amount, fractional_requests)
        count = round(amount * scale, 6)
        if count >= MAX_COUNT:
            one.ground.wrong(one.loc, f"the amount is too large to be counted exactly ({meter} in 1/{scale})")
            continue
        if 0 < count < 1 or (amount and not count):
            one.ground.wrong(one.loc, f"the amount is smaller than what can be counted ({meter} in 1/{scale})")
            continue
        try:
            shapes = list(_shapes(one, meter, amount, scale, jitter_ms))
        except _Impossible as impossible:
            one.ground.wrong(one.loc, str(impossible))
            continue
        for shape in shapes:
            limit = Limit(
                id=_identity(meter, shape.identity, per, models, place),
                name=_name(meter, shape, per, models),
                kind=shape.kind,
                meter=meter,
                amount=shape.count,
                scale=scale,
                per=per,
                models=_patterns(models, meter, written),
            )
            if limit.id in compiled:
                one.ground.wrong(one.loc, "stands here twice: the same meter, window, scope and models")
            else:
                compiled[limit.id] = replace(limit, **shape.fields)
    return tuple(compiled.values())


def _shapes(one: Written, meter: str, amount: float, scale: int, jitter_ms: int) -> Iterator[_Shape]:
    """The limit itself, and the one its quantum adds."""
    form = one.form
    count = math.floor(round(amount * scale, 6))
    if meter == "concurrent":
        yield _Shape("concurrent", "", "in flight", count, {}, amount)
    elif form.capacity is not None:
        yield _bucket(meter, amount, one.rate(), scale, jitter_ms)
    elif form.window == "day" or form.window == "month":
        zone = form.timezone or "UTC"
        fields = {"period": form.window, "timezone": zone, "jitter_ms": jitter_ms}
        yield _Shape("quota", f"{form.window}-{zone}", f"{meter} per {form.window} ({zone})", count, fields, amount)
    else:
        assert form.window is not None
        asked = None if form.burst is None else form.burst * one.factor
        yield _window(meter, amount, count, form.window, jitter_ms, scale=scale, burst=asked, count_at=form.count_at)
        if form.quantum is not None:
            # N/q per W/q: the amount rounded down, the time up, so never more than the provider lets through
            part = count // form.quantum
            if count and part < (scale if meter in _WHOLE else 1):
                raise _Impossible(f"quantum leaves less than one of {meter} per part of the window")
            of_part = None if asked is None else asked / form.quantum
            yield _window(
                meter,
                part / scale,
                part,
                math.ceil(form.window / form.quantum),
                jitter_ms,
                scale=scale,
                burst=of_part,
                count_at=form.count_at,
            )


def _window(
    meter: str,
    amount: float,
    count: int,
    window_ms: int,
    jitter_ms: int,
    *,
    scale: int,
    burst: float | None,
    count_at: str,
) -> _Shape:
    fields = {
        "window_ms": window_ms,
        "jitter_ms": jitter_ms,
        "slices": _slices(window_ms),
        "burst": _burst(count, window_ms + jitter_ms, scale, burst),
        "count_at": count_at,
    }
    return _Shape("window", _span(window_ms), f"{meter} per {_span(window_ms)}", count, fields, amount)


def _burst(count: int, length_ms: int, scale: int, asked: float | None) -> int:
    """What may leave at once: half the window unless `burst` says otherwise (limiter 4.2); 0 where it is all of it.

    Raises _Impossible where the even flow cannot be counted exactly (pace.lua multiplies N by L).
    """
    countable = count * length_ms < MAX_COUNT
    if asked is None:
        paced = count >= _LEAST_PACED * scale and length_ms < _PACED_BELOW_MS and countable
        return math.ceil(count / 2) if paced else 0
    burst = max(1, math.floor(round(asked * scale, 6)))
    if burst >= count:
        return 0
    if not countable:
        raise _Impossible("burst cannot be kept exactly for so much in so long a window: leave it out")
    return burst


def _bucket(meter: str, capacity: float, rate: Fraction, scale: int, jitter_ms: int) -> _Shape:
    """The twin of a bucket of C that refills at `rate` a second: B = C - rate x J at the same rate (limiter 14).

    Where that is less than one call, calls of one leave one at a time, 1/rate + J apart (the same table, "GCRA without
    burst"). Raises _Impossible where neither can be.
    """
    count = math.floor(round(capacity * scale, 6))
    per_ms = rate * scale / 1000
    burst = count - math.ceil(per_ms * jitter_ms)
    if burst < (scale if meter in _WHOLE else 1):
        if not (meter == "requests" and scale == 1 and count >= 1):
            raise _Impossible(
                f"capacity must be larger than what refills within the jitter of {jitter_ms}ms: "
                "no order of calls can be safe else"
            )
        burst, per_ms = 1, per_ms / (1 + per_ms * jitter_ms)
    units, in_ms = _fraction(per_ms)
    fields = {"refill": (units, in_ms), "window_ms": math.ceil(count / per_ms), "jitter_ms": jitter_ms}
    span = f"{meter} refilled at {float(rate):.15g} per second"
    return _Shape("token_bucket", "bucket", span, burst, fields, capacity)


def _fraction(per_ms: Fraction) -> tuple[int, int]:
    """The rate as the gate multiplies it: itself, or the nearest below that stays exact in doubles."""
    if per_ms.numerator * per_ms.denominator < _MOST_PRODUCT:
        return per_ms.numerator, per_ms.denominator
    in_ms = max(1, math.isqrt(math.floor(_MOST_PRODUCT / per_ms)))
    units = math.floor(per_ms * in_ms)
    if units < _LEAST_PRECISION or units * in_ms >= _MOST_PRODUCT:
        raise _Impossible("refillRate cannot be counted exactly: write it with fewer digits")
    below = Fraction(units, in_ms)
    return below.numerator, below.denominator


def _slices(window_ms: int) -> int:
    """k (limiter 4.1): 240 for windows of a minute and more, 60 below, 96 for a day and more; at least 1 ms each."""
    wanted = 96 if window_ms >= 86_400_000 else 240 if window_ms >= 60_000 else 60
    return max(1, min(wanted, window_ms))


def _scale(meter: str, amount: float, fractional_requests: bool) -> int:
    if meter == "usd":
        return MICROCENT
    if meter == "audio_seconds" or (meter == "requests" and fractional_requests) or amount != int(amount):
        return 1000
    return 1


def _patterns(models: tuple[str, ...], meter: str, written: Iterable[Written]) -> tuple[str, ...]:
    """`others` becomes what it means: none of the models that other limits of this meter name."""
    if models != (OTHERS,):
        return models
    named = {
        pattern
        for one in written
        if one.reading()[0] == meter
        for pattern in one.form.models or ()
        if pattern != OTHERS and not pattern.startswith("!")
    }
    return tuple(f"!{pattern}" for pattern in sorted(named))


def _span(window_ms: int) -> str:
    return f"{window_ms // 1000}s" if window_ms % 1000 == 0 else f"{window_ms}ms"


def _identity(meter: str, over: str, per: tuple[str, ...], models: tuple[str, ...], place: str) -> str:
    parts = [meter, *([over] if over else []), ".".join(per) or "all"]
    if models or place:
        told = "\x00".join((place, *sorted(models)))
        parts.append(hashlib.blake2b(told.encode(), digest_size=3).hexdigest())
    return "-".join(parts)


def _name(meter: str, shape: _Shape, per: tuple[str, ...], models: tuple[str, ...]) -> str:
    scope = f" per {', '.join(per)}" if per else ""
    some = ", ".join(models[:2]) + (", …" if len(models) > 2 else "")
    return f"{shape.amount:.15g} {shape.span}{scope}" + (f" for {some}" if models else "")

"""A limit as written -> Limit: integers, a stable id, and how finely its window is cut.

Law: the amount is no part of the id, so a limit that is raised keeps its bucket; everything else that changes what is
counted is (limiter 4.3, Q19).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .forms import LimitForm
from .ground import Ground, Loc
from .policy import METERS, SCOPES, Limit

MAX_COUNT = 2**53  # the gate counts in doubles (limiter 4.3)
OTHERS = "others"


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

    def reading(self) -> tuple[str, float, int]:
        """Meter, amount in natural units, window in ms (0: in flight)."""
        form = self.form
        if form.concurrent is not None:
            return "concurrent", form.concurrent, 0
        if form.capacity is not None and form.refill_rate is not None:
            # A sliding window of N per W conforms to the bucket of capacity N and rate N/W (limiter 14), so the
            # bucket is kept as a window until the gate has a twin of it. Rounded up: never faster than the bucket.
            window_ms = math.ceil(form.capacity / form.refill_rate * 1000)
            return self.meter or form.meter or "requests", form.capacity * self.factor, window_ms
        meter, amount = next((name, getattr(form, name)) for name in METERS if getattr(form, name) is not None)
        return self.meter or meter, amount * self.factor, form.window or 0


def compile_limits(
    written: Sequence[Written], *, jitter_ms: int, fractional_requests: bool, place: str = ""
) -> tuple[Limit, ...]:
    """All limits of one list. Mistakes go to each limit's ground. `place` names the endpoint or part they belong to."""
    readings = [(one, *one.reading()) for one in written]
    compiled: dict[str, Limit] = {}
    for one, meter, amount, window_ms in readings:
        per = tuple(scope for scope in SCOPES if scope in one.form.per)
        models = tuple(one.form.models or ())
        limit = Limit(
            id=_identity(meter, window_ms, per, models, place),
            name=_name(meter, amount, window_ms, per, models),
            kind="concurrent" if meter == "concurrent" else "window",
            meter=meter,
            amount=0,
            window_ms=window_ms,
            jitter_ms=jitter_ms if window_ms else 0,
            slices=_slices(window_ms),
            per=per,
            models=_patterns(models, meter, written),
        )
        scale = _scale(meter, amount, fractional_requests)
        count = math.floor(round(amount * scale, 6))
        if count >= MAX_COUNT:
            one.ground.wrong(one.loc, f"the amount is too large to be counted exactly ({meter} in 1/{scale})")
        elif limit.id in compiled:
            one.ground.wrong(one.loc, "stands here twice: the same meter, window, scope and models")
        else:
            compiled[limit.id] = replace(limit, amount=count, scale=scale)
    return tuple(compiled.values())


def _slices(window_ms: int) -> int:
    """k (limiter 4.1): 240 for windows of a minute and more, 60 below, 96 for a day and more; at least 1 ms each."""
    wanted = 96 if window_ms >= 86_400_000 else 240 if window_ms >= 60_000 else 60
    return max(1, min(wanted, window_ms))


def _scale(meter: str, amount: float, fractional_requests: bool) -> int:
    if meter == "usd":
        return 1_000_000
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


def _identity(meter: str, window_ms: int, per: tuple[str, ...], models: tuple[str, ...], place: str) -> str:
    parts = [meter, *([_span(window_ms)] if window_ms else []), ".".join(per) or "all"]
    if models or place:
        told = "\x00".join((place, *sorted(models)))
        parts.append(hashlib.blake2b(told.encode(), digest_size=3).hexdigest())
    return "-".join(parts)


def _name(meter: str, amount: float, window_ms: int, per: tuple[str, ...], models: tuple[str, ...]) -> str:
    unit = "in flight" if meter == "concurrent" else f"{meter} per {_span(window_ms)}"
    scope = f" per {', '.join(per)}" if per else ""
    some = ", ".join(models[:2]) + (", …" if len(models) > 2 else "")
    return f"{amount:.15g} {unit}{scope}" + (f" for {some}" if models else "")

"""Rate-limit headers and error bodies of the providers, read into one form.

Law: what a provider means stands in tables, one per dialect; the code below only looks things up. A reply is untrusted:
no header or body makes `read` raise, no time leaves it above 24 hours, and none of its text leaves at all.
Sources: provider-facts 1.4 (headers), 1.5 (grammars), 1.6 (what an error means), 1.7 and 1.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from . import times
from .errorbodies import ErrorBody, read_error
from .policy import Meaning as Meaning

Scope = Literal["group_model", "group", "key"]
Field = Literal["limit", "remaining", "used", "reset"]

_AMOUNT = 2**53
"""Amounts from here on are not believed: the gate cannot count them (limiter 4.3)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the headers say about one limit. None: not said, or not believable."""

    meter: str
    limit: int | None
    remaining: int | None
    reset_ms: int | None
    """From now. OpenAI and Groq: until the bucket is full; others: until the window ends (provider-facts 1.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply means for the limits and keys."""

    meaning: Meaning
    """ok · slow_down: wait, same key · exhausted: not before a date or a payment · dead: take the key out ·
    overloaded: the upstream's own trouble · fault: teaches nothing about limits and keys."""
    retry_after_ms: int | None
    """1 to 86,400,000; None: the reply names no time that can be believed, or a wait does not help."""
    scope: Scope
    """The narrowest scope that should rest (limiter Q16)."""
    counted: bool
    """False: the upstream cannot have charged the call to the group, because it did not accept the key."""
    limits: tuple[Seen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    meaning: Meaning
    statuses: tuple[int, ...]
    codes: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()
    """In lower case. A rule without codes and phrases holds for its statuses alone."""
    scope: Scope | None = None
    """None: the dialect's."""
    until: Callable[[float], int] | None = None
    """When it ends, where the reply does not say or misleads."""
    timed: bool = True
    """False: a time in the reply means nothing."""

    def holds(self, status: int, error: ErrorBody) -> bool:
        if status not in self.statuses:
            return False
        if not self.codes and not self.phrases:
            return True
        return not self.codes.isdisjoint(error.codes) or any(phrase in error.message for phrase in self.phrases)


@dataclass(frozen=True, slots=True)
class _Dialect:
    rules: tuple[_Rule, ...]
    """The first that holds decides."""
    headers: Mapping[bytes, tuple[str, Field]]
    """Header name in lower case -> (limit, field). A limit is a meter, or a meter behind a slash: `project/tokens`."""
    scope: Scope


def _headers(pattern: str, limits: Mapping[str, str]) -> dict[bytes, tuple[str, Field]]:
    fields: tuple[Field, ...] = ("limit", "remaining", "reset")
    return {
        pattern.format(field=field, name=name).encode(): (to, field) for name, to in limits.items() for field in fields
    }


_CLIENT_ERRORS = (400, 401, 402, 403, 404, 429)

_AFTER_ALL = (
    _Rule(meaning="slow_down", statuses=(429,)),
    _Rule(meaning="exhausted", statuses=(402,), scope="group"),
    _Rule(meaning="dead", statuses=(401,), scope="key"),
    _Rule(meaning="overloaded", statuses=(503, 529)),
)
"""What a status means when nothing more is known. 403 is not here: it is about the resource, the agent or the address
far more often than about the key, and a client must not be able to kill a pool by asking for what is forbidden."""

_OPENAI = (
    _Rule(
        meaning="exhausted",
        statuses=(402, 403, 429),
        codes=frozenset(
            (
                *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),
                *("project_spend_limit_exceeded", "organization_spend_limit_exceeded"),
            )
        ),
        phrases=("exceeded your current quota",),
        scope="group",
        timed=False,
    ),
    # About our address, or about headers the client sent beside the key.
    _Rule(
        meaning="fault",
        statuses=(401, 403),
        codes=frozenset(
            (
                *("ip_not_authorized", "unsupported_country_region_territory"),
                *("mismatched_organization", "mismatched_project", "invalid_organization"),
            )
        ),
        phrases=("ip not authorized", "ip is not authorized", "your ip", "openai-organization", "openai-project"),
    ),
    # Azure's words too (1.6): capacity, not quota.
    _Rule(
        meaning="overloaded",
        statuses=(429, 503),
        phrases=("overloaded", "experiencing high demand", "temporarily unable"),
    ),
    _Rule(meaning="slow_down", statuses=(503,), codes=frozenset(("slow_down",)), phrases=("slow down",)),
)

_ANTHROPIC = (
    _Rule(
        meaning="exhausted",
        statuses=(429,),
        codes=frozenset(("enforced_spend_limit_reached",)),
        scope="group",
        until=times.until_utc_month,
    ),
    _Rule(
        meaning="exhausted",
        statuses=_CLIENT_ERRORS,
        codes=frozenset(("billing_error",)),
        phrases=("api usage limits", "credit balance is too low"),
        scope="group",
        timed=False,
    ),
)

_GOOGLE = (
    # A daily quota: the short retryDelay beside it misleads (1.6).
    _Rule(
        meaning="exhausted",
        statuses=(403, 429),
        codes=frozenset(("quotaExceeded", "dailyLimitExceeded", "quota:PerDay")),
        scope="group",
        until=times.until_pacific_midnight,
    ),
    _Rule(
        meaning="exhausted",
        statuses=(402, 403, 429),
        phrases=("prepayment credits are depleted", "billing cap"),
        scope="group",
        timed=False,
    ),
    _Rule(
        meaning="slow_down",
        statuses=(403, 429),
        codes=frozenset(("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "quota:PerMinute")),
    ),
    _Rule(
        meaning="dead",
        statuses=(400, 401, 403),
        codes=frozenset(
            (
                *("keyInvalid", "API_KEY_INVALID", "keyExpired", "accessNotConfigured", "SERVICE_DISABLED"),
                *("API_KEY_SERVICE_BLOCKED", "CONSUMER_SUSPENDED"),
            )
        ),
        phrases=("reported as leaked",),
        scope="key",
    ),
)

_X = (
    _Rule(
        meaning="exhausted",
        statuses=(402, 429),
        codes=frozenset(("UsageCapExceeded", "CreditsDepleted")),
        scope="group",
        timed=False,
    ),
    _Rule(
        meaning="dead",
        statuses=(403,),
        codes=frozenset(("client-not-enrolled", "416")),  # 416: invalid or suspended application
        scope="key",
    ),
)

_TIKTOK = (
    _Rule(
        meaning="exhausted",
        statuses=(429,),
        codes=frozenset(("daily_quota_limit_exceeded",)),
        scope="group",
        until=times.until_utc_midnight,
    ),
    _Rule(meaning="fault", statuses=(401, 403), codes=frozenset(("scope_not_authorized",))),
)

_OPENAI_HEADERS = _headers(
    "x-ratelimit-{field}-{name}",
    {"requests": "requests", "tokens": "tokens", "project-tokens": "project/tokens", "audio-seconds": "audio_seconds"},
)
_DIALECTS = {
    "openai": _Dialect(_OPENAI, _OPENAI_HEADERS, "group_model"),
    # Priority Tier and fast mode have buckets of their own and are left out.
    "anthropic": _Dialect(
        _ANTHROPIC,
        _headers(
            "anthropic-ratelimit-{name}-{field}",
            {
                "requests": "requests",
                "tokens": "tokens",
                "input-tokens": "input_tokens",
                "output-tokens": "output_tokens",
            },
        ),
        "group_model",
    ),
    "reddit": _Dialect(
        (), _headers("x-ratelimit-{field}", {"": "requests"}) | {b"x-ratelimit-used": ("requests", "used")}, "group"
    ),
    "x": _Dialect(_X, _headers("x-rate-limit-{field}", {"": "requests"}), "group"),
    "youtube": _Dialect(_GOOGLE, {}, "group"),
    "google": _Dialect(_GOOGLE, {}, "group_model"),
    "tiktok": _Dialect(_TIKTOK, {}, "group"),
    "generic": _Dialect(
        (),
        {
            **_OPENAI_HEADERS,
            **_headers("ratelimit-{field}", {"": "requests"}),
            **_headers("x-rate-limit-{field}", {"": "requests"}),
            **_headers("x-ratelimit-{field}", {"": "requests"}),
            b"x-ratelimit-used": ("requests", "used"),
        },
        "group_model",
    ),
}
NAMES = tuple(_DIALECTS)
"""`youtube` is `google` for a service without models. A name not listed is read as `generic`."""

_NOTHING = ErrorBody()


def in_stream(dialect: str, meaning: Meaning) -> Reading:
    """What a failure reported inside a stream means: nothing says how long it lasts, and the call was counted."""
    speaker = _DIALECTS.get(dialect) or _DIALECTS["generic"]
    return Reading(meaning=meaning, retry_after_ms=None, scope=speaker.scope, counted=True, limits=())


def read(dialect: str, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, now_s: float) -> Reading:
    """Read a reply's status, headers and, for errors, body (whole, as it came: gzip and deflate are unpacked).

    `now_s` is Unix time, for dates. Order of belief for the wait: `retry-after-ms`, `Retry-After`, the body's own
    words, the latest reset of a limit that has nothing left.
    """
    speaker = _DIALECTS.get(dialect) or _DIALECTS["generic"]
    limits = _limits(speaker.headers, headers, now_s)
    if status < 400:
        return Reading(meaning="ok", retry_after_ms=None, scope=speaker.scope, counted=True, limits=limits)
    error = read_error(body, _coding(headers)) if body else _NOTHING
    rule = next((rule for rule in (*speaker.rules, *_AFTER_ALL) if rule.holds(status, error)), None)
    # A request larger than its limit is refused for ever (1.6): no wait helps.
    if rule is None or (rule.meaning == "slow_down" and error.never_fits):
        return Reading(meaning="fault", retry_after_ms=None, scope=speaker.scope, counted=True, limits=limits)
    return Reading(
        meaning=rule.meaning,
        retry_after_ms=_wait(rule, headers, error, limits, now_s),
        scope=rule.scope or speaker.scope,
        counted=rule.meaning != "dead",
        limits=limits,
    )


def stream_meaning(code: str) -> Meaning:
    """What an error code inside a stream that began with 200 means (provider-facts 1.6, "in a stream")."""
    if code in ("rate_limit_exceeded", "rate_limit_error", "slow_down", "429"):
        return "slow_down"
    if code in ("overloaded_error", "server_is_overloaded", "503", "529"):
        return "overloaded"
    exhausted = any(rule.meaning == "exhausted" and code in rule.codes for rule in (*_OPENAI, *_ANTHROPIC))
    return "exhausted" if exhausted else "fault"


def _coding(headers: Sequence[tuple[bytes, bytes]]) -> str:
    return next((times.text(value).lower() for name, value in headers if name.lower() == b"content-encoding"), "")


def _wait(
    rule: _Rule, headers: Sequence[tuple[bytes, bytes]], error: ErrorBody, limits: tuple[Seen, ...], now_s: float
) -> int | None:
    if rule.meaning == "dead" or not rule.timed:
        return None
    if rule.until is not None:
        return times.bounded_ms(rule.until(now_s))
    found = _retry_after(headers, now_s)
    if found is None:
        found = error.retry_ms
    if found is None:
        found = max((seen.reset_ms for seen in limits if seen.remaining == 0 and seen.reset_ms), default=None)
    return found


def _retry_after(headers: Sequence[tuple[bytes, bytes]], now_s: float) -> int | None:
    milliseconds = seconds = None
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"retry-after-ms":
            milliseconds = times.milliseconds(times.text(value))
        elif lowered == b"retry-after":
            seconds = times.retry_after(times.text(value), now_s)
    return milliseconds if milliseconds is not None else seconds


def _limits(
    table: Mapping[bytes, tuple[str, Field]], headers: Sequence[tuple[bytes, bytes]], now_s: float
) -> tuple[Seen, ...]:
    if not table:
        return ()
    said: dict[str, dict[Field, int]] = {}
    for name, value in headers:
        place = table.get(name.lower())
        if place is None:
            continue
        limit, field = place
        written = times.text(value)
        found = times.reset(written, now_s) if field == "reset" else times.whole(written, _AMOUNT)
        if found is not None:
            said.setdefault(limit, {})[field] = found
    return tuple(_seen(limit, fields) for limit, fields in said.items())


def _seen(limit: str, fields: dict[Field, int]) -> Seen:
    total, remaining, used = fields.get("limit"), fields.get("remaining"), fields.get("used")
    if total is None and used is not None and remaining is not None:
        total = used + remaining  # Reddit names no limit
    return Seen(limit.rpartition("/")[2], total, remaining, fields.get("reset"))

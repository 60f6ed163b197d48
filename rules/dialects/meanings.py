"""What an error means, per provider: tables of provider-facts 1.6, the first rule that holds decides.

Law: what a provider means stands here and nowhere else. A code or word that is not in a table means what its status
means (AFTER_ALL); a client must not be able to take a pool out by asking for what is forbidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .. import times
from ..errorbodies import ErrorBody
from ..policy import Meaning as Meaning
from .seen import Fields, Seen

Scope = Literal["endpoint", "group_model", "group", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All that is given must hold; of codes and phrases one is enough."""

    meaning: Meaning
    statuses: tuple[int, ...]
    codes: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()
    """In lower case."""
    spent: str | None = None
    """The limit, as the header table names it, that has nothing left."""
    header: tuple[bytes, tuple[bytes, ...]] | None = None
    """A field, and the values one of which it has; no values: the field is not there."""
    scope: Scope | None = None
    """None: the dialect's."""
    until: Callable[[float], int] | None = None
    """When it ends, where the reply does not say or misleads."""
    timed: bool = True
    """False: a time in the reply means nothing."""
    or_ms: int | None = None
    """How long, where the reply names no time."""

    def holds(self, status: int, error: ErrorBody, limits: Sequence[Seen], fields: Fields) -> bool:
        """Whether a reply is such a one."""
        if status not in self.statuses:
            return False
        said = not self.codes.isdisjoint(error.codes) or any(phrase in error.message for phrase in self.phrases)
        if (self.codes or self.phrases) and not said:
            return False
        if self.spent is not None and not any(seen.name == self.spent and seen.remaining == 0 for seen in limits):
            return False
        return self.header is None or _carries(fields, *self.header)


def _carries(fields: Fields, name: bytes, values: tuple[bytes, ...]) -> bool:
    found = [value.strip().lower() for field, value in fields if field.lower() == name]
    return any(value in values for value in found) if values else not found


def _codes(*names: str) -> frozenset[str]:
    return frozenset(names)


CLIENT_ERRORS = (400, 401, 402, 403, 404, 429)

AFTER_ALL = (
    Rule(meaning="slow_down", statuses=(429,)),
    Rule(meaning="exhausted", statuses=(402,), scope="group"),
    Rule(meaning="dead", statuses=(401,), scope="key"),
    Rule(meaning="overloaded", statuses=(503, 529)),
)
"""What a status means when nothing more is known. 403 is not here: it is about the resource, the agent or the address
far more often than about the key."""

OPENAI = (
    Rule(
        meaning="exhausted",
        statuses=(402, 403, 429),
        codes=_codes(
            *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),
            *("project_spend_limit_exceeded", "organization_spend_limit_exceeded"),
        ),
        phrases=("exceeded your current quota",),
        scope="group",
        timed=False,
    ),
    # About our address, or about headers the client sent beside the key.
    Rule(
        meaning="fault",
        statuses=(401, 403),
        codes=_codes(
            *("ip_not_authorized", "unsupported_country_region_territory"),
            *("mismatched_organization", "mismatched_project", "invalid_organization"),
        ),
        phrases=("ip not authorized", "ip is not authorized", "your ip", "openai-organization", "openai-project"),
    ),
    # Azure's words too (1.6): capacity, not quota.
    Rule(
        meaning="overloaded",
        statuses=(429, 503),
        phrases=("overloaded", "experiencing high demand", "temporarily unable"),
    ),
    # The old rate is to be held for 15 minutes at least (1.6): the adaptive part of that is backoff's.
    Rule(meaning="slow_down", statuses=(503,), codes=_codes("slow_down"), phrases=("slow down",)),
)

# The gateway that stands in front of many deployments (1.6). Its "replenished in" is a clock, and not read.
AZURE = (Rule(meaning="exhausted", statuses=(403,), phrases=("call volume quota", "quota exceeded")), *OPENAI)

ANTHROPIC = (
    Rule(
        meaning="exhausted",
        statuses=(429,),
        codes=_codes("enforced_spend_limit_reached"),
        scope="group",
        until=times.until_utc_month,
    ),
    Rule(
        meaning="exhausted",
        statuses=CLIENT_ERRORS,
        codes=_codes("billing_error"),
        phrases=("api usage limits", "credit balance is too low"),
        scope="group",
        timed=False,
    ),
    Rule(meaning="overloaded", statuses=(500, 504), codes=_codes("api_error", "timeout_error")),
)

GOOGLE = (
    # A daily quota: the short retryDelay beside it misleads (1.6).
    Rule(
        meaning="exhausted",
        statuses=(403, 429),
        codes=_codes("quotaExceeded", "dailyLimitExceeded", "quota:PerDay"),
        until=times.until_pacific_midnight,
    ),
    Rule(
        meaning="exhausted",
        statuses=(402, 403, 429),
        phrases=("prepayment credits are depleted", "billing cap"),
        scope="group",
        timed=False,
    ),
    # Clears within its window of 10 minutes (1.3), a little at a time: asked again each minute.
    Rule(meaning="slow_down", statuses=(429,), phrases=("spend-based rate limit",), scope="group", or_ms=60_000),
    Rule(
        meaning="slow_down",
        statuses=(403, 429),
        codes=_codes("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "quota:PerMinute"),
    ),
    Rule(
        meaning="dead",
        statuses=(400, 401, 403),
        codes=_codes(
            *("keyInvalid", "API_KEY_INVALID", "keyExpired", "accessNotConfigured", "SERVICE_DISABLED"),
            *("API_KEY_SERVICE_BLOCKED", "CONSUMER_SUSPENDED"),
        ),
        phrases=("reported as leaked",),
        scope="key",
    ),
)

MISTRAL = (
    Rule(meaning="exhausted", statuses=(429,), spent="month/tokens", scope="group", until=times.until_utc_month),
)

# Trial keys: a thousand calls a month for the organisation, and so many a minute; both say "Trial key" (1.3, 1.6).
COHERE = (
    Rule(
        meaning="exhausted",
        statuses=(429,),
        phrases=("calls / month", "calls per month", "monthly"),
        scope="group",
        until=times.until_utc_month,
    ),
)

# A day's requests, of one model. `retry-after` is hours then, and true (1.6).
GROQ = (Rule(meaning="exhausted", statuses=(429,), spent="day/requests"),)

OPENROUTER = (
    # Temporary: it ends as calls in flight do, and says when (1.6).
    Rule(meaning="slow_down", statuses=(402,), codes=_codes("in_flight_budget_exhausted"), scope="group"),
    # This request alone is too dear.
    Rule(meaning="fault", statuses=(402,), codes=_codes("weight_exceeds_budget")),
    Rule(meaning="exhausted", statuses=(402,), codes=_codes("openrouter_key_limit"), scope="key", timed=False),
    Rule(meaning="exhausted", statuses=(402,), codes=_codes("openrouter_credits"), scope="group", timed=False),
)

ELEVENLABS = (
    Rule(meaning="exhausted", statuses=(401, 402, 403, 429), codes=_codes("quota_exceeded"), scope="group"),
    Rule(meaning="overloaded", statuses=(429, 503), codes=_codes("system_busy")),
)

X = (
    Rule(
        meaning="exhausted",
        statuses=(402, 429),
        codes=_codes("UsageCapExceeded", "CreditsDepleted"),
        scope="group",
        timed=False,
    ),
    Rule(
        meaning="dead",
        statuses=(403,),
        codes=_codes("client-not-enrolled", "416"),  # 416: invalid or suspended application
        scope="key",
    ),
)

TIKTOK = (
    Rule(
        meaning="exhausted",
        statuses=(429,),
        codes=_codes("daily_quota_limit_exceeded"),
        until=times.until_utc_midnight,
    ),
    Rule(meaning="fault", statuses=(401, 403), codes=_codes("scope_not_authorized")),
)

# Going on while limited may get the integration banned (1.6): the whole group rests. A secondary limit asks for a
# minute at least, and more each time, where it names no time: what github.yaml's backoff begins with.
GITHUB = (
    Rule(meaning="slow_down", statuses=(403, 429), spent="requests"),
    Rule(meaning="slow_down", statuses=(403, 429), phrases=("secondary rate limit", "abuse detection")),
)

NOTION = (
    # Not to be tried again with this integration (1.6).
    Rule(meaning="dead", statuses=(429,), codes=_codes("public_api_request_blocked"), scope="key"),
)

# With status 200 (1.6).
SLACK = (
    Rule(meaning="slow_down", statuses=(200,), codes=_codes("ratelimited", "rate_limited")),
    Rule(
        meaning="dead",
        statuses=(200,),
        codes=_codes("invalid_auth", "token_revoked", "token_expired", "account_inactive"),
        scope="key",
    ),
)

_REASON = b"stripe-rate-limited-reason"
STRIPE = (
    Rule(
        meaning="slow_down", statuses=(429,), header=(_REASON, (b"global-rate", b"global-concurrency")), scope="group"
    ),
    # One object is asked for too often, or locked by another call: no limit of ours.
    Rule(meaning="fault", statuses=(429,), header=(_REASON, (b"resource-specific",))),
    Rule(meaning="fault", statuses=(429,), codes=_codes("lock_timeout"), header=(_REASON, ())),
    # A payment that failed is the business of whoever asked for it.
    Rule(meaning="fault", statuses=(402,)),
)

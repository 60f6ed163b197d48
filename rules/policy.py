"""The nouns of the YAML: what the operator and the catalogue said, checked and frozen.

A Policy is replaced whole, never changed (design section 1). Amounts inside a Limit are integers in `1/scale` of the
meter's unit, because the gate counts in integers below 2^53 only (limiter 4.3); times are in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from .periods import Period
from .pricing import NO_PRICES, Prices

METERS = ("requests", "tokens", "input_tokens", "output_tokens", "audio_seconds", "images", "units", "usd")
SCOPES = ("key", "group", "model", "user", "client", "endpoint")

# What `headgate env` writes into an SDK's key variable, so that the SDK starts: never the key of a pool.
PLACEHOLDER = "headgate"

Kind = Literal["window", "concurrent", "token_bucket", "quota"]
Mode = Literal["enforce", "observe", "off"]
BodyFormat = Literal[
    "none",
    "chat_completions",
    "responses",
    "completions",
    "embeddings",
    "moderations",
    "messages",
    "gemini",
    "audio",
]
Settle = Literal["exact", "up"]
Unpriced = Literal["pass", "refuse"]
ReplyTells = Literal["cost", "model"]
ErrorShape = Literal["openai", "anthropic", "google", "plain"]
Meaning = Literal["ok", "slow_down", "exhausted", "dead", "overloaded", "fault"]
KeyState = Literal["active", "rate_limited", "exhausted", "error", "off"]
"""Issue 4, item 7; `off`: by an operator's hand."""
KeyAction = Literal["rate_limited", "exhausted", "error", "none"]
_MEANINGS: Mapping[KeyAction, Meaning] = {
    "rate_limited": "slow_down",
    "exhausted": "exhausted",
    "error": "dead",
    "none": "fault",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An amount of a meter per window or calendar period, in a bucket that refills, or in flight, for each value of its
    scope."""

    id: str
    """Stable while kind, meter, window and scope stay the same, so that a changed amount keeps its bucket."""
    name: str
    """What people read: `150000 tokens per 60s per group, model`."""
    kind: Kind
    meter: str
    """One of METERS; `concurrent` for calls in flight."""
    amount: int
    """In 1/scale units of the meter. Of a token bucket: B = C - rate x J, what may leave at once (limiter 14)."""
    scale: int = 1
    window_ms: int = 0
    """W; of a token bucket the time it takes to refill, of a calendar quota 0."""
    jitter_ms: int = 0
    """J: spread between our grant and the upstream's count (limiter 14)."""
    slices: int = 1
    """k: how many steps the window is cut into (limiter 4.1)."""
    burst: int = 0
    """Of a window: what may leave at once while nobody waits, in 1/scale units; 0: all of it (limiter 4.2)."""
    count_at: Literal["start", "end"] = "start"
    """Of a window: when the upstream counts a call (Q13). `end`: what it will cost is held while it is in flight."""
    refill: tuple[int, int] = (0, 1)
    """Of a token bucket: so many 1/scale units in so many milliseconds, a reduced fraction (Q19)."""
    learned: bool = False
    """Of a window: nobody publishes N. It is found out (gate/learned.lua); `amount` is the most that is ever tried."""
    start: int = 0
    """Of a learned window: what is tried first."""
    period: Period | None = None
    timezone: str = "UTC"
    """Of a calendar quota: when it begins anew."""
    per: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Shell-style patterns of model names this limit is for; empty: all. Patterns that begin with `!` exclude: when all
    do, the limit is for every model that none of them names."""

    @property
    def length_ms(self) -> int:
        """L = W + J: how long a charge stays in the window (limiter 4.1)."""
        return self.window_ms + self.jitter_ms

    @property
    def slice_ms(self) -> int:
        """w = ceil(L/k)."""
        return math.ceil(self.length_ms / self.slices)

    @property
    def busy_burst(self) -> int:
        """What may leave at once where somebody waits: a tenth (limiter 4.2), and `least_burst`; never more than
        `burst`. A hundredth of a learned one: a burst after a rest would find out dearly that it was too short."""
        part = self.amount // 100 if self.learned else math.ceil(self.amount / 10)
        return min(self.burst, max(part, self.least_burst))

    @property
    def least_burst(self) -> int:
        """Room for two calls, so that a tick that comes late by one loses nothing. Of a learned window the gate sees to
        it: `busy_burst` is of the most that is ever tried."""
        return 2 * self.scale if self.meter == "requests" else 0

    @property
    def in_flight(self) -> bool:
        """A charge is held while the call is in flight, and given back when it lands."""
        return self.kind == "concurrent" or self.count_at == "end"

    @property
    def of_key(self) -> bool:
        """A limit of the key or its group: checked per candidate key. All others are common limits."""
        return "key" in self.per or "group" in self.per


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A method and path pattern of a service that says how its calls are metered."""

    name: str
    path: str
    """`/v1/chat/completions`; `*` stands for one segment, a last `**` for the rest."""
    methods: tuple[str, ...] = ()
    """Empty: any."""
    body: BodyFormat = "none"
    """How the body is read for tokens."""
    costs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"requests": 1.0}))
    """What each call costs at least, whatever its body says, by meter."""
    limits: tuple[Limit, ...] = ()
    """Limits of this endpoint alone, beside the service's."""
    service_limits: bool = True
    """False: the service's own limits do not count these calls (YouTube's search has a bucket of its own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialPlace:
    """Where a credential stands in a request: a header (after a prefix such as `Bearer `) or a query parameter."""

    place: Literal["header", "query"]
    name: str
    """Header name in lower case, or parameter name."""
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Where a service's credential may stand, and where ours is written."""

    write: CredentialPlace
    read: tuple[CredentialPlace, ...]
    """Every place a client may have put one; `write` is among them. All are emptied before ours is written."""
    form: tuple[str, ...] = ()
    """Parameters of a form body (application/x-www-form-urlencoded) that may hold one; taken out as well."""
    companions: tuple[str, ...] = ()
    """Header fields, in lower case, that name the account a client's own credential belongs to. They leave with it:
    beside another key they would be refused (provider-facts 1.2, OpenAI-Organization)."""
    signed: tuple[str, ...] = ()
    """Schemes of the Authorization field, in lower case, that sign the whole call. Such a call passes with the
    credential it has, and that is its key: a signature cannot be given another (provider-facts 1.2, OAuth 1.0a)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An upstream credential. `id` is its name and a hash: the only form that leaves this object."""

    id: str
    secret: str = field(repr=False)
    group: str
    reserve_for: tuple[str, ...] = ()
    """Tiers that may use it; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How long a call may wait for room, and how many may."""

    max_wait_ms: int
    max_queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to rest after a refusal that names no time."""

    type: Literal["exponential", "linear", "adaptive"]
    initial_delay_ms: int
    max_delay_ms: int
    multiplier: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What becomes of a pool's key that was of no use, and how it comes back."""

    actions: Mapping[int, KeyAction] = field(default_factory=lambda: MappingProxyType({}))
    """Status of the reply -> what the key is from then on, whatever the body says."""
    probe_ms: int = 60_000
    """A key that is out is tried by one call in so many ms: issue 4 asks for at most one a minute."""

    def meaning(self, status: int, read: Meaning) -> Meaning:
        """What a reply means for the key; `read`: what it says itself."""
        action = self.actions.get(status)
        return _MEANINGS[action] if action is not None else read


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A base URL: scheme, host, port and a path prefix without a trailing slash."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An upstream API: the catalogue's entry with the operator's wishes laid over it."""

    name: str
    hosts: tuple[str, ...]
    """Exact names, or `*.suffix`. The first is where reverse calls go."""
    aliases: tuple[str, ...] = ()
    """Other names of it: the first segment of a reverse call may say `twitter` for x, `whisper` for openai."""
    credential: Credential
    endpoints: tuple[Endpoint, ...]
    """In order of match; the last one matches everything."""
    limits: tuple[Limit, ...]
    keys: tuple[Key, ...]
    """Empty: the caller's own credential passes through and is its key."""
    upkeep: Upkeep = Upkeep()
    hold: Hold
    backoff: Backoff
    mode: Mode = "enforce"
    shape: ErrorShape = "plain"
    dialect: str = "generic"
    """Name of the header dialect in rules/dialects.py."""
    llm: bool = False
    cost_mapping: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Requests one call of a model counts as (`costMapping`); a model not named counts as 1."""
    settle: Settle = "exact"
    """`exact`: the true usage replaces the estimate. `up`: it only adds to it, because the upstream keeps what it
    reserved when the call came in (limiter 14.2)."""
    token_margin: float | None = None
    """Estimated tokens are multiplied by this until usage has taught better; None: what is known of the model
    (meters/margins.py)."""
    ask_usage: bool = False
    """Streams are asked to tell usage, where their API keeps it back (meters/streamusage.py)."""
    prices: Prices = NO_PRICES
    unpriced: Unpriced = "pass"
    """A call whose price is not known, where a limit counts money: it passes and costs 0 USD, or is refused."""
    deployments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name that calls give as their model -> the model it stands for, by which they are counted and priced."""
    reply_tells: ReplyTells | None = None
    """What only a reply says of a call's price: its `cost` in USD, or the `model` behind the name the call gave."""
    upstream: Origin | None = None
    connect_to: tuple[str, int] | None = None
    upstream_ca: str | None = None
    """PEM text of extra roots for this service."""
    key_env: tuple[str, ...] = ()
    """Variables that usually hold the key."""
    base_url_env: tuple[str, ...] = ()
    """Variables of SDKs that hold the base URL, for `headgate env`."""
    base_path: str = ""
    """What SDKs expect behind the base URL: `/v1`."""
    pooled: bool = False
    """The operator asked for a pool (it may be empty now: then calls get no_key, never the caller's own key)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientToken:
    """A worker that may call: the SHA-256 of its token, and what it may say about itself."""

    name: str
    token_sha256: bytes = field(repr=False)
    user: str | None = None
    tier: str | None = None
    may_set: tuple[str, ...] = ()
    """Of `user`, `tier`, `priority`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Who may call (design 4.1)."""

    anonymous: Literal["loopback", "everyone", "nobody"] = "loopback"
    tokens: tuple[ClientToken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Hosts outside the catalogue that may be reached, and inside addresses that may be dialled."""

    allow: tuple[str, ...] | None = None
    """Exact names, `*.suffix`, or `*`. None: everything while we listen on loopback only, else nothing."""
    ports: tuple[int, ...] = (80, 443)
    addresses: tuple[tuple[str, int], ...] = ()
    """(range, port) pairs exempt from the address check: `("10.1.0.0/16", 8443)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything the YAML says, with the catalogue below it."""

    services: Mapping[str, Service]
    clients: Clients = Clients()
    tiers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Tier -> weight."""
    egress: Egress = Egress()
    store: str = "memory"
    log_format: Literal["auto", "json", "console"] = "auto"
    version: str = ""
    """Hash of the text it came from; the same on replicas with the same configuration."""

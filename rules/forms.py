"""The shape of the YAML, as pydantic models: what may be written where, and of what type. What it means is decided in
parse, services and limits; the JSON Schema (`headgate config schema`) is generated from here and from fileforms.

The catalogue's files and the operator's `services:` share one form: an operator can write a whole service, and a
catalogue file can be copied into `services:` and changed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from . import spellings
from .formtypes import (
    MAX_AMOUNT,
    TEXT_SCHEMA,
    WORDS_SCHEMA,
    Amount,
    Duration,
    Hosts,
    Meter,
    Name,
    Path,
    Positive,
    Rate,
    Scope,
    StatusCode,
    Text,
    Window,
    Words,
    one_or_more,
    read_by,
)
from .periods import zone_name
from .policy import METERS, BodyFormat, ErrorShape, Mode, ReplyTells, Settle, Unpriced


class Form(BaseModel):
    """A mapping of the YAML: unknown keys are mistakes, and no type is guessed from another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def exactly_one(form: Form, names: tuple[str, ...]) -> None:
    """Raises PydanticCustomError unless the form says exactly one of these fields."""
    given = [name for name in names if name in form.model_fields_set]
    if len(given) != 1:
        words = ", ".join(names[:-1]) + " or " + names[-1]
        raise PydanticCustomError("one_of", "needs exactly one of {words}", {"words": words})


class LimitForm(Form):
    """An amount of one meter per window or calendar period, calls in flight (`concurrent`), or a bucket that refills
    (`capacity`, `refillRate`)."""

    requests: Amount | None = None
    tokens: Amount | None = None
    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    audio_seconds: Amount | None = None
    audio_minutes: Amount | None = None
    """60 audio_seconds each."""
    images: Amount | None = None
    units: Amount | None = None
    usd: Amount | None = None
    concurrent: Annotated[int, Field(ge=0, lt=MAX_AMOUNT)] | None = None
    capacity: Amount | None = None
    refill_rate: Positive | None = Field(default=None, alias="refillRate")
    """Per second."""
    meter: Meter | None = None
    """What `capacity` is an amount of; `requests` unless said otherwise."""
    window: Window | None = None
    """Seconds or a duration: any such span of time. `day`, `month`: of the calendar, from midnight to midnight."""
    timezone: Annotated[str, AfterValidator(read_by(zone_name))] | None = None
    """Whose midnight; UTC unless given."""
    quantum: Annotated[int, Field(ge=2, le=86_400)] | None = None
    """The provider enforces amount/quantum per window/quantum as well."""
    per: Annotated[list[Scope], BeforeValidator(one_or_more), WithJsonSchema(WORDS_SCHEMA)] = ["group"]
    models: Words | None = None
    """Shell-style patterns of model names; `!pattern` excludes; `others`: those no other limit of this meter names."""
    burst: Positive | None = None
    """What may leave at once from a window that nobody waits for, the rest at an even pace; half of it unless given. As
    much as the window: no pace."""
    count_at: Literal["start", "end"] = "start"
    """When the provider counts a call: as it comes, or with its answer (its cost is held while it is in flight)."""

    @model_validator(mode="after")
    def _one_meaning(self) -> LimitForm:
        exactly_one(self, (*METERS, "audio_minutes", "concurrent", "capacity"))
        given = self.model_fields_set
        if self.capacity is not None:
            if self.refill_rate is None:
                raise PydanticCustomError("pair", "capacity needs refillRate (units per second)")
            if "window" in given:
                raise PydanticCustomError("pair", "capacity and window exclude each other")
            if self.capacity / self.refill_rate > 31_536_000 or self.capacity == 0:
                raise PydanticCustomError(
                    "pair", "capacity / refillRate must be more than nothing and less than a year"
                )
        elif self.refill_rate is not None or self.meter is not None:
            raise PydanticCustomError("pair", "refillRate and meter belong to capacity")
        elif self.concurrent is not None:
            if "window" in given or "burst" in given:
                raise PydanticCustomError("pair", "concurrent counts calls in flight: it has no window and no burst")
        elif self.window is None:
            raise PydanticCustomError("pair", "needs a window (seconds, a duration such as 60s, day or month)")
        calendar = isinstance(self.window, str)
        if self.timezone is not None and not calendar:
            raise PydanticCustomError("pair", "timezone belongs to window: day or month")
        if calendar and self.burst is not None:
            raise PydanticCustomError("pair", "a calendar quota has no burst: all of it may be used at once")
        if "count_at" in given and (calendar or self.window is None):
            raise PydanticCustomError("pair", "count_at belongs to a window in seconds")
        if self.quantum is not None and (calendar or self.window is None):
            raise PydanticCustomError("pair", "quantum belongs to a window in seconds")
        return self


class PlaceForm(Form):
    """A header (after a prefix such as `Bearer `) or a query parameter."""

    header: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    query: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    prefix: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> PlaceForm:
        exactly_one(self, ("header", "query"))
        return self


class CredentialForm(Form):
    """Where ours is written, and where else a client may have put one."""

    write: PlaceForm
    read: list[PlaceForm] = []
    form: Words = []  # parameters of a form body in which a client may have put one: they are taken out
    companions: Words = []  # header fields that belong to the client's own credential and leave with it
    signed: Words = []  # schemes of the Authorization header that sign the call: such calls pass as they are


class EndpointForm(Form):
    """A method and path that say how calls are metered. Under a known endpoint's name: what is to differ."""

    path: Path | None = None
    methods: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,20}$")]],
        BeforeValidator(one_or_more),
        WithJsonSchema(WORDS_SCHEMA),
    ] = []
    body: BodyFormat = "none"
    costs: dict[Meter, Amount] = {"requests": 1.0}
    limits: list[LimitForm] = []
    service_limits: bool = True


class PartForm(Form):
    """Endpoints that share limits under a name of their own."""

    endpoints: Words
    limits: list[LimitForm] = []


class KeySource(Form):
    """Where a pool's keys stand: a variable or a file (separated by commas or lines), a directory (one file a key)."""

    env: Text | None = None
    file: Text | None = None
    dir: Text | None = None
    group: Name = "default"
    reserve_for: Words = []

    @model_validator(mode="after")
    def _one_source(self) -> KeySource:
        exactly_one(self, ("env", "file", "dir"))
        return self


class KeyForm(Form):
    """One key, with its name and the group whose limits it draws on."""

    name: Name
    env: Text | None = None
    file: Text | None = None
    group: Name = "default"
    reserve_for: Words = []

    @model_validator(mode="after")
    def _one_source(self) -> KeyForm:
        exactly_one(self, ("env", "file"))
        return self


def _shape(value: object) -> str:
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else "mapping"


def _caller(value: object) -> object:
    if value != "caller":
        raise PydanticCustomError("spelling", "must be a mapping (env, file or dir), a list of keys, or caller")
    return value


Keys = Annotated[
    Annotated[Literal["caller"], BeforeValidator(_caller), Tag("text")]
    | Annotated[KeySource, Tag("mapping")]
    | Annotated[Annotated[list[KeyForm], Field(min_length=1)], Tag("list")],
    Discriminator(_shape),
]


class PriceForm(Form):
    """What a model costs, in USD: per million tokens, and per minute of audio. What is left out costs what `input` (for
    audio_output: `output`) costs."""

    input: Rate | None = None
    output: Rate = 0.0
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    audio_input: Rate | None = None
    audio_output: Rate | None = None
    minute: Rate | None = None
    """Per minute of audio; beside `input` only the estimate of a call that is billed by tokens."""
    search: Rate = 0.0
    """Per search of the web."""

    @model_validator(mode="after")
    def _some_price(self) -> PriceForm:
        if self.input is None and self.minute is None:
            raise PydanticCustomError("pair", "needs input (per million tokens) or minute (of audio); 0 is free")
        return self


class HoldForm(Form):
    """How long a call may wait for room, and how many may."""

    max_wait: Duration = 60_000  # design 4.3
    max_queue: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000  # design 4.3


class BackoffForm(Form):
    """Milliseconds, as in the earlier system's files (design 4.3)."""

    type: Literal["exponential", "linear", "adaptive"]
    initial_delay: Annotated[int, Field(alias="initialDelay", ge=1, le=86_400_000)] = 1000
    max_delay: Annotated[int, Field(alias="maxDelay", ge=1, le=86_400_000)] = 60_000
    multiplier: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = 2.0
    window: Annotated[Duration, Field(ge=1000, le=3_600_000)] = 60_000
    """Of an adaptive one: what the limit that is found out is counted over. Most providers count minutes."""


class UpkeepForm(Form):
    """What becomes of a pool's key by the status of a reply, and how often one that is out is tried."""

    on_status: dict[StatusCode, Literal["rate_limited", "exhausted", "error", "none"]] = {}
    probe_every: Annotated[Duration, Field(ge=1000)] = 60_000  # issue 4, item 7: at most every minute


class ServiceForm(Form):
    """A service of the catalogue, or what an operator changes of it."""

    hosts: Hosts = []
    aliases: Annotated[list[Name], BeforeValidator(one_or_more), WithJsonSchema(WORDS_SCHEMA)] = []
    parts: dict[Name, PartForm] = {}
    """Other names for some endpoints, under which limits they share can be written (`whisper`)."""
    credential: CredentialForm | None = None
    key_env: Words = []
    """Variables that usually hold the key; the first is what the service's SDKs read."""
    pool_env: Words = []
    """Where a pool is looked for when `keys` says nothing: the first variable that is set. Unless given: key_env."""
    base_url_env: Words = []
    base_path: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._-]+)*$")] = ""
    shape: ErrorShape = "plain"
    dialect: Name = "generic"
    llm: bool = False
    settle: Settle = "exact"
    token_margin: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] | None = None
    ask_usage: bool = False
    """Ask streams of chat and completions for their usage (`stream_options.include_usage`) and hide the answer."""
    prices: dict[Text, PriceForm] = {}
    """Model, or shell-style pattern of models, to price; these stand before the table that is shipped."""
    unpriced: Unpriced = "pass"
    """Where a limit counts usd: calls of models without a price pass and cost nothing, or are refused."""
    deployments: dict[Text, Text] = {}
    """Name that calls give as their model, such as Azure's deployments -> the model it stands for."""
    reply_tells: ReplyTells | None = None
    """Of a call's price: `cost` in USD (`usage.cost`), or `model`, the one behind a deployment's name."""
    endpoints: dict[Name, EndpointForm] = {}
    limits: list[LimitForm] = []
    algorithm: Literal["sliding_window", "token_bucket"] = "sliding_window"
    keys: Keys | None = None
    key_upkeep: UpkeepForm = UpkeepForm()
    hold: HoldForm = HoldForm()
    jitter: Duration = 500  # limiter 4.1
    backoff: BackoffForm = BackoffForm(type="exponential")
    mode: Mode = "enforce"
    cost_mapping: dict[Text, Amount] = Field(default={}, alias="costMapping")
    upstream: Annotated[Any, BeforeValidator(read_by(spellings.origin)), WithJsonSchema(TEXT_SCHEMA)] = None
    connect_to: Annotated[Any, BeforeValidator(read_by(spellings.address)), WithJsonSchema(TEXT_SCHEMA)] = None
    upstream_ca: Text | None = None

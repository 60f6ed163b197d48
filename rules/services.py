"""One service: the catalogue's layer with the operator's laid over it, and the sections that are limits of it by
another name (`whisper`, and the earlier system's `openai_tokens`, `whisper_minutes`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .catalogue import Layer
from .dialects import NAMES
from .endpoints import endpoints_of
from .forms import CredentialForm, KeySource, LimitForm, PlaceForm, ServiceForm
from .keys import pool_of, pool_of_variables
from .learning import with_learned
from .limits import OTHERS, Written, compile_limits
from .mistakes import did_you_mean
from .policy import Backoff, Credential, CredentialPlace, Endpoint, Hold, Key, Limit, Mode, Service, Upkeep
from .pricetable import table
from .pricing import NO_PRICES, Price, Prices
from .sources import Sources, SourceUnreadable, place

_BEARER = CredentialForm(write=PlaceForm(header="authorization", prefix="Bearer "))
# What a body that is read gives beside its fixed costs (rules/meters).
_COUNTED = {"tokens", "input_tokens", "output_tokens"}
_HEARD = {*_COUNTED, "audio_seconds"}


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the operator's file that holds limits for a service of another name."""

    layer: Layer
    part: str | None
    """The part they belong to; None: the service as a whole."""
    meter: str | None
    """The meter its name speaks of; None: whatever its limits say."""
    factor: float = 1.0


@dataclass(slots=True)
class Layers:
    """Everything the files say about one service. At least one of `own` and `base` is there."""

    name: str
    base: Layer | None = None
    own: Layer | None = None
    sections: list[Section] = field(default_factory=list)

    def form(self, name: str) -> ServiceForm:
        """The form that decides a field: the operator's where it says something."""
        if self.own is not None and (self.base is None or self.own.says(name)):
            return self.own.form
        assert self.base is not None
        return self.base.form

    def layer(self, name: str) -> Layer:
        if self.own is not None and (self.base is None or self.own.says(name)):
            return self.own
        assert self.base is not None
        return self.base


def build(layers: Layers, *, tiers: Collection[str], llm_off: bool, sources: Sources) -> Service:
    """The service. Whatever is wrong goes to the grounds of the layers; the value is then good for nothing."""
    base, own = layers.base, layers.own
    jitter_ms = layers.form("jitter").jitter
    cost_mapping = layers.form("cost_mapping").cost_mapping
    forms = [layer.form for layer in (own, base) if layer is not None]
    fixed = [endpoint.costs.get("requests", 1.0) for form in forms for endpoint in form.endpoints.values()]
    fractional = any(cost != int(cost) for cost in (*cost_mapping.values(), *fixed))

    def compiled(written: Sequence[Written], place: str) -> tuple[Limit, ...]:
        return compile_limits(written, jitter_ms=jitter_ms, fractional_requests=fractional, place=place)

    service_limits = _service_limits(layers)
    endpoints = endpoints_of(own, base, _shared(layers, compiled), compiled)
    prices = _prices(layers)
    _advise(layers, service_limits, endpoints, prices)
    limits = compiled(service_limits, "")
    keys = _keys(layers, tiers, sources)
    credential = layers.form("credential").credential or _BEARER
    _check_dialect(layers)
    if keys and credential.signed:
        schemes = " and ".join(credential.signed)
        layers.layer("keys").ground.advise(
            layers.layer("keys").loc,
            f"calls signed with {schemes} pass with their own credential and are counted by it, not by these keys: "
            "a signature cannot be given another key",
        )
    backoff, hold = layers.form("backoff").backoff, layers.form("hold").hold
    upkeep, llm = layers.form("key_upkeep").key_upkeep, layers.form("llm").llm
    mode: Mode = "off" if llm and llm_off else layers.form("mode").mode
    if backoff.type == "adaptive":
        endpoints = with_learned(
            endpoints,
            limits,
            _COUNTED,
            window_ms=backoff.window,
            jitter_ms=jitter_ms,
            scale=1000 if fractional else 1,
        )
    hosts = [host for layer in (base, own) if layer is not None for host in layer.form.hosts]
    return Service(
        name=layers.name,
        hosts=tuple(dict.fromkeys(hosts)),
        aliases=_aliases(layers),
        credential=_credential(credential),
        endpoints=endpoints,
        limits=limits,
        keys=keys,
        pooled=bool(keys),
        upkeep=Upkeep(
            actions=MappingProxyType({int(status): action for status, action in upkeep.on_status.items()}),
            probe_ms=upkeep.probe_every,
        ),
        hold=Hold(max_wait_ms=hold.max_wait, max_queue=hold.max_queue),
        backoff=Backoff(
            type=backoff.type,
            initial_delay_ms=backoff.initial_delay,
            max_delay_ms=backoff.max_delay,
            multiplier=backoff.multiplier,
        ),
        mode=mode,
        shape=layers.form("shape").shape,
        dialect=layers.form("dialect").dialect,
        llm=llm,
        cost_mapping=MappingProxyType(dict(cost_mapping)),
        settle=layers.form("settle").settle,
        ask_usage=layers.form("ask_usage").ask_usage,
        prices=prices,
        unpriced=layers.form("unpriced").unpriced,
        deployments=MappingProxyType(dict(layers.form("deployments").deployments)),
        reply_tells=layers.form("reply_tells").reply_tells,
        token_margin=layers.form("token_margin").token_margin,
        upstream=layers.form("upstream").upstream,
        connect_to=layers.form("connect_to").connect_to,
        upstream_ca=_upstream_ca(layers, sources),
        key_env=tuple(layers.form("key_env").key_env),
        base_url_env=tuple(layers.form("base_url_env").base_url_env),
        base_path=layers.form("base_path").base_path,
    )


def _check_dialect(layers: Layers) -> None:
    layer = layers.layer("dialect")
    name = layer.form.dialect
    if name not in NAMES:
        layer.ground.wrong((*layer.loc, "dialect"), f"is no dialect{did_you_mean(name, NAMES)}: {', '.join(NAMES)}")


def _prices(layers: Layers) -> Prices:
    """The operator's rows, the catalogue's, then the table's."""
    rows = [
        (model, Price(**form.model_dump()))
        for layer in (layers.own, layers.base)
        if layer is not None
        for model, form in layer.form.prices.items()
    ]
    shipped = table().get(layers.name, NO_PRICES)
    return replace(shipped, rows=(*rows, *shipped.rows))


def _advise(layers: Layers, limits: Sequence[Written], endpoints: Sequence[Endpoint], prices: Prices) -> None:
    """Say which limits of the service cannot bind, and what a budget does not count."""
    counted = {meter for endpoint in endpoints if endpoint.service_limits for meter in endpoint.costs}
    for endpoint in endpoints:
        if endpoint.body != "none":
            counted |= _HEARD if endpoint.body == "audio" else _COUNTED
    priced_by_name = layers.form("reply_tells").reply_tells != "cost"
    if (prices.rows or not priced_by_name) and counted & {*_COUNTED, "audio_seconds"}:
        counted.add("usd")
    budget = None
    for one in limits:
        meter = one.reading()[0]
        if meter not in {*counted, "concurrent"}:
            more = "; give its models prices" if meter == "usd" else ""
            one.ground.advise(one.loc, f"no endpoint of {layers.name} counts {meter}: this limit never binds{more}")
        elif meter == "usd":
            budget = budget or one
            for model in one.form.models or ():
                meant = layers.form("deployments").deployments.get(model, model)
                if priced_by_name and not set("*?[!") & set(model) and model != OTHERS and prices.of(meant) is None:
                    one.ground.advise(one.loc, f"{model} has no price: its calls cost 0 usd here")
    said = any(layer and layer.says("unpriced") for layer in (layers.own, layers.base))
    if budget is not None and priced_by_name and not said:
        message = f"calls of {layers.name} whose price is not known cost 0 usd; for a hard budget say unpriced: refuse"
        budget.ground.advise(budget.loc, message)


def _aliases(layers: Layers) -> tuple[str, ...]:
    found = [name for layer in (layers.base, layers.own) if layer for name in (*layer.form.aliases, *layer.form.parts)]
    return tuple(dict.fromkeys(found))


def _credential(form: CredentialForm) -> Credential:
    write = _place(form.write)
    read = tuple(dict.fromkeys((write, *map(_place, form.read))))
    return Credential(
        write=write,
        read=read,
        form=tuple(form.form),
        companions=tuple(name.lower() for name in form.companions),
        signed=tuple(scheme.lower() for scheme in form.signed),
    )


def _place(form: PlaceForm) -> CredentialPlace:
    if form.header is not None:
        return CredentialPlace(place="header", name=form.header, prefix=form.prefix)
    return CredentialPlace(place="query", name=form.query or "", prefix=form.prefix)


def _written(layer: Layer, limits: Sequence[LimitForm], *steps: str, **rest: Any) -> list[Written]:
    """The limits of one list with their places."""
    found = [
        Written(limit, layer.ground, (*layer.loc, *steps, "limits", index), **rest)
        for index, limit in enumerate(limits)
    ]
    for one in found:
        if one.form.capacity is not None and layer.says("algorithm") and layer.form.algorithm != "token_bucket":
            one.ground.wrong((*one.loc, "capacity"), "belongs to algorithm: token_bucket")
    return found


def _service_limits(layers: Layers) -> list[Written]:
    layer = layers.layer("limits")
    return _with_sections(_written(layer, layer.form.limits), layer is layers.own, layers, None)


def _shared(layers: Layers, compiled: Any) -> dict[str, tuple[Limit, ...]]:
    """Endpoint name -> the limits it shares with the other endpoints of its part."""
    shared: dict[str, tuple[Limit, ...]] = {}
    for layer in (layers.base, layers.own):
        if layer is None:
            continue
        known = {**(layers.base.form.endpoints if layers.base else {}), **layer.form.endpoints}
        for part, form in layer.form.parts.items():
            for index, endpoint in enumerate(form.endpoints):
                if endpoint not in known:
                    at = (*layer.loc, "parts", part, "endpoints", index)
                    layer.ground.wrong(at, f"is no endpoint of {layers.name}{did_you_mean(endpoint, known)}")
            written = _with_sections(_written(layer, form.limits, "parts", part), False, layers, part)
            limits = compiled(written, f"part {part}")
            for endpoint in form.endpoints:
                shared[endpoint] = (*shared.get(endpoint, ()), *limits)
    return shared


def _with_sections(written: list[Written], is_own: bool, layers: Layers, part: str | None) -> list[Written]:
    """A list with the sections of the same target laid over it: a section without a meter replaces what the catalogue
    says, one with a meter replaces the catalogue's limits of that meter; the operator's own limits stay."""
    for section in layers.sections:
        if section.part != part:
            continue
        if section.meter is None:
            written, is_own = [], True
    for section in layers.sections:
        if section.part != part:
            continue
        if section.meter is not None and not is_own:
            written = [one for one in written if one.reading()[0] != section.meter or one.meter is not None]
        layer = section.layer
        written += _written(layer, layer.form.limits, meter=section.meter, factor=section.factor)
    return written


def _keys(layers: Layers, tiers: Collection[str], sources: Sources) -> tuple[Key, ...]:
    """The pool the files ask for; where they ask for nothing, the service's usual variable if it is set."""
    layer = layers.layer("keys")
    wanted, at = layer.form.keys, (*layer.loc, "keys")
    if wanted == "caller":
        return ()
    if wanted is None:
        names = layers.form("pool_env").pool_env or layers.form("key_env").key_env
        return pool_of_variables(names, sources, layer.ground, layer.loc)
    keys = pool_of(wanted, sources, layer.ground, at)
    named = [(at, wanted)] if isinstance(wanted, KeySource) else [((*at, i), form) for i, form in enumerate(wanted)]
    for stands, form in named:
        for tier in form.reserve_for:
            if tier not in tiers:
                message = f"names no tier of this configuration{did_you_mean(tier, tiers)}"
                layer.ground.wrong((*stands, "reserve_for"), message)
        if form.reserve_for and any(key.group == form.group and not key.reserve_for for key in keys):
            message = f"reserves nothing: other keys draw on the same limits of group {form.group}"
            layer.ground.advise((*stands, "reserve_for"), message)
    return keys


def _upstream_ca(layers: Layers, sources: Sources) -> str | None:
    layer = layers.layer("upstream_ca")
    path, at = layer.form.upstream_ca, (*layer.loc, "upstream_ca")
    if path is None:
        return None
    try:
        text = sources.read(path)
    except SourceUnreadable as error:
        layer.ground.wrong(at, f"cannot read {place(path)}: {error}")
        return None
    if "-----BEGIN CERTIFICATE-----" not in text:
        layer.ground.wrong(at, f"{place(path)} holds no PEM certificate")
        return None
    return text

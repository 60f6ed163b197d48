"""YAML -> Policy, or every mistake at once with its place and cure (design 4.3).

Pure: the text, the catalogue's texts and a view of variables and files come in; nothing is opened here. The policy's
version is a hash of what the files came to mean, not of their letters: a comment changes nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from .catalogue import Layer, read_catalogue
from .checking import checked
from .clienttokens import clients_of
from .fileforms import FileForm
from .ground import Findings, Ground
from .interpolation import interpolate
from .limits import Written
from .mistakes import ConfigInvalid, Mistake, did_you_mean
from .policy import Egress, Policy, Service
from .services import Layers, Section, build
from .sources import Sources
from .spellings import host_pattern, store
from .yamlmarks import compose

# Sections named after a meter, as the earlier system wrote them (design 4.3): its meter here, and units of it in one.
_SUFFIXES: Mapping[str, tuple[str, float]] = {
    "tokens": ("tokens", 1.0),
    "requests": ("requests", 1.0),
    "images": ("images", 1.0),
    "units": ("units", 1.0),
    "seconds": ("audio_seconds", 1.0),
    "minutes": ("audio_seconds", 60.0),
}
_NO = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A policy, and what could be said better."""

    policy: Policy
    advice: tuple[Mistake, ...] = ()


def parse(text: str, *, filename: str, sources: Sources, catalogue: Mapping[str, str]) -> Parsed:
    """The policy of an operator's file over the catalogue (`file name -> text`, in order).

    Raises ConfigInvalid with every mistake of all files. An empty text is a whole policy: the catalogue.
    """
    findings = Findings()
    entries = read_catalogue(catalogue, findings)
    try:
        root = compose(text, filename, findings.mistakes)
    except ConfigInvalid as error:
        raise ConfigInvalid([*findings.mistakes, *error.errors]) from None
    ground = Ground(filename, root, findings)
    interpolate(root, sources, ground)
    form, _ = checked(FileForm, ground, parts=((), ("services",), ("tiers",)))
    policy = _policy(form, entries, ground, sources) if form is not None else None
    if findings.mistakes or policy is None:
        raise ConfigInvalid(findings.mistakes)
    return Parsed(replace(policy, version=_version(policy)), tuple(sorted(set(findings.advice))))


def _policy(form: FileForm, entries: Mapping[str, Layer], ground: Ground, sources: Sources) -> Policy:
    tiers = {name: tier.weight for name, tier in form.tiers.items()}
    named = set(ground.root.entries["tiers"].entries) if "tiers" in ground.root.entries else set()  # faulty ones too
    llm_off = sources.environ.get("ENABLE_LLM_RATE_LIMITING", "").strip().lower() in _NO
    if llm_off:
        ground.advise((), "ENABLE_LLM_RATE_LIMITING is false: services of language models are in mode off")
    services = {
        layers.name: build(layers, tiers=named, llm_off=llm_off, sources=sources)
        for layers in _layers(form, entries, ground)
    }
    _check_names(services, ground)
    return Policy(
        services=MappingProxyType(services),
        clients=clients_of(form.clients, named, sources, ground),
        tiers=MappingProxyType(tiers),
        egress=_egress(form, ground),
        store=form.store or _store(sources, ground),
        log_format=form.log.format,
    )


def _layers(form: FileForm, entries: Mapping[str, Layer], ground: Ground) -> Iterator[Layers]:
    """Every service of the catalogue and of the file, with all that is said about it under whatever name."""
    found = {name: Layers(name, base=entry) for name, entry in entries.items()}
    aliases = {alias: name for name, entry in entries.items() for alias in entry.form.aliases}
    parts = {part: name for name, entry in entries.items() for part in entry.form.parts}
    for name, wish in form.services.items():
        layer = Layer(wish, ground, ("services", name))
        service = name if name in entries else aliases.get(name)
        if service is not None:
            if service != name:
                ground.advise(layer.loc, f"is called {service} here")
            if found[service].own is not None:
                ground.wrong(layer.loc, f"{service} stands here twice, under two names", at_key=True)
            found[service].own = layer
        elif name in parts:
            _add_section(found[parts[name]], Section(layer, name, None))
        elif wish.hosts:
            found[name] = Layers(name, own=layer)
        elif (section := _by_suffix(name, layer, entries, aliases, parts)) is not None:
            _add_section(found[section[0]], section[1])
        else:
            known = [*entries, *aliases, *parts]
            message = f"is no service of the catalogue{did_you_mean(name, known)}; a new one needs hosts"
            ground.wrong(layer.loc, message, at_key=True)
    yield from found.values()


def _by_suffix(
    name: str, layer: Layer, entries: Mapping[str, Layer], aliases: Mapping[str, str], parts: Mapping[str, str]
) -> tuple[str, Section] | None:
    """`openai_tokens`, `whisper_minutes`: the service, and its section."""
    stem, _, suffix = name.rpartition("_")
    if suffix not in _SUFFIXES:
        return None
    meter, factor = _SUFFIXES[suffix]
    if stem in parts:
        return parts[stem], Section(layer, stem, meter, factor)
    service = stem if stem in entries else aliases.get(stem)
    return (service, Section(layer, None, meter, factor)) if service is not None else None


def _add_section(layers: Layers, section: Section) -> None:
    """Note the section; all but limits belongs to the service, and the newer form is advised for a meter's name."""
    layer, target = section.layer, section.part or layers.name
    for field in sorted(layer.form.model_fields_set - {"limits", "algorithm"}):
        if field == "backoff":  # the earlier system wrote one beside every list
            layer.ground.advise((*layer.loc, field), f"has no effect here: that of {layers.name} holds")
        else:
            name = type(layer.form).model_fields[field].alias or field
            layer.ground.wrong((*layer.loc, name), f"belongs to {layers.name}; here stand limits only", at_key=True)
    layers.sections.append(section)
    if section.meter is not None:
        forms = ", ".join(
            _newer(Written(limit, layer.ground, (), section.meter, section.factor)) for limit in layer.form.limits
        )
        layer.ground.advise(layer.loc, f"is the earlier form; write it under {target}: limits: [{forms}]")


def _newer(one: Written) -> str:
    meter, amount = one.reading()
    window = one.form.window
    if meter == "concurrent":
        return f"{{concurrent: {amount:.15g}}}"
    if one.form.capacity is not None:
        return f"{{capacity: {amount:.15g}, refillRate: {float(one.rate()):.15g}, meter: {meter}}}"
    if isinstance(window, str):
        return f"{{{meter}: {amount:.15g}, window: {window}, timezone: {one.form.timezone or 'UTC'}}}"
    assert window is not None
    return f"{{{meter}: {amount:.15g}, window: {window / 1000:.15g}}}"


def _check_names(services: Mapping[str, Service], ground: Ground) -> None:
    """A host and a name lead to one service."""
    hosts: dict[str, str] = {}
    names: dict[str, str] = {name: name for name in services}
    for name, service in services.items():
        for host in service.hosts:
            if hosts.setdefault(host, name) != name:
                ground.wrong(("services", name, "hosts"), f"{host} belongs to {hosts[host]} already")
        for alias in service.aliases:
            if names.setdefault(alias, name) != name:
                ground.wrong(("services", name, "aliases"), f"{alias} means {names[alias]} already")


def _egress(form: FileForm, ground: Ground) -> Egress:
    allow = form.egress.allow
    for index, pattern in enumerate(allow or ()):
        try:
            if pattern != "*":
                host_pattern(pattern)
        except ValueError as error:
            ground.wrong(("egress", "allow", index), f"{error}; * alone allows every host")
    ranges = []
    for index, one in enumerate(form.egress.addresses):
        try:
            ranges.append((str(ipaddress.ip_network(one.range)), one.port))
        except ValueError:
            ground.wrong(("egress", "addresses", index, "range"), "must be an address range such as 10.1.0.0/16")
    return Egress(
        allow=None if allow is None else tuple(pattern.lower() for pattern in allow),
        ports=tuple(dict.fromkeys(form.egress.ports)),
        addresses=tuple(ranges),
    )


def _store(sources: Sources, ground: Ground) -> str:
    """The earlier system's variables: REDIS_URL, else CACHE_HOST and CACHE_PORT (design 4.3); else no Redis."""
    environ = sources.environ
    url = environ.get("REDIS_URL", "").strip()
    name = "REDIS_URL"
    if not url and environ.get("CACHE_HOST", "").strip():
        name = "CACHE_HOST with CACHE_PORT"
        url = f"redis://{environ['CACHE_HOST'].strip()}:{environ.get('CACHE_PORT', '').strip() or '6379'}"
    try:
        return store(url) if url else "memory"
    except ValueError as error:
        ground.wrong((), f"environment variable {name} {error}")
        return "memory"


def _version(policy: Policy) -> str:
    """Twelve hex digits over the policy's meaning. Secrets enter as the hashes that are known of them anyway; what
    stands before the @ of the store's URL does not enter at all, since this value is shown."""
    where = re.sub(r"//.*@", "//", policy.store)
    tokens = [client.token_sha256.hex() for client in policy.clients.tokens]
    meaning = repr((replace(policy, store=where), tokens))
    return hashlib.blake2b(meaning.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

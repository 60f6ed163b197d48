"""Layers: what the operator changes, and what stays the catalogue's."""

from __future__ import annotations

import pytest

from rules.mistakes import ConfigInvalid
from rules.policy import Endpoint, Service

from .given import parsed

BASE = """
hosts: [api.base.example]
aliases: [ground]
key_env: [BASE_KEY]
credential: {write: {header: x-key}, read: [{query: key}, {header: x-key}]}
shape: openai
token_margin: 1.5
jitter: 100ms
hold: {max_wait: 5s}
endpoints:
  talk: {path: /talk, body: chat_completions}
  hear: {path: /hear, limits: [{requests: 7, window: 1}]}
  see: {path: /see}
  other: {path: "/**"}
parts:
  senses:
    endpoints: [hear, see]
    limits: [{concurrent: 5}, {requests: 8, window: 1}]
limits: [{requests: 1, window: 60}, {tokens: 2, window: 60}]
"""


def _base(text: str, **environ: str) -> Service:
    return parsed(text, catalogue={"base.yaml": BASE}, environ=environ).policy.services["base"]


def _amounts(service: Service) -> list[tuple[str, int]]:
    return [(limit.meter, limit.amount) for limit in service.limits]


def _endpoint(service: Service, name: str) -> Endpoint:
    return next(endpoint for endpoint in service.endpoints if endpoint.name == name)


def _of(service: Service, name: str) -> list[tuple[str, int]]:
    return [(limit.meter, limit.amount) for limit in _endpoint(service, name).limits]


def test_what_the_operator_does_not_say_is_the_catalogues() -> None:
    """One changed field leaves every other as it was."""
    service = _base("services: {base: {mode: observe}}")
    assert (service.mode, service.shape, service.token_margin) == ("observe", "openai", 1.5)
    assert service.hold.max_wait_ms == 5000
    assert service.limits[0].jitter_ms == 100
    assert _amounts(service) == [("requests", 1), ("tokens", 2)]


def test_limits_of_the_operator_replace_the_services_and_leave_the_endpoints() -> None:
    """The service's list is replaced whole; endpoint and part limits stay until they are named."""
    service = _base("services: {base: {limits: [{requests: 9, window: 60}]}}")
    assert _amounts(service) == [("requests", 9)]
    assert _of(service, "hear") == [("requests", 7), ("concurrent", 5), ("requests", 8)]


def test_no_limits_can_be_asked_for() -> None:
    """An empty list is an answer."""
    assert _base("services: {base: {limits: []}}").limits == ()


def test_hosts_of_the_operator_come_beside() -> None:
    """Reverse calls still go to the catalogue's first host."""
    assert _base("services: {base: {hosts: Extra.example}}").hosts == ("api.base.example", "extra.example")


def test_an_endpoint_is_changed_field_by_field_and_new_ones_come_first() -> None:
    """What is not said of an endpoint stays; a new one is matched before the catalogue's."""
    service = _base("services: {base: {endpoints: {hear: {limits: []}, new: {path: /talk}}}}")
    assert [endpoint.name for endpoint in service.endpoints] == ["new", "talk", "hear", "see", "other"]
    assert _endpoint(service, "hear").path == "/hear"
    assert _of(service, "hear") == [("concurrent", 5), ("requests", 8)]


def test_a_part_is_limits_shared_by_its_endpoints() -> None:
    """Its endpoints count in one bucket; a section of its name replaces its limits."""
    service = _base("services: {senses: {limits: [{concurrent: 2}]}}")
    assert _of(service, "see") == [("concurrent", 2)]
    assert _endpoint(service, "see").limits[0] == _endpoint(service, "hear").limits[1]
    assert _amounts(service) == [("requests", 1), ("tokens", 2)]


@pytest.mark.parametrize(
    ("text", "service", "see"),
    [
        ("{base_tokens: {limits: [{tokens: 5, window: 60}]}}", [("requests", 1), ("tokens", 5)], None),
        ("{ground_tokens: {limits: [{requests: 5, window: 60}]}}", [("requests", 1), ("tokens", 5)], None),
        (
            "{base: {limits: [{requests: 3, window: 60}]}, base_tokens: {limits: [{capacity: 5, refillRate: 1}]}}",
            [("requests", 3), ("tokens", 4)],
            None,
        ),
        (
            "{base_tokens: {limits: [{capacity: 5, refillRate: 1}]}, base: {limits: [{requests: 3, window: 60}]}}",
            [("requests", 3), ("tokens", 4)],
            None,
        ),
        (
            "{senses_requests: {limits: [{requests: 4, window: 1}]}}",
            [("requests", 1), ("tokens", 2)],
            [("concurrent", 5), ("requests", 4)],
        ),
        (
            "{senses: {limits: [{concurrent: 2}]}, senses_requests: {limits: [{requests: 4, window: 1}]}}",
            [("requests", 1), ("tokens", 2)],
            [("concurrent", 2), ("requests", 4)],
        ),
    ],
)
def test_a_section_named_after_a_meter_holds_that_meters_limits(
    text: str, service: list[tuple[str, int]], see: list[tuple[str, int]] | None
) -> None:
    """It replaces the catalogue's limits of its meter, and comes beside the operator's own, in either order.

    A bucket of 5 that refills one a second lets 4 leave at once: half of one refills within the jitter.
    """
    found = _base(f"services: {text}")
    assert _amounts(found) == service
    assert _of(found, "see") == (see or [("concurrent", 5), ("requests", 8)])


def test_a_backoff_beside_a_meters_limits_is_advised_about() -> None:
    """The earlier system wrote one everywhere; here it has no effect and check says so."""
    text = "services: {base_tokens: {limits: [{tokens: 5, window: 60}], backoff: {type: linear}}}"
    advice = [one.message for one in parsed(text, catalogue={"base.yaml": BASE}).advice]
    assert "has no effect here: that of base holds" in advice


def test_the_credential_is_read_where_it_is_written_and_elsewhere() -> None:
    """The place of writing is among the places of reading, once."""
    credential = _base("").credential
    assert [(place.place, place.name) for place in credential.read] == [("header", "x-key"), ("query", "key")]
    assert credential.write == credential.read[0]


def test_signed_calls_beside_a_pool_are_advised_about() -> None:
    """And not where there is none."""
    catalogue = {"base.yaml": BASE.replace("{write: {header: x-key}", "{signed: OAuth, write: {header: x-key}")}
    for environ, said in (({"BASE_KEY": "sk-1"}, 1), ({}, 0)):
        advice = parsed("", catalogue=catalogue, environ=environ).advice
        assert sum("signed with OAuth" in one.message for one in advice) == said
    assert parsed("", catalogue=catalogue).policy.services["base"].credential.signed == ("oauth",)


def test_a_dialect_that_nobody_speaks_is_a_mistake() -> None:
    """With the one that may be meant."""
    with pytest.raises(ConfigInvalid, match=r"dialect: is no dialect \(did you mean 'openai'\?\)"):
        _base("services: {base: {dialect: opnai}}")


def test_where_calls_go_can_be_changed() -> None:
    """Base URL, dialled address and trusted roots, each by itself."""
    text = "services: {base: {upstream: 'http://gate.example/x', connect_to: '10.0.0.1:8443', upstream_ca: ca.pem}}"
    pem = "-----BEGIN CERTIFICATE-----\nabc\n"
    service = parsed(text, catalogue={"base.yaml": BASE}, files={"ca.pem": pem}).policy.services["base"]
    assert service.upstream is not None
    assert (service.upstream.host, service.upstream.path) == ("gate.example", "/x")
    assert (service.connect_to, service.upstream_ca) == (("10.0.0.1", 8443), pem)


def test_aliases_and_parts_are_other_names() -> None:
    """A reverse call may say either."""
    assert _base("").aliases == ("ground", "senses")


def test_a_part_of_an_endpoint_that_is_not_there_is_a_mistake() -> None:
    """The catalogue's own slips are told too."""
    with pytest.raises(
        ConfigInvalid, match=r"parts\.senses\.endpoints\[1\]: is no endpoint of base \(did you mean 'see'\?\)"
    ):
        parsed("", catalogue={"base.yaml": BASE.replace("[hear, see]", "[hear, sea]")})


def _advice(text: str) -> list[str]:
    return [told.message for told in parsed(text).advice]


def test_prices_of_the_operator_stand_before_the_table() -> None:
    """A model of the table may be given another price, and one that is not there a first."""
    text = "services: {openai: {prices: {gpt-4o: {input: 1}, 'ft:*': {input: 7, output: 8, cached_input: 0.5}}}}"
    prices = parsed(text).policy.services["openai"].prices
    found = {model: prices.of(model) for model in ("gpt-4o", "gpt-4o-mini", "ft:gpt-4o:me", "gpt-99")}
    assert {model: price.input if price else None for model, price in found.items()} == {
        "gpt-4o": 1,
        "gpt-4o-mini": 0.15,
        "ft:gpt-4o:me": 7,
        "gpt-99": None,
    }


def test_a_budget_says_what_it_does_not_count() -> None:
    """Until the operator has decided about calls whose price is not known; models it names are looked up at once."""
    limits = "limits: [{usd: 5, window: day}, {usd: 1, window: day, models: [gpt-99, gpt-4o, 'gpt-9*']}]"
    assert _advice(f"services: {{openai: {{{limits}}}}}") == [
        "calls of openai whose price is not known cost 0 usd; for a hard budget say unpriced: refuse",
        "gpt-99 has no price: its calls cost 0 usd here",
    ]
    for choice in ("pass", "refuse"):
        text = f"services: {{openai: {{unpriced: {choice}, {limits}}}}}"
        assert _advice(text) == ["gpt-99 has no price: its calls cost 0 usd here"]
        assert parsed(text).policy.services["openai"].unpriced == choice


def test_a_budget_that_cannot_bind_is_advised_against() -> None:
    """No model of the service has a price, and no endpoint costs usd."""
    text = "services: {reddit: {limits: [{usd: 5, window: day}], endpoints: {other: {costs: {requests: 1%s}}}}}"
    never = "no endpoint of reddit counts usd: this limit never binds; give its models prices"
    assert never in _advice(text % "")
    assert never not in _advice(text % ", usd: 0.01")


def test_usage_is_asked_for_where_the_catalogue_says_that_it_is_understood() -> None:
    """And nowhere else; the operator may say otherwise."""
    services = parsed("services: {mine: {hosts: [a.example], ask_usage: true}}").policy.services
    assert {name for name, service in services.items() if service.ask_usage} == {"openai", "mine"}
    assert not parsed("services: {openai: {ask_usage: false}}").policy.services["openai"].ask_usage


@pytest.mark.parametrize(("group", "advised"), [("one", True), ("two", False)])
def test_a_reserved_key_beside_shared_ones_of_its_group_reserves_nothing_and_check_says_so(
    group: str, advised: bool
) -> None:
    """Its limits are the group's, and the others use them up (limiter 8)."""
    text = f"""
tiers: {{gold: {{weight: 2}}}}
services:
  base:
    keys:
      - {{name: a, env: A, group: one}}
      - {{name: b, env: B, group: {group}, reserve_for: [gold]}}
"""
    said = parsed(text, catalogue={"base.yaml": BASE}, environ={"A": "sk-a", "B": "sk-b"}).advice
    assert any("reserves nothing" in str(advice) for advice in said) == advised


def test_what_a_status_does_to_a_key_is_read_from_the_file() -> None:
    """By number, with how often a key that is out is tried; a minute unless given."""
    text = "services: {base: {key_upkeep: {on_status: {403: error, 402: exhausted}, probe_every: 5s}}}"
    upkeep = _base(text).upkeep
    assert (dict(upkeep.actions), upkeep.probe_ms) == ({403: "error", 402: "exhausted"}, 5000)
    assert _base("services: {base: {}}").upkeep.probe_ms == 60_000

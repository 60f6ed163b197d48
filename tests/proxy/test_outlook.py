"""proxy/outlook.py: what is foretold of a call is what the corridor then does with it, and foretelling does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errand import in_force
from proxy.errors import Problem
from proxy.measure import METERED_BYTES
from proxy.outlook import Outlook, Question, ask
from tests.raw_server import answering, ok, raw_server

from .corridor import CHAT, PATH, TOKEN, Corridor, corridor, service

MORE = """
tiers: {gold: {weight: 4}}
clients: {anonymous: loopback, tokens: [{name: ann, env: TOKEN_ANN, user: ada, tier: gold, may_set: [user]}]}
"""
LIMITS = ", limits: [{requests: 2, window: 60}, {tokens: 100000, window: 60, per: [user]}]"


async def foretold(front: Corridor, **question: Any) -> Outlook:
    """Asked of the gate that serves the corridor."""
    return await ask(Question(**question), in_force(front.policy, loopback_only=True), front.gate)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PATH, CHAT),
        ("POST", PATH, b""),
        ("POST", PATH, b"no json"),
        ("POST", "/openai/v1/embeddings", b'{"model": "text-embedding-3-small", "input": "Good day?"}'),
        ("POST", "/openai/v1/audio/transcriptions", b"x" * 32_000),
        ("GET", "/openai/v1/models?limit=3", b""),
    ],
)
async def test_service_endpoint_cost_and_caller_are_those_of_the_call(method: str, path: str, body: bytes) -> None:
    """The log line of the call itself says the same of each."""
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream, LIMITS)) as front:
        found = await foretold(front, method=method, url=path, body=body)
        assert (front.gate.granted, front.gate.unfinished, front.gate.services) == (0, 0, [])
        await front.ask(path, body or None, method=method)
        (line,) = front.lines()
    assert found.service is not None
    assert found.endpoint is not None
    told: dict[str, Any] = {"service": found.service.name, "endpoint": found.endpoint.name, "model": found.model}
    told |= {"client": found.identity.client, "user": found.identity.user, "estimate": dict(found.costs)}
    assert told == {name: line.get(name) for name in told}
    assert found.uncounted == (method == "POST" and not body)


async def test_the_verdict_is_the_gates() -> None:
    """It goes, and goes, and then would be refused with code, limit and wait as the call is."""
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream, LIMITS)) as front:
        told = []
        for _ in range(3):
            found = await foretold(front, method="post", url=PATH, body=CHAT, max_wait="1s")
            assert found.said is not None
            assert found.enforced is None
            told.append(found.said)
            answer = await front.ask(x_headgate_max_wait="1s")
    assert [(said.verdict, said.code) for said in told] == [("go", None), ("go", None), ("refuse", "wait_too_long")]
    assert (answer.status, answer.reason) == (429, "wait_too_long")
    binds, wait_ms = told[2].binds, told[2].wait_ms
    assert binds is not None
    assert binds.limit.name.encode() in bytes(answer.body)
    assert wait_ms is not None
    assert abs(wait_ms - int(answer.headers["retry-after-ms"])) < 1000


async def test_an_observed_service_is_told_both_ways() -> None:
    """It goes, and enforced it would not."""
    config = service(1, ", mode: observe, limits: [{tokens: 5, window: 60}]")
    async with corridor(config) as front:
        found = await foretold(front, method="POST", url=PATH, body=CHAT)
    assert found.said is not None
    assert found.enforced is not None
    assert (found.said.verdict, found.enforced.verdict, found.enforced.code) == ("go", "refuse", "never_fits")


@pytest.mark.parametrize(
    "url",
    [
        "/openai/v1/models",
        "https://api.openai.com/v1/models",
        "http://api.openai.com/v1/models?a=b",
        "http://127.0.0.1:8080/openai/v1/models",
        "http://localhost/openai/v1/models",
        "http://[::1]:8080/openai/v1/models",
    ],
)
async def test_a_url_may_be_the_providers_or_ours(url: str) -> None:
    """Each leads to the same endpoint."""
    async with corridor(service(1)) as front:
        found = await foretold(front, method="GET", url=url)
    assert found.service is not None
    assert (found.service.name, found.endpoint and found.endpoint.name) == ("openai", "other")


@pytest.mark.parametrize("url", ["openai/v1", "api.openai.com", "ftp://x/y", "/a b", "/a\x01", "", "http://[::1/x"])
async def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    """A mistake of who asks, no verdict."""
    async with corridor(service(1)) as front:
        with pytest.raises(ValueError, match=r"URL"):
            await foretold(front, method="GET", url=url)


@pytest.mark.parametrize(
    ("path", "question", "fields"),
    [
        ("/nobody/v1", {}, {}),
        (PATH + "/../models", {}, {}),
        (PATH, {"method": "TRACE"}, {}),
        (PATH, {"tier": "none"}, {"x_headgate_tier": "none"}),
        (PATH, {"priority": "10"}, {"x_headgate_priority": "10"}),
        (PATH, {"max_wait": "soon"}, {"x_headgate_max_wait": "soon"}),
        (PATH, {"client": "ann", "tier": "gold"}, {"x_headgate_tier": "gold"}),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_never_comes_to_the_gate_is_refused_by_the_same_code(
    path: str, question: dict[str, Any], fields: dict[str, str]
) -> None:
    """By the room that refuses the call."""
    given: dict[str, Any] = {"method": "POST", **question}
    async with corridor(MORE + service(1)) as front:
        with pytest.raises(Problem) as refused:
            await foretold(front, url=path, **given)
        authorization = TOKEN if "client" in question else "unknown"
        answer = await front.ask(path, method=given["method"], Authorization=f"Bearer {authorization}", **fields)
    codes = {answer.reason} if answer.reason is not None else set(front.refused)
    assert codes == {refused.value.code}


async def test_a_client_is_taken_by_its_name() -> None:
    """With its user and tier, and what it may set; one nobody knows is a mistake of who asks."""
    async with raw_server(answering(ok())) as upstream, corridor(MORE + service(upstream)) as front:
        found = await foretold(front, method="GET", url="/openai/v1/models", client="ann")
        other = await foretold(front, method="GET", url="/openai/v1/models", client="ann", user="bob")
        await front.ask("/openai/v1/models", None)
        (line,) = front.lines()
        with pytest.raises(ValueError, match="--client"):
            await foretold(front, method="GET", url="/openai/v1/models", client="joe")
    identity = found.identity
    assert (identity.client, identity.user, identity.tier, identity.weight) == ("ann", "ada", "gold", 4)
    assert (line["client"], line["user"], line["tier"]) == ("ann", "ada", "gold")
    assert other.identity.user == "bob"


async def test_a_host_outside_the_catalogue_passes_where_it_may() -> None:
    """Without service and verdict; where it may not, by the code of such a call."""
    async with corridor(service(1)) as front:
        found = await foretold(front, method="GET", url="https://example.com/")
        assert (found.service, found.said) == (None, None)
        rules = in_force(front.policy, loopback_only=False)
        with pytest.raises(Problem, match="host_denied"):
            await ask(Question(method="GET", url="https://example.com/"), rules, front.gate)


async def test_a_pool_without_a_key_has_none() -> None:
    """All keys are kept for others: no_key, and no limit to show."""
    pool = "[{name: a, env: KEY_A, reserve_for: [gold]}]"
    async with corridor(MORE + service(1, keys=pool)) as front:
        found = await foretold(front, method="GET", url="/openai/v1/models")
    assert found.said is not None
    assert (found.said.verdict, found.said.code, found.said.rooms) == ("refuse", "no_key", ())


async def test_the_model_stands_in_for_a_body() -> None:
    """It chooses the limits, where a body would be read; a body too long to be read is counted by its length."""
    limits = ", limits: [{requests: 5, window: 60, models: ['gpt-4o*']}]"
    async with corridor(service(1, limits)) as front:
        named = await foretold(front, method="POST", url=PATH, model="gpt-4o-mini")
        other = await foretold(front, method="GET", url="/openai/v1/files", model="gpt-4o-mini")
        long = await foretold(front, method="POST", url=PATH, body=b" " * (METERED_BYTES + 4))
    assert (named.model, other.model, long.model) == ("gpt-4o-mini", None, None)
    names = [room.charge.limit.name for found in (named, other) for room in (found.said.rooms if found.said else ())]
    assert sum("gpt-4o" in name for name in names) == 1
    assert long.costs["tokens"] == METERED_BYTES / 4 + 1

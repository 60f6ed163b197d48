"""proxy/admin/keys.py: the states of keys over HTTP, and turning one off."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.admin.guard import guard
from proxy.admin.keys import KeyRoutes
from proxy.admin.server import Admin
from proxy.settings import Address
from tests.raw_server import answering, raw_server

from ..corridor import KEYS, TWO_GROUPS, Corridor, corridor, service
from ..test_exchange import DEAD, DONE, NO_QUOTA, ROOMY, keys_of, per_key, refusal

LONG = refusal(429, "rate_limit_exceeded", fields=b"retry-after: 300\r\n")


@contextlib.asynccontextmanager
async def admin(front: Corridor, token: str | None = None) -> AsyncIterator[str]:
    """The admin port of a corridor."""
    port = Admin(
        front.metrics.registry,
        ready=lambda: None,
        degraded=lambda: None,
        api=KeyRoutes(front.keyring, front.gate).routes(),
        middleware=[guard(token, "headgate.internal")],
    )
    address = await port.start(Address("127.0.0.1", 0))
    try:
        yield address.url
    finally:
        await port.close()


async def told(session: aiohttp.ClientSession, url: str, body: Any = None, **fields: str) -> tuple[int, Any]:
    """Status and JSON of an answer; with a body it is a POST."""
    headers = {name.replace("_", "-"): text for name, text in fields.items()}
    async with session.request("GET" if body is None else "POST", url, json=body, headers=headers) as reply:
        return reply.status, await reply.json()


async def test_the_list_names_every_key_of_every_pool_and_shows_none() -> None:
    """With group, state, reason and when it is tried."""
    answers = {KEYS["KEY_A"]: DEAD, KEYS["KEY_B"]: DONE}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
        admin(front) as url,
    ):
        for _ in range(2):
            await front.ask()
        status, said = await told(front.session, f"{url}/api/keys")
        assert status == 200
        a, b = said["keys"]
        assert (a["service"], a["group"], a["state"], a["tries"]) == ("openai", "one", "error", True)
        assert (b["state"], b["reason"], b["for_ms"]) == ("active", "", None)
        assert not any(secret in str(said) for secret in KEYS.values())


async def test_a_key_that_is_turned_off_serves_nobody_until_it_is_turned_on() -> None:
    """By its name or by its whole id."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
        admin(front) as url,
    ):
        status, said = await told(front.session, f"{url}/api/keys/off", {"key": "a"})
        (key,) = said["keys"]
        assert (status, key["state"], key["reason"]) == (200, "off", "turned off by an operator")
        for _ in range(4):
            await front.ask()
        assert not any(KEYS["KEY_A"] in used for used in keys_of(upstream))
        status, said = await told(front.session, f"{url}/api/keys/on", {"key": key["key"], "service": "openai"})
        assert (status, said["keys"][0]["state"]) == (200, "active")
        for _ in range(2):
            await front.ask()
        assert any(KEYS["KEY_A"] in used for used in keys_of(upstream))


async def test_turning_a_key_on_ends_whatever_kept_it() -> None:
    """Its group's quota and its model's pause too; so it serves at once."""
    answers = {KEYS["KEY_A"]: NO_QUOTA, KEYS["KEY_B"]: LONG}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
        admin(front) as url,
    ):
        assert (await front.ask(x_headgate_max_wait="0")).reason == "no_key"
        for name in "ab":
            status, said = await told(front.session, f"{url}/api/keys/on", {"key": name})
            assert (status, said["keys"][0]["state"]) == (200, "active")
        answers |= {KEYS["KEY_A"]: DONE, KEYS["KEY_B"]: DONE}
        assert [(await front.ask(x_headgate_max_wait="0")).status for _ in range(2)] == [200] * 2


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"key": "nobody"}, 404),
        ({"key": "a", "service": "reddit"}, 404),
        ({"key": 1}, 400),
        ({"service": "openai"}, 400),
        ([], 400),
        ({"key": "a", "service": {}}, 400),
    ],
)
async def test_what_names_no_key_is_refused_in_words(asked: Any, status: int) -> None:
    """And nothing is turned."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
        admin(front) as url,
    ):
        found, said = await told(front.session, f"{url}/api/keys/off", asked)
        assert (found, list(said)) == (status, ["error"])
        assert {key.state for _, key in front.keyring.look()} == {"active"}


async def test_a_name_of_two_keys_is_not_guessed() -> None:
    """Their ids are named instead."""
    config = "services:\n" + "".join(
        f"  {name}: {{keys: [{{name: a, env: {env}}}]}}\n" for name, env in (("openai", "KEY_A"), ("reddit", "KEY_B"))
    )
    async with corridor(config) as front, admin(front) as url:
        status, said = await told(front.session, f"{url}/api/keys/off", {"key": "a"})
        assert status == 409
        assert "openai" in said["error"]
        assert "reddit" in said["error"]

"""Every foreign client through every entrance: what it sends arrives, what it gets back is what the provider said.

Each client first calls its provider directly; that run is the measure of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rules.meters.streamusage import ask
from tests.headgate_process import Headgate
from tests.upstreams.providers import Providers
from tests.upstreams.standin import Seen, StandIn

from .clientrun import CLIENTS, Client, Entrance, Run, Way, run
from .conftest import POOLED, TOKEN
from .toolchains import ToolchainMissing

pytestmark = pytest.mark.timeout(600)  # a first build of a foreign client is part of the first test that needs it

ENTRANCES: tuple[Entrance, ...] = ("reverse", "forward", "intercept", "tunnel")
CREDENTIALS = {"authorization", "x-api-key"}
FRAMING = {"host", "connection", "content-length", "transfer-encoding", "expect", "proxy-connection"}
"""Headers of one hop: each side writes its own."""
UPGRADE = {"upgrade", "http2-settings"}
"""Java offers h2c on plain connections; an offer ends at the hop that got it (RFC 9110 7.8)."""

CODINGS = "accept-encoding"
"""Narrowed to what the usage tap can read (provider-facts 6.3); never widened."""

Runner = Callable[[Client, Entrance], Run]


def _upstream(client: Client, entrance: Entrance, providers: Providers) -> StandIn:
    if entrance == "forward":
        return providers.plain_openai if client.provider == "openai" else providers.plain_anthropic
    return providers.openai if client.provider == "openai" else providers.anthropic


@pytest.fixture(scope="session")
def runner(providers: Providers, headgate: Headgate, plain_headgate: Headgate, audio: Path) -> Runner:
    """Runs a client through an entrance; direct runs are made once for each client."""
    kept: dict[str, Run] = {}

    def way(client: Client, entrance: Entrance, upstream: StandIn) -> Way:
        host = f"api.{client.provider}.com"
        if entrance == "direct":
            return Way(base=f"https://127.0.0.1:{upstream.port}", proxy=None, ca=providers.ca)
        if entrance == "reverse":
            return Way(base=f"{headgate.proxy}/{client.provider}", proxy=None, ca=providers.ca)
        if entrance == "forward":
            return Way(base=f"http://{host}", proxy=plain_headgate.proxy, ca=providers.ca)
        if entrance == "intercept":
            return Way(base=f"https://{host}", proxy=headgate.proxy, ca=headgate.ca)
        return Way(base=f"https://127.0.0.1:{upstream.port}", proxy=headgate.proxy, ca=providers.ca)

    def make(client: Client, entrance: Entrance) -> Run:
        if entrance == "direct" and client.name in kept:
            return kept[client.name]
        upstream = _upstream(client, entrance, providers)
        try:
            done = run(client, way(client, entrance, upstream), upstream, token=TOKEN, audio=audio)
        except ToolchainMissing as missing:
            pytest.skip(str(missing))
        if entrance == "direct":
            kept[client.name] = done
        return done

    return make


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_foreign_client_works_through_every_entrance(client: Client, entrance: Entrance, runner: Runner) -> None:
    """The upstream gets what the client sent, under the pool's key, and the client gets what the upstream said."""
    direct = runner(client, "direct")
    through = runner(client, entrance)

    assert len(through.seen) == len(direct.seen)
    for sent, arrived in zip(direct.seen, through.seen, strict=True):
        assert (arrived.method, arrived.target) == (sent.method, sent.target)
        assert _comparable(arrived) == (_comparable(sent) if entrance == "tunnel" else _asking(sent))
        _check_headers(sent, arrived)
        if entrance == "tunnel":
            assert arrived.contains(TOKEN), "a blind tunnel must not touch what passes"
        else:
            _check_key(client, arrived)

    assert {name: call["text"] for name, call in through.calls.items()} == {
        name: call["text"] for name, call in direct.calls.items()
    }
    assert through.pieces == direct.pieces
    for call in through.calls.values():
        _check_reply_headers(client, entrance, call["headgate"])


def test_no_tunnel_stays_open_behind_a_client_that_has_gone(headgate: Headgate, runner: Runner) -> None:
    """Both ends closed, each in its own time: the tunnel is gone, not kept for its idle time."""
    runner(next(client for client in CLIENTS if client.name == "requests"), "tunnel")
    headgate.until(lambda: headgate.metric("headgate_tunnels") == 0)


def _check_key(client: Client, arrived: Seen) -> None:
    assert not arrived.contains(TOKEN), "the client's token reached the upstream"
    if client.provider == "openai":
        assert arrived.header("Authorization") == f"Bearer {POOLED['KEY_OPENAI']}"
    else:
        assert arrived.header("x-api-key") == POOLED["KEY_ANTHROPIC"]
        assert arrived.header("Authorization") is None


def _check_headers(sent: Seen, arrived: Seen) -> None:
    skip = CREDENTIALS | FRAMING | UPGRADE | {CODINGS}
    before = {(name.lower().decode(), _unbound(value, sent)) for name, value in sent.headers}
    after = {(name.lower().decode(), _unbound(value, arrived)) for name, value in arrived.headers}
    before = {(name, value) for name, value in before if name not in skip}
    after = {(name, value) for name, value in after if name not in skip | {"via"}}
    assert after == before
    asked, passed = ({part.strip() for part in (seen.header(CODINGS) or "").split(",")} for seen in (sent, arrived))
    assert passed - {"identity", ""} <= asked, "a coding the client did not ask for"
    assert not {name.lower().decode() for name, _ in arrived.headers} & (UPGRADE | {"proxy-connection"})


def _check_reply_headers(client: Client, entrance: Entrance, ours: dict[str, str]) -> None:
    if entrance == "tunnel":
        assert ours == {}
        return
    assert ours["x-headgate-service"] == client.provider
    assert ours["x-headgate-request-id"]
    assert re.fullmatch(r"\d+\.\d{3}", ours["x-headgate-waited"])
    assert "x-headgate-reason" not in ours, "a reply of the upstream must not look like one of ours"


def _comparable(seen: Seen) -> bytes:
    """The body; a form's boundary, which each run draws anew, replaced by a fixed one."""
    boundary = _boundary(seen)
    return seen.body.replace(boundary, b"BOUNDARY") if boundary else seen.body


def _asking(seen: Seen) -> bytes:
    """The same as it leaves Headgate: a stream of a chat asks for its usage there."""
    edited = ask(seen.body) if seen.target.endswith("/chat/completions") else None
    return edited or _comparable(seen)


def _unbound(value: bytes, seen: Seen) -> bytes:
    boundary = _boundary(seen)
    return value.replace(boundary, b"BOUNDARY") if boundary else value


def _boundary(seen: Seen) -> bytes | None:
    found = re.search(r'boundary="?([^";]+)', seen.header("Content-Type") or "")
    return found.group(1).encode() if found else None

"""Who may call, and that what a client shows us goes no further, at each entrance."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from tests.headgate_process import Headgate, serving
from tests.upstreams.providers import Providers
from tests.upstreams.standin import Seen, StandIn

from .conftest import CANARIES, POOLED, TOKEN

WORKER = "worker-canary-5eed"
CONFIG = """
clients:
  anonymous: nobody
  tokens: [{{name: crawler, env: WORKER_TOKEN, user: ann, may_set: [user]}}]
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    connect_to: 127.0.0.1:{openai}
    upstream_ca: {ca}
  reddit:
    keys: [{{name: a, env: KEY_REDDIT}}]
    connect_to: 127.0.0.1:{reddit}
    upstream_ca: {ca}
"""


@pytest.fixture(scope="module")
def guarded(providers: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A headgate that serves one named client and nobody else."""
    config = CONFIG.format(openai=providers.openai.port, reddit=providers.reddit.port, ca=providers.ca)
    more = POOLED | {"WORKER_TOKEN": WORKER}
    directory = tmp_path_factory.mktemp("guarded")
    with serving(directory, config, more=more, canaries=(*CANARIES, WORKER)) as started:
        yield started


@pytest.fixture
def reddit(providers: Providers) -> Iterator[StandIn]:
    """Reddit, with nothing seen."""
    providers.forget()
    yield providers.reddit
    providers.forget()


def _through(headgate: Headgate, token: str | None) -> dict[str, str]:
    proxy = headgate.proxy if token is None else headgate.proxy.replace("://", f"://crawler:{token}@")
    return {"https": proxy, "http": proxy}


def _untouched(seen: Seen) -> bool:
    return not seen.contains(WORKER) and seen.header("Proxy-Authorization") is None


def test_proxy_credentials_open_the_intercepted_entrance(guarded: Headgate, reddit: StandIn) -> None:
    """The credentials of the proxy URL make the client known; the upstream gets the pool's key and no trace of them."""
    reply = requests.get(
        "https://oauth.reddit.com/api/v1/me?raw_json=1",
        proxies=_through(guarded, WORKER),
        verify=str(guarded.ca),
        headers={"Authorization": "Bearer placeholder", "User-Agent": "linux:crawler:1 (by /u/ann)"},
        timeout=30,
    )
    assert reply.status_code == 200
    (seen,) = reddit.seen
    assert seen.target == "/api/v1/me?raw_json=1"
    assert seen.header("Host") == "oauth.reddit.com"
    assert seen.header("Authorization") == f"Bearer {POOLED['KEY_REDDIT']}"
    assert seen.header("User-Agent") == "linux:crawler:1 (by /u/ann)"
    assert not seen.contains("placeholder")
    assert _untouched(seen)
    # the provider's own rate-limit headers are the client's to read
    assert reply.headers["x-ratelimit-remaining"] == "998.0"


def test_a_token_in_the_place_of_the_key_opens_every_entrance(guarded: Headgate, reddit: StandIn) -> None:
    """As the API key of a reverse call and of an intercepted one: known, replaced, gone."""
    worker = {"Authorization": f"Bearer {WORKER}"}
    reverse = requests.get(f"{guarded.proxy}/reddit/api/v1/me", headers=worker, timeout=30)
    caught = requests.get(
        "https://oauth.reddit.com/api/v1/me",
        headers=worker,
        proxies=_through(guarded, None),
        verify=str(guarded.ca),
        timeout=30,
    )
    assert (reverse.status_code, caught.status_code) == (200, 200)
    assert len(reddit.seen) == 2
    assert all(_untouched(seen) for seen in reddit.seen)


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {TOKEN}"}], ids=["no token", "unknown token"])
def test_whoever_is_not_known_is_turned_away_and_the_upstream_hears_nothing(
    guarded: Headgate, reddit: StandIn, headers: dict[str, str]
) -> None:
    """401 client_unknown, in words; without anonymous callers an unknown token is no caller at all."""
    reply = requests.get(f"{guarded.proxy}/reddit/api/v1/me", headers=headers, timeout=30)
    assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (401, "client_unknown")
    assert TOKEN not in reply.text
    caught = requests.get(
        "https://oauth.reddit.com/api/v1/me",
        headers=headers,
        proxies=_through(guarded, None),
        verify=str(guarded.ca),
        timeout=30,
    )
    assert caught.status_code == 401
    assert reddit.seen == []


def test_a_wrong_proxy_password_is_a_407_at_the_connect(guarded: Headgate, reddit: StandIn) -> None:
    """The tunnel is not opened, so nothing of the call is read."""
    with pytest.raises(requests.exceptions.ProxyError, match="407"):
        requests.get(
            "https://oauth.reddit.com/api/v1/me",
            proxies=_through(guarded, "wrong"),
            verify=str(guarded.ca),
            timeout=30,
        )
    assert reddit.seen == []


def test_control_headers_stop_here_and_only_who_may_sets_them(guarded: Headgate, reddit: StandIn) -> None:
    """The client may name its user but no tier; what it set never goes upstream, what it may not set is a 403."""
    worker = {"Authorization": f"Bearer {WORKER}"}
    url = f"{guarded.proxy}/reddit/api/v1/me"
    allowed = requests.get(url, headers=worker | {"X-Headgate-User": "bob", "X-Headgate-Max-Wait": "5s"}, timeout=30)
    denied = requests.get(url, headers=worker | {"X-Headgate-Tier": "premium"}, timeout=30)
    garbled = requests.get(url, headers=worker | {"X-Headgate-Max-Wait": "soon"}, timeout=30)
    assert allowed.status_code == 200
    assert denied.status_code == 403
    assert (garbled.status_code, garbled.headers["X-Headgate-Reason"]) == (400, "bad_control_header")
    (seen,) = reddit.seen
    assert not any(name.lower().startswith(b"x-headgate") for name, _ in seen.headers)
    guarded_lines = [json.loads(line) for line in guarded.log.splitlines() if '"event":"call"' in line]
    assert all(line.get("user") != WORKER for line in guarded_lines)


def test_the_admin_port_is_not_reached_through_the_proxy(guarded: Headgate) -> None:
    """The admin port of this machine is an inside address: the forward entrance does not lead there."""
    reply = requests.get(
        f"{guarded.admin}/metrics", proxies=_through(guarded, WORKER), headers={"Accept": "*/*"}, timeout=30
    )
    assert reply.status_code in (403, 508)
    assert reply.headers["X-Headgate-Reason"] in ("address_denied", "port_denied", "host_denied", "loop")

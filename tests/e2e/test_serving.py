"""What a running headgate does with calls that do not go the plain way."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from tests.headgate_process import Headgate, serving
from tests.redis_server import free_port
from tests.upstreams import openai as provider
from tests.upstreams.providers import Providers
from tests.upstreams.standin import Reply, Seen, StandIn

from .conftest import TOKEN

KEYS = {"KEY_A": "sk-canary-aaaa-1111", "KEY_B": "sk-canary-bbbb-2222"}
CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_A}}, {{name: b, env: KEY_B}}]
    upstream: {upstream}
    limits: [{{requests: {requests}, window: {window}}}]
    hold: {{max_wait: {max_wait}}}
"""
CHAT: dict[str, Any] = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Good day?"}]}
WORKER = {"Authorization": f"Bearer {TOKEN}"}

Start = Callable[..., Headgate]


@pytest.fixture
def upstream(providers: Providers) -> Iterator[StandIn]:
    """OpenAI without TLS, with nothing seen."""
    providers.forget()
    yield providers.plain_openai
    providers.forget()


@pytest.fixture
def start(upstream: StandIn, tmp_path: Path) -> Iterator[Start]:
    """Starts a headgate with two keys in one group and one limit; stops it, exit code and log checked, at the end."""
    with contextlib.ExitStack() as stack:

        def begin(requests: int = 1000, window: int = 60, max_wait: str = "20s", more: str = "") -> Headgate:
            config = CONFIG.format(upstream=upstream.url, requests=requests, window=window, max_wait=max_wait) + more
            return stack.enter_context(serving(tmp_path, config, more=KEYS, canaries=(*KEYS.values(), TOKEN)))

        yield begin


def _chat(headgate: Headgate, **headers: str) -> requests.Response:
    url = f"{headgate.proxy}/openai/v1/chat/completions"
    return requests.post(
        url, json=CHAT, headers=WORKER | {k.replace("_", "-"): v for k, v in headers.items()}, timeout=40
    )


def _key(seen: Seen) -> str:
    return (seen.header("Authorization") or "").removeprefix("Bearer ")


@pytest.mark.parametrize(
    "body", [b"this is not JSON", b"", b"\xff\xfe\x00", b'{"model": "gpt-4o", ', b"[1, 2]", b"null"], ids=repr
)
def test_a_body_that_is_no_chat_is_forwarded_as_it_is(start: Start, upstream: StandIn, body: bytes) -> None:
    """The upstream says what is wrong with it, byte for byte what it got; never a 500 of ours."""
    headgate = start()
    url = f"{headgate.proxy}/openai/v1/chat/completions"
    reply = requests.post(url, data=body, headers={**WORKER, "Content-Type": "application/json"}, timeout=30)
    assert reply.status_code == 400
    assert "could not parse" in reply.json()["error"]["message"]
    assert "X-Headgate-Reason" not in reply.headers
    assert [seen.body for seen in upstream.seen] == [body]


def test_a_429_of_the_upstream_is_waited_for_and_the_client_sees_200(start: Start, upstream: StandIn) -> None:
    """The call goes back to the gate, rests as long as Retry-After says, and is sent again under its own bytes."""
    upstream.rules.append(_first(1, lambda _: provider.slow_down(1)))
    reply = _chat(start())
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "Good day, Ann."
    assert float(reply.headers["X-Headgate-Waited"]) >= 0.9
    first, second = upstream.seen
    assert first.body == second.body


def test_a_429_that_outlasts_the_deadline_reaches_the_client(start: Start, upstream: StandIn) -> None:
    """The pool rests for an hour: the client is told so at once, and the upstream is not asked again."""
    upstream.rules.append(lambda _: provider.slow_down(3600))
    reply = _chat(start())
    assert reply.status_code in (429, 503)
    assert 3590 <= int(reply.headers["Retry-After"]) <= 3600
    assert len(upstream.seen) == 1


def test_a_dead_key_is_taken_out_and_the_other_serves(start: Start, upstream: StandIn) -> None:
    """The upstream refuses one key as invalid: the call succeeds with the other, the dead one is not tried again."""
    dead: list[str] = []

    def refuse_the_first(seen: Seen) -> Reply | None:
        if not dead:
            dead.append(_key(seen))
        return provider.invalid_key() if _key(seen) == dead[0] else None

    upstream.rules.append(refuse_the_first)
    headgate = start()
    replies = [_chat(headgate).status_code for _ in range(5)]
    assert replies == [200] * 5
    used = [_key(seen) for seen in upstream.seen]
    assert used.count(dead[0]) == 1
    assert len(used) == 6


def test_a_pool_of_dead_keys_answers_no_key(start: Start, upstream: StandIn) -> None:
    """Every key refused: 503 no_key in the shape of the service, after each key was tried once."""
    upstream.rules.append(lambda _: provider.invalid_key())
    headgate = start()
    reply = _chat(headgate)
    assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (503, "no_key")
    assert reply.json()["error"]["code"] == "no_key"
    assert sorted(_key(seen) for seen in upstream.seen) == sorted(KEYS.values())


def test_an_exhausted_quota_is_not_retried_with_the_same_key(start: Start, upstream: StandIn) -> None:
    """`insufficient_quota` is no rate: the key's call is made once, and the client gets an answer at once."""
    upstream.rules.append(lambda _: provider.quota_exhausted())
    reply = _chat(start())
    assert reply.status_code in (429, 503)
    used = [_key(seen) for seen in upstream.seen]
    assert len(used) == len(set(used))


def test_both_keys_share_the_work(start: Start, upstream: StandIn) -> None:
    """The least recently granted key goes first, so two keys alternate."""
    headgate = start()
    for _ in range(6):
        assert _chat(headgate).status_code == 200
    used = [_key(seen) for seen in upstream.seen]
    assert used[0::2] == [used[0]] * 3
    assert used[1::2] == [used[1]] * 3
    assert set(used) == set(KEYS.values())


def test_max_wait_0_refuses_at_once_with_the_time_it_truly_takes(start: Start, upstream: StandIn) -> None:
    """A full limit and no patience: 429 wait_too_long; the worker that returns after Retry-After is let in."""
    headgate = start(requests=2, window=3)
    assert [_chat(headgate).status_code for _ in range(2)] == [200, 200]
    reply = _chat(headgate, X_Headgate_Max_Wait="0")
    assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (429, "wait_too_long")
    assert reply.json()["error"]["code"] == "wait_too_long"
    told = int(reply.headers["retry-after-ms"])
    # window 3 s + jitter 500 ms + one slice, and an eighth: so long room may be kept for others (promise.lua)
    assert 2000 < told <= 4300
    assert int(reply.headers["Retry-After"]) == -(-told // 1000)
    assert "RateLimit" in reply.headers
    assert "RateLimit-Policy" in reply.headers
    assert len(upstream.seen) == 2
    # The same call, held: it is let go no later than what was told.
    held = _chat(headgate)
    assert held.status_code == 200
    assert 0 < float(held.headers["X-Headgate-Waited"]) * 1000 <= told + 50


def test_a_call_in_flight_lasts_until_its_stream_has_ended(start: Start, upstream: StandIn) -> None:
    """One call in flight is allowed: while a stream runs no other goes, once it is over or dropped the next does."""
    headgate = start()
    _reload(headgate, headgate.config.read_text().replace("requests: 1000, window: 60", "concurrent: 1"))
    client = openai.OpenAI(base_url=f"{headgate.proxy}/openai/v1", api_key=TOKEN, max_retries=0)
    with client:
        for to_its_end in (True, False):
            with upstream.stepped() as step:
                step()
                stream = client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "Good day?"}], stream=True
                )
                next(stream)
                refused = _chat(headgate, X_Headgate_Max_Wait="0")
                assert (refused.status_code, refused.headers["X-Headgate-Reason"]) == (429, "wait_too_long")
                if to_its_end:
                    for _ in range(6):
                        step()
                    list(stream)
                stream.close()
                # the end of the stream and the settlement behind it are told to the gate in their own time
                headgate.until(lambda: _chat(headgate, X_Headgate_Max_Wait="0").status_code == 200)


def test_a_call_larger_than_its_limit_never_fits(start: Start, upstream: StandIn) -> None:
    """413 at once: no wait helps, and the upstream is not asked."""
    headgate = start(more="")
    headgate_config = headgate.config.read_text().replace("requests: 1000, window: 60", "tokens: 10, window: 60")
    _reload(headgate, headgate_config)
    reply = _chat(headgate)
    assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (413, "never_fits")
    assert upstream.seen == []


def test_a_changed_limit_is_in_force_without_a_restart(start: Start, upstream: StandIn) -> None:
    """Two calls fill the limit; a larger limit in the file lets the third go, and a broken file changes nothing."""
    headgate = start(requests=2, window=60)
    assert [_chat(headgate).status_code for _ in range(2)] == [200, 200]
    assert _chat(headgate, X_Headgate_Max_Wait="0").status_code == 429
    good = headgate.config.read_text().replace("requests: 2,", "requests: 3,")
    _reload(headgate, good)
    assert _chat(headgate, X_Headgate_Max_Wait="0").status_code == 200
    assert _chat(headgate, X_Headgate_Max_Wait="0").status_code == 429

    failures = headgate.metric("headgate_config_reload_failures_total")
    headgate.config.write_text(good + "nonsense: true\n")
    headgate.until(lambda: headgate.metric("headgate_config_reload_failures_total") > failures)
    assert _chat(headgate, X_Headgate_Max_Wait="0").status_code == 429
    assert "nonsense" in headgate.log
    assert len(upstream.seen) == 3


def test_sigterm_lets_a_running_stream_end(start: Start, upstream: StandIn) -> None:
    """The stream that was granted comes whole, new calls are not taken, and the exit code is 0."""
    headgate = start()
    client = openai.OpenAI(base_url=f"{headgate.proxy}/openai/v1", api_key=TOKEN, max_retries=0)
    with client, upstream.stepped() as step:
        step()
        stream = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Good day?"}], stream=True
        )
        words = [next(stream).choices[0].delta.content]
        headgate.terminate()
        headgate.until(lambda: _turned_away(headgate))
        for _ in range(6):
            step()
        words += [event.choices[0].delta.content for event in stream]
    assert "".join(word or "" for word in words) == "Good day, Ann."
    assert headgate.wait() == 0


def test_a_second_sigterm_does_not_wait_for_streams(start: Start, upstream: StandIn) -> None:
    """Whoever asks twice means it: the process ends though a stream is still running."""
    headgate = start()
    client = openai.OpenAI(base_url=f"{headgate.proxy}/openai/v1", api_key=TOKEN, max_retries=0)
    with client, upstream.stepped() as step:
        step()
        stream = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Good day?"}], stream=True
        )
        next(stream)
        headgate.terminate()
        headgate.until(lambda: _turned_away(headgate))
        headgate.process.send_signal(signal.SIGTERM)
        assert headgate.wait() == 0


def test_what_a_call_was_is_told_in_log_and_metrics_without_a_secret(start: Start, upstream: StandIn) -> None:
    """One line a call with the key's name, the four series of the earlier system, and no canary anywhere."""
    headgate = start()
    assert _chat(headgate).status_code == 200
    requests.get(f"{headgate.proxy}/openai/v1/models?api_key={TOKEN}&key={TOKEN}", headers=WORKER, timeout=30)
    assert not any(seen.contains(TOKEN) for seen in upstream.seen[:1])
    metrics = requests.get(f"{headgate.admin}/metrics", timeout=30).text
    for series in (
        "rate_limit_checks_total",
        "rate_limit_usage_ratio",
        "rate_limit_backoff_seconds",
        "api_quota_remaining",
        "headgate_granted_total",
        "headgate_waited_seconds",
        "headgate_upstream_responses_total",
        "headgate_estimate_ratio",
    ):
        assert series in metrics
    health = requests.get(f"{headgate.admin}/healthz", timeout=30)
    assert (health.status_code, requests.get(f"{headgate.admin}/readyz", timeout=30).status_code) == (200, 200)
    for canary in (*KEYS.values(), TOKEN):
        assert canary not in metrics
    headgate.stop()
    lines = [json.loads(line) for line in headgate.log.splitlines() if line.startswith("{")]
    calls = [line for line in lines if line.get("event") == "call"]
    assert len(calls) == 2
    assert calls[0]["service"] == "openai"
    assert calls[0]["status"] == 200
    assert calls[0]["key"].startswith(("a", "b"))
    assert "?" not in calls[1]["path"]


def test_an_upstream_that_is_away_is_a_502_in_the_shape_of_the_service(start: Start, tmp_path: Path) -> None:
    """Nobody listens there: `upstream_refused`, parsed by the SDK as the provider's own error."""
    config = CONFIG.format(upstream=f"http://127.0.0.1:{free_port()}", requests=10, window=60, max_wait="1s")
    with serving(tmp_path / "away", config, more=KEYS, canaries=tuple(KEYS.values())) as headgate:
        client = openai.OpenAI(base_url=f"{headgate.proxy}/openai/v1", api_key=TOKEN, max_retries=0)
        with client, pytest.raises(openai.InternalServerError) as raised:
            client.models.list()
    assert raised.value.status_code == 502
    assert raised.value.response.headers["X-Headgate-Reason"] == "upstream_refused"
    assert raised.value.code == "upstream_refused"


def test_an_unknown_service_is_a_404_that_says_what_was_expected(start: Start) -> None:
    """The first path segment must name a service."""
    reply = requests.get(f"{start().proxy}/nonesuch/v1/models", timeout=30)
    assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (404, "service_unknown")


def _first(count: int, answer: Callable[[Seen], Reply]) -> Callable[[Seen], Reply | None]:
    """A rule for the first calls only."""
    left = [count]

    def rule(seen: Seen) -> Reply | None:
        left[0] -= 1
        return answer(seen) if left[0] >= 0 else None

    return rule


def _reload(headgate: Headgate, config: str) -> None:
    """Write the file, and wait until another version is in force."""

    def version() -> str:
        text = requests.get(f"{headgate.admin}/metrics", timeout=30).text
        return next(line for line in text.splitlines() if line.startswith("headgate_config_info{"))

    before = version()
    headgate.config.write_text(config)
    headgate.until(lambda: version() != before)


def _turned_away(headgate: Headgate) -> bool:
    """Whether new calls are refused because it is draining; it still listens (threats 4.1)."""
    reply = requests.get(f"{headgate.proxy}/openai/v1/models", headers=WORKER, timeout=30)
    if reply.headers.get("X-Headgate-Reason") != "draining":
        return False
    assert reply.status_code == 503
    assert reply.headers["Connection"] == "close"
    assert int(reply.headers["Retry-After"]) >= 1
    assert requests.get(f"{headgate.admin}/readyz", timeout=30).status_code == 503
    return True

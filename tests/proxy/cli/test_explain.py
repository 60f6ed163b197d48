"""`headgate explain`, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.headgate_process import serving
from tests.raw_server import answering, ok, raw_server
from tests.redis_server import RedisServer, free_port, redis_server

from .headgate import headgate, surroundings

KEY = {"KEY": "sk-canary-explain-1111"}
CHAT = '{"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Good day?"}]}'
PATH = "/openai/v1/chat/completions"
CONFIG = """
services:
  openai:
    keys: [{name: a, env: KEY, group: one}]
    limits: [{requests: 3, window: 60, per: [group]}, {tokens: 29, window: 60, models: ["tiny*"]}]
  reddit: {mode: observe, limits: [{requests: 0.5, window: 60}]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the configuration and a body."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "chat.json").write_text(CHAT)
    return tmp_path


def asked(home: Path, *arguments: str, code: int = 0, **more: str) -> str:
    """What is printed on stdout, or on stderr where that fails; never a key."""
    done = headgate(home, "explain", *arguments, "--config", "c.yaml", **KEY, **more)
    assert (done.returncode, "Traceback" in done.stderr, "canary" in done.stdout + done.stderr) == (code, False, False)
    return done.stdout if code == 0 else done.stderr


def rows(text: str) -> list[tuple[str, str]]:
    """Name and text of each line."""
    return [(line[:9].strip(), line[10:]) for line in text.splitlines()]


def test_the_whole_of_it_in_plain_words(home: Path) -> None:
    """Service, caller, cost, store, each limit with its room, key and verdict; a gate of its own has nothing in use."""
    lines = rows(asked(home, "POST", PATH, "--body", "chat.json", "--user", "bob"))
    key = dict(lines)["key"].partition(",")[0]
    assert key.startswith("a-")
    assert lines == [
        ("service", "openai, endpoint chat.completions, mode enforce"),
        ("caller", "anonymous, user bob"),
        ("model", "gpt-4o"),
        ("cost", "1 requests, 10 input_tokens, 20 output_tokens, 30 tokens, 0.000225 usd"),
        ("store", "memory: nothing is in use; --store shows what those who share one have used"),
        ("limit", "3 requests per 60s per group: 0 of 3 used, takes 1, fits now"),
        ("key", f"{key}, group one"),
        ("verdict", "go now"),
    ]


def test_a_body_may_come_from_stdin_and_the_answer_be_json(home: Path) -> None:
    """The same facts, times in milliseconds."""
    command = [
        sys.executable,
        "-m",
        "proxy.cli",
        "explain",
        "post",
        PATH,
        "--config",
        "c.yaml",
        "--body",
        "-",
        "--json",
    ]
    body = CHAT.replace("gpt-4o", "tiny-1")
    environ = surroundings(home, **KEY)
    done = subprocess.run(command, cwd=home, env=environ, input=body, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["service"], said["model"], said["cost"]["tokens"]) == ("openai", "tiny-1", 31)
    assert (said["verdict"], said["code"], said["status"], said["wait_ms"]) == ("refuse", "never_fits", 413, None)
    assert said["binds"] == "29 tokens per 60s per group for tiny*"
    assert said["limits"][1] == {
        "limit": said["binds"],
        "amount": 29,
        "used": 0,
        "room": 29,
        "takes": 31,
        "ahead": 0,
        "fits_ms": None,
        "paced": False,
    }


def test_what_is_observed_is_told_both_ways(home: Path) -> None:
    """It goes; enforced it would be refused for good, and the limit says so. The key is the caller's."""
    lines = dict(rows(asked(home, "GET", "https://oauth.reddit.com/r/x")))
    assert lines["limit"].endswith("takes 1, never fits")
    assert lines["key"] == "the caller's own; what it has used is not known here"
    assert lines["verdict"] == "go now (observed: counted, never held)"
    assert lines["enforced"].startswith("refuse, 413 never_fits: reddit: the call costs more than a limit holds on 0.5")


def test_a_call_that_would_not_come_so_far_is_a_verdict_too(home: Path) -> None:
    """The code and the sentence its caller would get; a caller without a token is told what to name here."""
    assert rows(asked(home, "GET", "/nobody/v1"))[-1] == (
        "verdict",
        "refuse, 404 service_unknown: the first path segment must name a service, as in /openai/v1/models",
    )
    assert rows(asked(home, "GET", "https://example.com/"))[-1][1] == "pass: no key is put in and nothing is counted"
    (home / "c.yaml").write_text("clients: {anonymous: nobody, tokens: [{name: ann, env: KEY, user: ada}]}\n" + CONFIG)
    assert rows(asked(home, "GET", "/openai/v1/models"))[-1][1] == (
        "refuse, 401 client_unknown: this call needs a client's token; name a client with --client"
    )
    assert ("caller", "ann, user ada") in rows(asked(home, "GET", "/openai/v1/models", "--client", "ann"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("GET", "openai"), 2, "URL must be"),
        (("GET", PATH, "--client", "joe"), 2, "--client"),
        (("GET", PATH, "--body", "none.json"), 2, "none.json"),
        (("GET", PATH, "--body", "chat.json", "--model", "x"), 2, "--model"),
        (("GET", PATH, "--store", "ftp://x"), 2, "--store"),
        (("GET", PATH, "--store", f"redis://:canary@127.0.0.1:{free_port()}"), 5, "Redis at 127.0.0.1"),
    ],
    ids=lambda value: str(value[-1])[:20] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_asked_says_why(home: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """The exit codes of design 4.4, one line, no password."""
    assert words in asked(home, *arguments, code=code)


def test_a_configuration_that_cannot_be_used_is_3(home: Path) -> None:
    """With file, line and column."""
    (home / "c.yaml").write_text("services: {openia: {}}\n")
    assert asked(home, "GET", PATH, code=3).startswith("c.yaml:1:")


async def test_what_the_replicas_of_a_store_have_used_is_seen_and_left_alone(home: Path) -> None:
    """Two calls through a running Headgate use up the burst; a third would wait for the pace, or be refused for it."""
    with redis_server() as store:
        async with raw_server(answering(ok())) as upstream:
            config = CONFIG.replace("openai:", f"openai:\n    upstream: http://127.0.0.1:{upstream.port}")
            config = config.replace("requests: 3, window: 60", "requests: 3, window: 60, burst: 2")
            (home / "c.yaml").write_text(config)
            with serving(home / "serving", config, "--store", store.url, more=KEY, canaries=tuple(KEY.values())) as one:
                async with aiohttp.ClientSession() as client:
                    for _ in range(2):
                        async with client.post(one.proxy + PATH, data=CHAT) as reply:
                            assert reply.status == 200
                waits, refused, keys = await asyncio.to_thread(seen, home, store)
                assert store.command("DBSIZE") == keys
    assert ("store", f"Redis at 127.0.0.1:{store.port}, 0 waiting") in waits
    limit, verdict = dict(waits)["limit"], waits[-1][1]
    assert limit.startswith("3 requests per 60s per group: 2 of 3 used, takes 1, fits in ")
    assert limit.endswith(" s by its pace")
    assert verdict.startswith("wait ")
    assert verdict.endswith(" s for 3 requests per 60s per group")
    assert refused["code"] == "wait_too_long"
    assert 5_000 < refused["wait_ms"] <= 60_500


def seen(home: Path, store: RedisServer) -> tuple[list[tuple[str, str]], dict[str, Any], str]:
    """Asked with patience, asked without, and how many keys there were before."""
    keys = store.command("DBSIZE")
    waits = rows(asked(home, "POST", PATH, "--max-wait", "2m", HEADGATE_STORE=store.url))
    refused = json.loads(asked(home, "POST", PATH, "--max-wait", "0", "--json", "--store", store.url))
    return waits, refused, keys


def test_what_only_a_reply_tells_is_said_to_come_with_it(home: Path) -> None:
    """OpenRouter's cost, and the model behind an Azure deployment; one that is configured has its price."""
    (home / "any.json").write_text('{"model": "x", "messages": [{"role": "user", "content": "Hi"}]}')
    (home / "c.yaml").write_text(
        "services:\n  openrouter: {limits: [{usd: 1, window: day}]}\n"
        "  azure-openai: {upstream: 'https://a.openai.azure.com', deployments: {known: gpt-4o}}\n"
    )
    azure = "/azure-openai/openai/deployments/%s/chat/completions"
    for path, says in (
        ("/openrouter/api/v1/chat/completions", "0 usd; what that costs in usd is known when the reply tells its cost"),
        (azure % "new", "0 usd; what that costs in usd is known when the reply tells its model"),
        (azure % "known", "0.00002 usd"),
    ):
        assert dict(rows(asked(home, "POST", path, "--body", "any.json")))["cost"].endswith(says)


def test_what_a_call_costs_in_money_and_what_a_budget_has_left(home: Path) -> None:
    """The estimate in USD, in full digits; a model without a price is said to have none; a hard budget refuses it."""
    tiny = '{"model": "gpt-5-nano", "messages": [{"role": "user", "content": "Hi"}]}'
    (home / "tiny.json").write_text(tiny)
    (home / "other.json").write_text(tiny.replace("gpt-5-nano", "gpt-99"))
    config = "services: {openai: {keys: {env: KEY}, limits: [{usd: 0.5, window: day}], unpriced: %s}}\n"
    (home / "c.yaml").write_text(config % "pass")
    told = dict(rows(asked(home, "POST", PATH, "--body", "tiny.json")))
    assert told["cost"] == "1 requests, 8 input_tokens, 0 output_tokens, 8 tokens, 0.0000004 usd"
    assert told["limit"] == "0.5 usd per day (UTC) per group: 0 of 0.5 used, takes 0.0000004, fits now"
    told = dict(rows(asked(home, "POST", PATH, "--body", "other.json")))
    assert told["cost"].endswith("9 tokens; what that costs in usd is not known: the model has no price")
    assert told["verdict"] == "go now"
    (home / "c.yaml").write_text(config % "refuse")
    refused = dict(rows(asked(home, "POST", PATH, "--body", "other.json")))["verdict"]
    assert refused.startswith("refuse, 403 no_price: openai: the price of this call is not known")

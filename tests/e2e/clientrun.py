"""Runs a foreign client program the way a worker runs: its own process; proxy, CA and key in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.headgate_process import ROOT
from tests.upstreams.standin import PATIENCE, Seen, StandIn

from . import toolchains

Entrance = Literal["direct", "reverse", "forward", "intercept", "tunnel"]
Provider = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program, the calls it can make one after another, and the stream it makes last."""

    name: str
    command: Callable[[], list[str]]
    calls: tuple[str, ...]
    provider: Provider = "openai"
    asks_usage: bool = False
    """Its stream asks for usage."""
    names_proxy: bool = False
    """It does not read the proxy from the environment: it gets `EXPLICIT_PROXY`."""


def _python(module: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", f"tests.e2e.clients.{module}"]


def _curl() -> list[str]:
    toolchains.curl()
    return _python("plain_curl")()


def _node(script: str) -> Callable[[], list[str]]:
    return lambda: [*toolchains.node(), str(toolchains.node_script(script))]


CLIENTS = (
    Client(
        name="openai-python",
        command=_python("openai_sdk"),
        calls=("models", "chat", "responses", "embeddings", "audio"),
        asks_usage=True,
    ),
    Client(name="openai-python-async", command=_python("openai_async"), calls=("chat",)),
    Client(name="anthropic-python", command=_python("anthropic_sdk"), calls=("messages",), provider="anthropic"),
    Client(name="requests", command=_python("plain_requests"), calls=("models", "chat")),
    Client(name="httpx", command=_python("plain_httpx"), calls=("models", "chat")),
    Client(name="aiohttp", command=_python("plain_aiohttp"), calls=("models", "chat")),
    Client(name="urllib", command=_python("plain_urllib"), calls=("models", "chat")),
    Client(name="curl", command=_curl, calls=("models", "chat", "expect", "audio")),
    Client(name="openai-node", command=_node("openai.mjs"), calls=("chat", "embeddings", "audio")),
    Client(name="anthropic-node", command=_node("anthropic.mjs"), calls=("messages",), provider="anthropic"),
    Client(name="node-fetch", command=_node("fetch.mjs"), calls=("models", "chat")),
    Client(
        name="openai-go",
        command=lambda: [str(toolchains.go_client())],
        calls=("chat", "embeddings", "audio"),
        names_proxy=True,
    ),
    Client(name="java-httpclient", command=toolchains.java_client, calls=("models", "chat"), names_proxy=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the client is told to reach its provider: base URL, proxy if any, and the CA file it trusts."""

    base: str
    proxy: str | None
    ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of it: the program's report of each call, the pieces of the stream, and what the upstream saw."""

    calls: dict[str, dict[str, Any]]
    pieces: list[str]
    seen: list[Seen]


def run(client: Client, way: Way, upstream: StandIn, *, token: str, audio: Path) -> Run:
    """All calls of the client, then its stream, each piece of which the upstream sends only once the one before it
    has been reported by the client."""
    base = way.base + ("/v1" if client.provider == "openai" else "")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(audio.parent),
        "PYTHONPATH": str(ROOT),
        "AUDIO": str(audio),
        f"{client.provider.upper()}_BASE_URL": base,
        f"{client.provider.upper()}_API_KEY": token,
        "SSL_CERT_FILE": str(way.ca),
        "REQUESTS_CA_BUNDLE": str(way.ca),
        "CURL_CA_BUNDLE": str(way.ca),
        "NODE_EXTRA_CA_CERTS": str(way.ca),
        "DISABLE_TELEMETRY": "1",
    }
    if way.proxy is not None:
        names = (
            ("EXPLICIT_PROXY",) if client.names_proxy else ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        )
        environment |= dict.fromkeys(names, way.proxy)
    upstream.forget()
    command = [*client.command(), *client.calls, "stream"]
    errors = audio.parent / "client-stderr.txt"
    with (
        errors.open("w+b") as stderr,
        upstream.stepped() as step,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout is not None
        try:
            calls: dict[str, dict[str, Any]] = {}
            pieces: list[str] = []

            def line() -> dict[str, Any]:
                assert process.stdout is not None
                overdue = threading.Timer(PATIENCE, process.kill)
                overdue.start()
                raw = process.stdout.readline()
                overdue.cancel()
                told = errors.read_text(errors="replace")[-2000:]
                assert raw, f"{client.name} ended early, or said nothing for {PATIENCE:.0f} s:\n{told}"
                said: dict[str, Any] = json.loads(raw)
                return said

            for name in client.calls:
                said = line()
                assert said["call"] == name
                calls[name] = said
            seen = upstream.wait_seen(len(client.calls) + 1)
            # The stand-in holds every piece back until it is told; the client must have the last one before that.
            while True:
                step()
                said = line()
                if "piece" not in said:
                    break
                pieces.append(said["piece"])
                for _ in range(_unreported(client, len(pieces), seen[-1])):
                    step()
            calls["stream"] = said
            assert process.wait(30) == 0, errors.read_text(errors="replace")[-2000:]
        finally:
            process.kill()
    return Run(calls=calls, pieces=pieces, seen=upstream.wait_seen(len(client.calls) + 1))


def _unreported(client: Client, got: int, asked: Seen) -> int:
    """How many pieces of the stream follow that the client reports nothing of: none until it has told the rest."""
    if client.provider == "anthropic" or got < (6 if client.asks_usage else 5):
        return 0
    # the usage that Headgate asked for, and `[DONE]`
    return 2 if b'"include_usage"' in asked.body and not client.asks_usage else 1

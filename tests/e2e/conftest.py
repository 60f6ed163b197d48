"""What the end-to-end tests share: the providers, and one headgate for each way of reaching them."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.headgate_process import Headgate, serving
from tests.upstreams.providers import Providers, running

POOLED = {
    "KEY_OPENAI": "sk-pool-canary-openai-4f1d",
    "KEY_ANTHROPIC": "sk-ant-pool-canary-77aa",
    "KEY_REDDIT": "pool-canary-reddit-c0de",
}
TOKEN = "sk-client-canary-0b5e"
"""What the workers use as their key. It must never reach a pooled upstream."""
CANARIES = (*POOLED.values(), TOKEN)
SERVICES = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    limits: [{{requests: 100000, window: 60}}]
    {openai}
  anthropic:
    keys: [{{name: a, env: KEY_ANTHROPIC}}]
    limits: [{{requests: 100000, window: 60}}]
    {anthropic}
  reddit:
    keys: [{{name: a, env: KEY_REDDIT}}]
    connect_to: 127.0.0.1:{reddit}
    upstream_ca: {ca}
"""


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    """Stand-ins of the providers, for the whole session."""
    with running(tmp_path_factory.mktemp("upstreams")) as started:
        yield started


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short sound file with bytes of every value in it."""
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes(range(256)) * 250)
    return path


@pytest.fixture(scope="session")
def headgate(providers: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A headgate in front of the TLS providers: reverse, intercepted and tunnelled calls."""

    def dialled(port: int) -> str:
        return f"connect_to: 127.0.0.1:{port}\n    upstream_ca: {providers.ca}"

    config = SERVICES.format(
        openai=dialled(providers.openai.port),
        anthropic=dialled(providers.anthropic.port),
        reddit=providers.reddit.port,
        ca=providers.ca,
    )
    ports = f"{providers.openai.port}, {providers.anthropic.port}"
    addresses = "".join(
        f"\n    - {{range: 127.0.0.0/8, port: {standin.port}}}" for standin in (providers.openai, providers.anthropic)
    )
    config += f"egress:\n  allow: [127.0.0.1]\n  ports: [443, {ports}]\n  addresses:{addresses}\n"
    with serving(tmp_path_factory.mktemp("headgate"), config, more=POOLED, canaries=CANARIES) as started:
        yield started


@pytest.fixture(scope="session")
def plain_headgate(providers: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A headgate whose upstreams speak plain HTTP: forward calls in absolute form."""
    config = SERVICES.format(
        openai=f"upstream: {providers.plain_openai.url}",
        anthropic=f"upstream: {providers.plain_anthropic.url}",
        reddit=providers.reddit.port,
        ca=providers.ca,
    )
    with serving(tmp_path_factory.mktemp("plain-headgate"), config, more=POOLED, canaries=CANARIES) as started:
        yield started

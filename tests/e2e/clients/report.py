"""What a client program of these tests prints: one JSON line for each piece of a stream and one for each call."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping

QUESTION = "Good day? ✓ Grüße"
"""Holds characters of two and three bytes, so that a body that was re-encoded on the way differs."""
CHAT = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": QUESTION}]}


def call(name: str, text: str, headers: Iterable[tuple[str, str]]) -> None:
    """A call has ended with this text and these headers."""
    ours = {key.lower(): value for key, value in headers if key.lower().startswith("x-headgate-")}
    _print({"call": name, "text": text, "headgate": ours})


def piece(text: str) -> None:
    """A piece of a stream is here, parsed."""
    _print({"piece": text})


def run(calls: Mapping[str, Callable[[], None]]) -> None:
    """Make the calls named on the command line, in that order."""
    for name in sys.argv[1:]:
        calls[name]()


def base() -> str:
    """The base URL a worker was given."""
    return os.environ["OPENAI_BASE_URL"]


def key() -> str:
    """The key a worker was given."""
    return os.environ["OPENAI_API_KEY"]


def chat_body(*, stream: bool = False) -> bytes:
    """A chat completion in bytes of our own spelling: spaces and order that no encoder would choose."""
    body = json.dumps({**CHAT, "stream": True} if stream else CHAT, ensure_ascii=False, indent=1)
    return body.encode() + b"\n "


def delta(line: str) -> str | None:
    """The text of one line of a chat stream; None where the line carries no event."""
    if not line.startswith("data: ") or line.startswith("data: [DONE]"):
        return None
    choice = json.loads(line.removeprefix("data: "))["choices"][0]
    return str(choice["delta"].get("content") or "")


def content(reply: str | bytes) -> str:
    """The text of a chat completion."""
    return str(json.loads(reply)["choices"][0]["message"]["content"])


def models(reply: str | bytes) -> str:
    """The first model of a list."""
    return str(json.loads(reply)["data"][0]["id"])


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()

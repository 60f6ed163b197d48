"""requests, with nothing but the environment."""

from __future__ import annotations

import requests

from . import report

HEADERS = {"Authorization": f"Bearer {report.key()}", "Content-Type": "application/json"}


def _models() -> None:
    reply = requests.get(f"{report.base()}/models", headers=HEADERS, timeout=30)
    reply.raise_for_status()
    report.call("models", report.models(reply.content), reply.headers.items())


def _chat() -> None:
    reply = requests.post(f"{report.base()}/chat/completions", data=report.chat_body(), headers=HEADERS, timeout=30)
    reply.raise_for_status()
    report.call("chat", report.content(reply.content), reply.headers.items())


def _stream() -> None:
    with requests.post(
        f"{report.base()}/chat/completions",
        data=report.chat_body(stream=True),
        headers=HEADERS,
        timeout=30,
        stream=True,
    ) as reply:
        reply.raise_for_status()
        words: list[str] = []
        for line in reply.iter_lines(chunk_size=None, decode_unicode=True):
            if (text := report.delta(line)) is not None:
                words.append(text)
                report.piece(text)
        report.call("stream", "".join(words), reply.headers.items())


report.run({"models": _models, "chat": _chat, "stream": _stream})

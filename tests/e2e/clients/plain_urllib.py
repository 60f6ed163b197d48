"""The standard library's urllib, with nothing but the environment."""

from __future__ import annotations

import urllib.request

from . import report

HEADERS = {"Authorization": f"Bearer {report.key()}", "Content-Type": "application/json"}


def _models() -> None:
    asked = urllib.request.Request(f"{report.base()}/models", headers=HEADERS)
    with urllib.request.urlopen(asked, timeout=30) as reply:
        report.call("models", report.models(reply.read()), reply.headers.items())


def _chat() -> None:
    asked = urllib.request.Request(f"{report.base()}/chat/completions", data=report.chat_body(), headers=HEADERS)
    with urllib.request.urlopen(asked, timeout=30) as reply:
        report.call("chat", report.content(reply.read()), reply.headers.items())


def _stream() -> None:
    body = report.chat_body(stream=True)
    asked = urllib.request.Request(f"{report.base()}/chat/completions", data=body, headers=HEADERS)
    with urllib.request.urlopen(asked, timeout=30) as reply:
        words: list[str] = []
        for line in reply:
            if (text := report.delta(line.decode())) is not None:
                words.append(text)
                report.piece(text)
        report.call("stream", "".join(words), reply.headers.items())


report.run({"models": _models, "chat": _chat, "stream": _stream})

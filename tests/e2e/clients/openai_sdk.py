"""The `openai` Python SDK, as a worker would use it."""

from __future__ import annotations

import os
from pathlib import Path

from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from . import report

client = OpenAI()
MESSAGE: ChatCompletionUserMessageParam = {"role": "user", "content": report.QUESTION}


def _models() -> None:
    raw = client.models.with_raw_response.list()
    report.call("models", raw.parse().data[0].id, raw.headers.items())


def _chat() -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=[MESSAGE], max_tokens=20)
    report.call("chat", raw.parse().choices[0].message.content or "", raw.headers.items())


def _responses() -> None:
    raw = client.responses.with_raw_response.create(model="gpt-4o", input=report.QUESTION, max_output_tokens=20)
    report.call("responses", raw.parse().output_text, raw.headers.items())


def _embeddings() -> None:
    raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=[report.QUESTION, "b"])
    report.call("embeddings", str([item.embedding for item in raw.parse().data]), raw.headers.items())


def _audio() -> None:
    with Path(os.environ["AUDIO"]).open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(model="gpt-4o-transcribe", file=file)
    report.call("audio", raw.parse().text, raw.headers.items())


def _stream() -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[MESSAGE],
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    words: list[str] = []
    events: Stream[ChatCompletionChunk] = raw.parse()
    for event in events:
        words.append((event.choices[0].delta.content or "") if event.choices else f"|{event.usage}")
        report.piece(words[-1])
    report.call("stream", "".join(words), raw.headers.items())


report.run(
    {
        "models": _models,
        "chat": _chat,
        "responses": _responses,
        "embeddings": _embeddings,
        "audio": _audio,
        "stream": _stream,
    }
)

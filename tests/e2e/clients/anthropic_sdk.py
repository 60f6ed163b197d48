"""The `anthropic` Python SDK, as a worker would use it."""

from __future__ import annotations

from anthropic import Anthropic
from anthropic.types import MessageParam, TextBlock

from . import report

client = Anthropic()
MESSAGE: MessageParam = {"role": "user", "content": report.QUESTION}


def _messages() -> None:
    raw = client.messages.with_raw_response.create(model="claude-sonnet-4-5", max_tokens=20, messages=[MESSAGE])
    block = raw.parse().content[0]
    assert isinstance(block, TextBlock)
    report.call("messages", block.text, raw.headers.items())


def _stream() -> None:
    raw = client.messages.with_raw_response.create(
        model="claude-sonnet-4-5", max_tokens=20, messages=[MESSAGE], stream=True
    )
    words: list[str] = []
    for event in raw.parse():
        is_text = event.type == "content_block_delta" and event.delta.type == "text_delta"
        words.append(getattr(event.delta, "text", "") if event.type == "content_block_delta" and is_text else "")
        report.piece(words[-1])
    report.call("stream", "".join(words), raw.headers.items())


report.run({"messages": _messages, "stream": _stream})

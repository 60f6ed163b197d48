"""The `openai` Python SDK's asynchronous client."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI

from . import report


async def _chat() -> None:
    async with AsyncOpenAI() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=[{"role": "user", "content": report.QUESTION}], max_tokens=20
        )
        report.call("chat", raw.parse().choices[0].message.content or "", raw.headers.items())


async def _stream() -> None:
    async with AsyncOpenAI() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=[{"role": "user", "content": report.QUESTION}], max_tokens=20, stream=True
        )
        words: list[str] = []
        async for event in raw.parse():
            words.append(event.choices[0].delta.content or "")
            report.piece(words[-1])
        report.call("stream", "".join(words), raw.headers.items())


report.run({"chat": lambda: asyncio.run(_chat()), "stream": lambda: asyncio.run(_stream())})

"""aiohttp with `trust_env=True`; bodies go out chunked, as an asynchronous worker that streams them would send them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from . import report

HEADERS = {"Authorization": f"Bearer {report.key()}", "Content-Type": "application/json"}


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 16):
        yield body[start : start + 16]


async def _models() -> None:
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.get(f"{report.base()}/models", headers=HEADERS, raise_for_status=True) as reply,
    ):
        report.call("models", report.models(await reply.read()), reply.headers.items())


async def _chat() -> None:
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.post(
            f"{report.base()}/chat/completions",
            data=_in_pieces(report.chat_body()),
            headers=HEADERS,
            raise_for_status=True,
        ) as reply,
    ):
        report.call("chat", report.content(await reply.read()), reply.headers.items())


async def _stream() -> None:
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.post(
            f"{report.base()}/chat/completions",
            data=report.chat_body(stream=True),
            headers=HEADERS,
            raise_for_status=True,
        ) as reply,
    ):
        words: list[str] = []
        async for line in reply.content:
            if (text := report.delta(line.decode())) is not None:
                words.append(text)
                report.piece(text)
        report.call("stream", "".join(words), reply.headers.items())


report.run(
    {
        "models": lambda: asyncio.run(_models()),
        "chat": lambda: asyncio.run(_chat()),
        "stream": lambda: asyncio.run(_stream()),
    }
)

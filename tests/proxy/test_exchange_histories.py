"""proxy/exchange.py under random histories: whatever clients and upstreams do, every grant is finished once.

The corridor of the tests checks at its end that nothing is unfinished, nothing was finished twice, and no secret was
logged; here the slots must be free again besides.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.raw_server import Peer, ok, raw_server

from .corridor import CHAT, TWO_GROUPS, corridor, service
from .test_exchange import DONE, SLOW_DOWN, refusal

LIMITS = ", limits: [{{concurrent: 3}}, {{requests: 100000, window: 60}}], hold: {{max_wait: 10s, max_queue: {}}}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"
CALLS = 60


@pytest.mark.parametrize("seed", range(6))
async def test_every_slot_comes_back(seed: int) -> None:
    """Answers, refusals, breaks, streams that end or don't, clients that leave at any time: then three calls run at
    once again."""
    chance = random.Random(seed)
    calm = False

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            what = 0 if calm else chance.randrange(9)
            if what <= 2:
                await peer.send(DONE if what else ok(b"plain"))
            elif what == 3:
                await peer.send(SLOW_DOWN)
            elif what == 4:
                await peer.send(refusal(chance.choice((400, 500, 503)), "whatever"))
            elif what == 5:
                peer.reset()
                return
            elif what == 6:
                await peer.send(b"nonsense\r\n\r\n")
                return
            elif what == 7:
                await peer.send(STREAM + CHUNK)
                return
            else:
                await peer.send(STREAM + CHUNK * 3 + b"0\r\n\r\n")

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = chance.choice((b"/openai/v1/chat/completions", b"/openai/v1/files"))
        head = b"POST %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (path, len(CHAT))
        sent = head + CHAT
        if chance.random() < 0.1:
            sent = sent[: chance.randrange(len(sent))]
        writer.write(sent)
        if chance.random() < 0.4 or len(sent) < len(head + CHAT):
            for _ in range(chance.randrange(30)):
                turn = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.001 * chance.random(), turn.set_result, None)
                await turn
            writer.transport.abort()
        else:
            assert await reader.read()
            writer.close()

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, LIMITS.format(chance.choice((12, 100))), keys=TWO_GROUPS)) as front,
    ):
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS):
                group.create_task(client(front.port))
        await front.quiet()
        calm = True
        # two groups of three slots: six calls that none of which has to wait
        replies = await asyncio.gather(
            *[front.ask("/openai/v1/files", b"{}", x_headgate_max_wait="5s") for _ in range(6)]
        )
        assert {reply.status for reply in replies} == {200}
        assert front.gate.waiting("openai") == 0

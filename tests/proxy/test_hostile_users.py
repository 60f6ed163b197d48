"""proxy/exchange.py: users that clients name, and what they cannot do to one another's limits."""

from __future__ import annotations

import asyncio

import pytest

from tests.raw_server import answering, raw_server

from .corridor import corridor, service
from .test_exchange import DONE

ONE_EACH = ", limits: [{requests: 1, window: 60, per: [user]}], hold: {max_wait: 0s}"
PRINTABLE = ("{openai}:meta", "}{", "#" + "0" * 64, "%00%0a", "a b", "*", "w:x", "a" * 256, "a" * 255 + "b")


async def test_hostile_users_have_limits_of_their_own() -> None:
    """Each has its one call, and so has everybody else."""
    async with (
        raw_server(answering(*[DONE] * (len(PRINTABLE) + 1))) as upstream,
        corridor(service(upstream, ONE_EACH)) as front,
    ):

        async def ask(user: str) -> tuple[int, str | None]:
            reply = await front.ask(x_headgate_user=user)
            return reply.status, reply.reason

        assert await ask("ann") == (200, None)
        for user in PRINTABLE:
            assert await ask(user) == (200, None)
            assert await ask(user) == (429, "wait_too_long")
        assert await ask("ann") == (429, "wait_too_long")
    assert len(upstream.requests) == len(PRINTABLE) + 1


@pytest.mark.parametrize(
    ("user", "status"),
    [(b"a\0b", 400), (b"a\xed\xa0\x80b", 400), (b"a" * 257, 400), (b"a\n b", 400), (b"a" * (1 << 20), 431)],
    ids=["NUL", "surrogate", "257", "newline", "1 MiB"],
)
async def test_what_is_no_user_is_refused_before_the_gate(user: bytes, status: int) -> None:
    """A user is 1 to 256 printable characters; anything else takes nothing from any limit and opens no line."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream, ONE_EACH)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /openai/v1/models HTTP/1.1\r\nHost: h\r\nX-Headgate-User: " + user + b"\r\n\r\n")
        line = await reader.readline()
        writer.close()
        assert line.split()[1] == b"%d" % status
        assert front.gate.services == []
        assert (await front.ask(x_headgate_user="a")).status == 200
    assert len(upstream.requests) == 1

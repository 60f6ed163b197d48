"""proxy/lessons.py where the back-off is adaptive: what replies do to a limit that is found out."""

from __future__ import annotations

from dataclasses import dataclass

from proxy import outlook
from proxy.errand import in_force
from tests.raw_server import Peer, ok, raw_server

from .corridor import Corridor, corridor, service
from .test_exchange import refusal

UNKNOWN = "backoff: {type: adaptive, initialDelay: 40}, endpoints: {a: {path: /a}, b: {path: /b}}"
LATE = refusal(429, "rate_limit_exceeded")


@dataclass
class Upstream:
    """Answers by path."""

    answers: dict[str, bytes]

    async def serve(self, peer: Peer) -> None:
        """A connection."""
        while (request := await peer.request()) is not None:
            await peer.send(self.answers[request.split(b" ", 2)[1].decode()])


def config(port: int) -> str:
    """A service nobody knows."""
    return service(port, f", hosts: [s.example], {UNKNOWN}", keys="[{name: a, env: KEY_A}]", name="unknown")


async def amount(front: Corridor, path: str = "/unknown/a") -> int:
    """N of the learned limit of an endpoint, as `headgate explain` would show it."""
    question = outlook.Question(method="GET", url=path)
    said = (await outlook.ask(question, in_force(front.policy, loopback_only=True), front.gate)).said
    assert said is not None
    (room,) = [room for room in said.rooms if room.charge.limit.learned]
    return room.amount


async def test_a_429_rests_its_endpoint_and_the_call_goes_again() -> None:
    """The other endpoint has a limit of its own, and goes on meanwhile."""
    upstream = Upstream({"/a": LATE, "/b": ok(b"b")})
    async with raw_server(upstream.serve) as server, corridor(config(server.port)) as front:
        patient = await front.ask("/unknown/a", None, x_headgate_max_wait="0")
        assert (patient.status, patient.headers["retry-after-ms"]) == (503, "40")
        assert (await front.ask("/unknown/b", None, x_headgate_max_wait="0")).status == 200
        upstream.answers["/a"] = ok(b"a")
        assert (await front.ask("/unknown/a", None)).status == 200
        assert await amount(front) < await amount(front, "/unknown/b")
        ((_, used, told),) = front.gate.usage("unknown")
        assert 0 < used <= told < 60, "of what may be used now, not of the most that is ever tried"


async def test_headers_that_name_a_number_end_the_search() -> None:
    """On a good answer and on a refusal, for the window that they tell of; nonsense names nothing."""
    told = b"X-RateLimit-Limit: 900\r\nX-RateLimit-Remaining: 899\r\nX-RateLimit-Reset: 900\r\n"
    upstream = Upstream({"/a": ok(b"a"), "/b": ok(b"b", fields=told)})
    async with raw_server(upstream.serve) as server, corridor(config(server.port)) as front:
        for fields in (b"", b"X-RateLimit-Limit: -5\r\n", b"X-RateLimit-Limit: 0\r\n", b"X-RateLimit-Limit: NaN\r\n"):
            upstream.answers["/a"] = ok(b"a", fields=fields)
            await front.ask("/unknown/a", None)
            assert await amount(front) == 60
        await front.ask("/unknown/b", None)
        await front.ask("/unknown/b", None)
        assert await amount(front, "/unknown/b") == 900 * 60_500 // 900_000


async def test_a_429_of_a_documented_endpoint_teaches_no_limit() -> None:
    """There is one already."""
    upstream = Upstream({"/a": LATE})
    more = ", hosts: [s.example], backoff: {type: adaptive, initialDelay: 40}, limits: [{requests: 9, window: 60}]"
    text = service(0, more, keys="[{name: a, env: KEY_A}]", name="unknown")
    async with (
        raw_server(upstream.serve) as server,
        corridor(text.replace("127.0.0.1:0", f"127.0.0.1:{server.port}")) as front,
    ):
        assert (await front.ask("/unknown/a", None, x_headgate_max_wait="0")).status == 503
        assert [amount for _, _, amount in front.gate.usage("unknown")] == [9]

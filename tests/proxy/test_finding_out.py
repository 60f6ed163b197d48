"""proxy/lessons.py where the back-off is adaptive: what replies do to a limit that is found out."""

from __future__ import annotations

from dataclasses import dataclass

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


def amounts(front: Corridor) -> dict[str, int]:
    """What may be used of each learned limit at the last call that waited for nothing."""
    return {name: amount for name, _, amount in front.gate.usage("unknown")}


async def test_a_429_rests_its_endpoint_and_the_call_goes_again() -> None:
    """The other endpoint has a limit of its own, and goes on meanwhile."""
    upstream = Upstream({"/a": LATE, "/b": ok(b"b")})
    async with raw_server(upstream.serve) as server, corridor(config(server.port)) as front:
        patient = await front.ask("/unknown/a", None, x_headgate_max_wait="0")
        assert (patient.status, patient.headers["retry-after-ms"]) == (503, "40")
        assert (await front.ask("/unknown/b", None, x_headgate_max_wait="0")).status == 200
        upstream.answers["/a"] = ok(b"a")
        assert (await front.ask("/unknown/a", None)).status == 200
        assert all("found out" not in name for name in amounts(front))

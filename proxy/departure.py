"""How a call leaves: its body goes with it, and until the first byte is on the wire it can be kept back.

Law: what is granted leaves while the grant is valid, or not at all (limiter.md Q10).
"""

from __future__ import annotations

from collections.abc import Callable

from rules.verdict import Grant

from .call import Call
from .headers import Fields
from .upstream import Reply, Target, Upstream


class Departure:
    """One sending of a call, and whether it began."""

    __slots__ = ("_now_ms", "_valid_until_ms", "left")

    def __init__(self, grant: Grant, now_ms: Callable[[], float]) -> None:
        """`now_ms`: the gate's clock, by which the grant is dated."""
        self._now_ms = now_ms
        self._valid_until_ms = grant.valid_until_ms
        self.left = False
        """The upstream may have heard of the call."""

    def may_go(self) -> bool:
        """Asked once, when nothing stands between the call and the wire: True is its leaving."""
        self.left = self._now_ms() <= self._valid_until_ms
        return self.left


async def dispatch(
    upstream: Upstream,
    call: Call,
    target: Target,
    raw_target: str,
    fields: Fields,
    body: bytes | None,
    may_go: Callable[[], bool] = lambda: True,
) -> Reply:
    """Send the call. `body` None: stream the client's. Raises as Upstream.send does."""
    method, path = call.head.method.encode(), raw_target.encode()
    websocket = call.head.websocket
    if body is not None:
        empty = not body and call.head.method not in ("POST", "PUT", "PATCH")
        body = None if empty else body
        return await upstream.send(target, method, path, fields, body, websocket=websocket, may_go=may_go)
    length = call.body.length
    if length is not None:
        fields.append((b"Content-Length", b"%d" % length))
    return await upstream.send(target, method, path, fields, aiter(call.body), chunked=length is None, may_go=may_go)

"""Two callers of one service, whose calls share connections: nothing of the one stands on the other's (threats E8)."""

from __future__ import annotations

from tests.proxy.corridor import corridor, service
from tests.proxy.frontdoor import replies, talk

from .origin import origin

_ASK = (
    b"GET /openai/v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-%b\r\nCookie: of=%b\r\n"
    b"X-Headgate-User: %b\r\n%b\r\n"
)


async def test_keys_and_cookies_stay_with_their_caller() -> None:
    """Callers that bring keys of their own, in turn on one connection and each on a new one: one upstream connection,
    and on it each call has exactly what its caller sent (threats E8)."""
    names = [b"ann", b"bob", b"ann", b"bob"]
    async with origin() as behind, corridor(service(behind.port, keys="")) as front:
        last = len(names) - 1
        asks = [
            _ASK % (name, name, name, b"Connection: close\r\n" if at == last else b"") for at, name in enumerate(names)
        ]
        assert [answer.status for answer in replies(await talk(front.port, b"".join(asks)))] == [200] * 4
        for name in names:
            (answer,) = replies(await talk(front.port, _ASK % (name, name, name, b"Connection: close\r\n")))
            assert answer.status == 200
            assert not any(b"bob" in value.encode() or b"ann" in value.encode() for value in answer.fields.values())
    assert behind.connections == 1
    seen = behind.take()
    assert [message.values(b"authorization") for message in seen] == [[b"Bearer sk-" + name] for name in names * 2]
    assert [message.values(b"cookie") for message in seen] == [[b"of=" + name] for name in names * 2]
    assert behind.unread == []

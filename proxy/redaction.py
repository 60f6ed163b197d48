"""A pooled key that an upstream echoes back must not reach the client it was never given to (threats F2).

Errors and redirects do that: providers quote the key they refuse, and a key that travels in the query stands in
Location. So do places that repeat a request's own head. Law: lengths stay, so that the reply's framing does. A body
that is packed passes as it is, except an error that is here whole: it is unpacked to look into it.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from urllib.parse import quote

from .credentials import basic_pair
from .headers import Fields, value_of

# Shorter ones would be found in ordinary text; no provider's key is nearly as short (provider-facts 1.2).
SHORTEST = 8
# What an error may become when it is unpacked: sixteen times what is read of one (exchange.ERROR_BYTES).
_LARGEST = 1024 * 1024
_PACKED = (b"gzip", b"x-gzip", b"deflate")


@lru_cache(maxsize=256)
def writings(secret: str) -> tuple[bytes, ...]:
    """How a key may stand in an answer: as it is, as in a query (RFC 3986), with JSON's optional escape of the slash,
    and, where it is Basic credentials, decoded."""
    plain = secret.encode()
    found = [plain, quote(secret, safe="").encode(), plain.replace(b"/", b"\\/")]
    if (pair := basic_pair(b"Basic " + plain)) is not None:
        found += [b":".join(pair), *pair]
    # the longest first: a shorter one may be a part of it
    return tuple(sorted({one for one in found if len(one) >= SHORTEST}, key=lambda one: (-len(one), one)))


class Veil:
    """Stars for every writing of one key, in what passes piece by piece. One for each reply."""

    __slots__ = ("_held", "_writings")

    def __init__(self, secret: str) -> None:
        self._writings = writings(secret)
        self._held = b""

    def over(self, data: bytes) -> bytes:
        """`data`, which stands by itself, without the key."""
        for one in self._writings:
            if one in data:
                data = data.replace(one, b"*" * len(one))
        return data

    def over_fields(self, fields: Fields) -> Fields:
        """The same for the values of a header list."""
        values = b"\n".join([value for _, value in fields])  # one search for nearly every reply
        if not any(one in values for one in self._writings):
            return fields
        return [(name, self.over(value)) for name, value in fields]

    def over_error(self, fields: Fields, body: bytes) -> tuple[Fields, bytes]:
        """Head and body of an error that is here whole: where its packing hid the key, it is packed no longer."""
        coding = (value_of(fields, b"content-encoding") or b"").strip().lower()
        if coding not in _PACKED:
            return fields, body
        try:
            plain = zlib.decompressobj(wbits=47).decompress(body, _LARGEST)  # 32 + 15: gzip or zlib
        except zlib.error:
            return fields, body
        shown = self.over(plain)
        if shown == plain:
            return fields, body
        gone = (b"content-encoding", b"content-length")
        kept = [field for field in fields if field[0].lower() not in gone]
        return [*kept, (b"Content-Length", b"%d" % len(shown))], shown

    def feed(self, piece: bytes) -> bytes:
        """The client's part of the next piece; what may be the beginning of the key waits for the piece behind it."""
        data = self.over(self._held + piece if self._held else piece)
        waiting = max([_begun(data, one) for one in self._writings], default=0)
        if not waiting:
            self._held = b""
            return data
        self._held = data[-waiting:]
        return data[:-waiting]

    def finish(self) -> bytes:
        """What waits when the body has come to its end: the key it might have become it has not."""
        held, self._held = self._held, b""
        return held


def _begun(data: bytes, writing: bytes) -> int:
    """Length of the longest beginning of `writing`, short of the whole, that `data` ends with."""
    tail = data[1 - len(writing) :]
    at = tail.find(writing[:1])
    while at >= 0:
        if writing.startswith(tail[at:]):
            return len(tail) - at
        at = tail.find(writing[:1], at + 1)
    return 0

"""A: one message in is one message out."""

from __future__ import annotations

from ..row import Sent, ask, passed, refused

_CHUNKED = b"Transfer-Encoding: chunked"
_END = b"0\r\n\r\n"
_HELLO = Sent(body=b"hello")

ROWS = (
    refused("A1 CL then TE", ask(b"Content-Length: 5", _CHUNKED, body=_END), "bad_framing"),
    refused("A1 TE then CL", ask(_CHUNKED, b"content-length: 5", body=_END), "bad_framing"),
    refused("A2 two equal CL", ask(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), "bad_framing"),
    refused("A3 CL +5", ask(b"Content-Length: +5", body=b"hello"), "bad_framing"),
    refused("A4 TE gzip, chunked", ask(b"Transfer-Encoding: gzip, chunked", body=_END), "coding_unsupported"),
    passed("A5 TE Chunked", ask(b"Transfer-Encoding: \t Chunked  ", body=b"5\r\nhello\r\n" + _END), _HELLO),
    refused("A6 space before colon", ask(b"Transfer-Encoding : chunked", body=_END), "bad_framing"),
    refused("A11 BEL in a value", ask(b"Authorization: Bearer CANARY\x07"), "bad_framing"),
    passed("a body", ask(b"Content-Length: 5", body=b"hello"), _HELLO),
    passed("two requests", ask(b"Content-Length: 5", body=b"hello") * 2, _HELLO, _HELLO),
)

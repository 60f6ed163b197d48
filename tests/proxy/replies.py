"""Raw answers of upstreams, and what each must become: the rows of threats 2.3 and H, one table for wire and socket.

`becomes` is the status of a reply that is passed on, or the code of the problem raised before one exists. `body` is
what the client is handed, `cut` the code that ends it early. `pooled`: the connection may carry another call. `end`:
the upstream closes after its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    id: str
    raw: bytes
    becomes: int | str
    body: bytes = b""
    cut: str | None = None
    pooled: bool = False
    end: bool = False
    method: bytes = b"GET"


def _head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *lines, b"", b""))


_CHUNKED = b"Transfer-Encoding: chunked"
_BAD = "upstream_protocol"
_BROKE = "upstream_broke"

PASSED = (
    Row("length", _head(b"Content-Length: 2") + b"ok", 200, b"ok", pooled=True),
    Row("length zero", _head(b"Content-Length: 0"), 200, pooled=True),
    Row("length with leading zero", _head(b"Content-Length: 02") + b"ok", 200, b"ok", pooled=True),
    Row("chunked", _head(_CHUNKED) + b"2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n", 200, b"okay!", pooled=True),
    Row("chunked in capitals", _head(b"TRANSFER-ENCODING: CHUNKED") + b"2\r\nok\r\n0\r\n\r\n", 200, b"ok", pooled=True),
    Row("chunk extension", _head(_CHUNKED) + b'2;a="b"\r\nok\r\n0\r\n\r\n', 200, b"ok", pooled=True),
    Row("trailer", _head(_CHUNKED) + b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", 200, b"ok", pooled=True),
    Row("until close", _head() + b"hello", 200, b"hello", end=True),
    Row("HTTP/1.0 until close", _head(status=b"HTTP/1.0 200 OK") + b"hello", 200, b"hello", end=True),
    Row("HTTP/1.0 length", _head(b"Content-Length: 2", status=b"HTTP/1.0 200 OK") + b"ok", 200, b"ok"),
    Row("connection close", _head(b"Content-Length: 2", b"Connection: close") + b"ok", 200, b"ok"),
    Row("no reason", _head(b"Content-Length: 0", status=b"HTTP/1.1 200 "), 200, pooled=True),
    Row("no reason, no space", _head(b"Content-Length: 0", status=b"HTTP/1.1 200"), 200, pooled=True),
    Row("high bytes in a value", _head(b"A: \xff\xfe", b"Content-Length: 0"), 200, pooled=True),
    Row("tab in a value", _head(b"A: a\tb", b"Content-Length: 0"), 200, pooled=True),
    Row("folded value", _head(b"A: a", b" b", b"Content-Length: 0"), 200, pooled=True),
    Row("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok", pooled=True),
    Row(
        "100 before",
        _head(status=b"HTTP/1.1 100 Continue") + _head(b"Content-Length: 2") + b"ok",
        200,
        b"ok",
        None,
        True,
    ),
    Row(
        "103 before",
        _head(b"Link: </a>", status=b"HTTP/1.1 103 Early Hints") + _head(b"Content-Length: 0"),
        200,
        pooled=True,
    ),
    Row("sixteen 103", _head(status=b"HTTP/1.1 103 E") * 16 + _head(b"Content-Length: 0"), 200, pooled=True),
    Row("204", _head(status=b"HTTP/1.1 204 No Content"), 204, pooled=True),
    Row("204 with a body", _head(b"Content-Length: 5", status=b"HTTP/1.1 204 No Content") + b"hello", 204),
    Row("304 with a length", _head(b"Content-Length: 5", status=b"HTTP/1.1 304 Not Modified"), 304, pooled=True),
    Row("HEAD with a length", _head(b"Content-Length: 5"), 200, pooled=True, method=b"HEAD"),
    Row("HEAD chunked", _head(_CHUNKED), 200, pooled=True, method=b"HEAD"),
    Row(
        "redirect",
        _head(b"Location: http://169.254.169.254/", b"Content-Length: 0", status=b"HTTP/1.1 302 Found"),
        302,
        pooled=True,
    ),
    Row(
        "429",
        _head(b"Retry-After: -1", b"Content-Length: 0", status=b"HTTP/1.1 429 Too Many Requests"),
        429,
        pooled=True,
    ),
    Row("599", _head(b"Content-Length: 0", status=b"HTTP/1.1 599 X"), 599, pooled=True),
    Row(
        "gzip stays gzip",
        _head(b"Content-Encoding: gzip", b"Content-Length: 3") + b"\x1f\x8b!",
        200,
        b"\x1f\x8b!",
        pooled=True,
    ),
    Row("second answer behind", (_head(b"Content-Length: 2") + b"ok") * 2, 200, b"ok"),
    Row("garbage behind", _head(b"Content-Length: 2") + b"okGARBAGE", 200, b"ok"),
    Row("garbage behind chunks", _head(_CHUNKED) + b"2\r\nok\r\n0\r\n\r\nGARBAGE", 200, b"ok"),
    Row("garbage behind close", _head(b"Connection: close", b"Content-Length: 2") + b"okGARBAGE", 200, b"ok"),
    Row(
        "declined upgrade",
        _head(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 2") + b"ok",
        200,
        b"ok",
        pooled=True,
    ),
    Row("256 fields", _head(*[b"A: b"] * 255, b"Content-Length: 0"), 200, pooled=True),
)

REFUSED = (
    Row("TE xchunked", _head(b"Transfer-Encoding: xchunked") + b"2\r\nok\r\n0\r\n\r\n", _BAD),
    Row("TE chunked, identity", _head(b"Transfer-Encoding: chunked, identity") + b"hi", _BAD),
    Row("TE gzip, chunked", _head(b"Transfer-Encoding: gzip, chunked") + b"2\r\nok\r\n0\r\n\r\n", _BAD),
    Row("TE identity", _head(b"Transfer-Encoding: identity") + b"hi", _BAD),
    Row("TE empty", _head(b"Transfer-Encoding:") + b"hi", _BAD),
    Row("TE twice", _head(_CHUNKED, _CHUNKED) + b"0\r\n\r\n", _BAD),
    Row("TE with vertical tab", _head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", _BAD),
    Row("TE on HTTP/1.0", _head(_CHUNKED, status=b"HTTP/1.0 200 OK") + b"0\r\n\r\n", _BAD),
    Row("CL then TE", _head(b"Content-Length: 3", _CHUNKED) + b"0\r\n\r\n", _BAD),
    Row("TE then CL", _head(_CHUNKED, b"Content-Length: 3") + b"0\r\n\r\n", _BAD),
    Row("two equal CL", _head(b"Content-Length: 2", b"Content-Length: 2") + b"ok", _BAD),
    Row("two different CL", _head(b"Content-Length: 2", b"Content-Length: 3") + b"ok", _BAD),
    Row("CL list", _head(b"Content-Length: 2, 2") + b"ok", _BAD),
    Row("CL signed", _head(b"Content-Length: +2") + b"ok", _BAD),
    Row("CL negative", _head(b"Content-Length: -2") + b"ok", _BAD),
    Row("CL empty", _head(b"Content-Length:") + b"ok", _BAD),
    Row("CL hex", _head(b"Content-Length: 0x2") + b"ok", _BAD),
    Row("CL overflow", _head(b"Content-Length: 99999999999999999999999") + b"ok", _BAD),
    Row("BEL in a value", _head(b"A: a\x07b", b"Content-Length: 0"), _BAD),
    Row("DEL in a value", _head(b"A: a\x7fb", b"Content-Length: 0"), _BAD),
    Row("CR in a value", _head(b"A: a\rb", b"Content-Length: 0"), _BAD),
    Row("NUL in a value", _head(b"A: a\x00b", b"Content-Length: 0"), _BAD),
    Row("BEL in the reason", _head(b"Content-Length: 0", status=b"HTTP/1.1 200 O\x07K"), _BAD),
    Row("CR in the reason", _head(b"Content-Length: 0", status=b"HTTP/1.1 200 O\rK"), _BAD),
    Row("long reason", _head(b"Content-Length: 0", status=b"HTTP/1.1 200 " + b"a" * 9000), _BAD),
    Row("100 KiB value", _head(b"A: " + b"a" * 102_400, b"Content-Length: 0"), _BAD),
    Row("100 KiB of fields", _head(*[b"A: " + b"a" * 1021] * 100, b"Content-Length: 0"), _BAD),
    Row("257 fields", _head(*[b"A: b"] * 256, b"Content-Length: 0"), _BAD),
    Row("2000 fields", _head(*[b"A: b"] * 2000, b"Content-Length: 0"), _BAD),
    Row("HTTP/0.9", _head(b"Content-Length: 0", status=b"HTTP/0.9 200 OK"), _BAD),
    Row("HTTP/2.0", _head(b"Content-Length: 0", status=b"HTTP/2.0 200 OK"), _BAD),
    Row("HTTP/1.2", _head(b"Content-Length: 0", status=b"HTTP/1.2 200 OK"), _BAD),
    Row("lower-case http", _head(b"Content-Length: 0", status=b"http/1.1 200 OK"), _BAD),
    Row("no version", b"hello world\r\n\r\n", _BAD),
    Row("ICY", _head(status=b"ICY 200 OK"), _BAD),
    Row("TLS record", b"\x15\x03\x01\x00\x02\x02\x16", _BAD),
    Row("HTTP/2 preface", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", _BAD),
    Row("status 99", _head(b"Content-Length: 0", status=b"HTTP/1.1 99 X"), _BAD),
    Row("status 099", _head(b"Content-Length: 0", status=b"HTTP/1.1 099 X"), _BAD),
    Row("status 000", _head(b"Content-Length: 0", status=b"HTTP/1.1 000 X"), _BAD),
    Row("status 600", _head(b"Content-Length: 0", status=b"HTTP/1.1 600 X"), _BAD),
    Row("status 999", _head(b"Content-Length: 0", status=b"HTTP/1.1 999 X"), _BAD),
    Row("status 1000", _head(b"Content-Length: 0", status=b"HTTP/1.1 1000 X"), _BAD),
    Row("unasked 101", _head(b"Upgrade: websocket", b"Connection: upgrade", status=b"HTTP/1.1 101 S") + b"foo", _BAD),
    Row("bare 101", _head(status=b"HTTP/1.1 101 S"), _BAD),
    Row("seventeen 103", _head(status=b"HTTP/1.1 103 E") * 17 + _head(b"Content-Length: 0"), _BAD),
    Row("5000 x 103", _head(status=b"HTTP/1.1 103 E") * 5000, _BAD),
    Row("space before colon", _head(b"A : b", b"Content-Length: 0"), _BAD),
    Row("empty name", _head(b": b", b"Content-Length: 0"), _BAD),
    Row("no colon", _head(b"Ab", b"Content-Length: 0"), _BAD),
    Row("closes at once", b"", _BROKE, end=True),
    Row("closes in the head", b"HTTP/1.1 200 OK\r\nContent-Le", _BROKE, end=True),
    Row("closes after 100", _head(status=b"HTTP/1.1 100 Continue"), _BROKE, end=True),
)

CUT = (
    Row("short body", _head(b"Content-Length: 9") + b"hello", 200, b"hello", _BROKE, end=True),
    Row("no last chunk", _head(_CHUNKED) + b"5\r\nhello\r\n", 200, b"hello", _BROKE, end=True),
    Row("chunk cut", _head(_CHUNKED) + b"9\r\nhello", 200, b"hello", _BROKE, end=True),
    Row("bad chunk size", _head(_CHUNKED) + b"5\r\nhello\r\nzz\r\n", 200, b"hello", _BAD),
    Row("negative chunk size", _head(_CHUNKED) + b"5\r\nhello\r\n-1\r\n", 200, b"hello", _BAD),
    Row("chunk size overflow", _head(_CHUNKED) + b"5\r\nhello\r\nfffffffffffffffff\r\n", 200, b"hello", _BAD),
    Row("no CRLF behind a chunk", _head(_CHUNKED) + b"5\r\nhelloworld\r\n0\r\n\r\n", 200, b"hello", _BAD),
    Row("chunk size with LF only", _head(_CHUNKED) + b"5\r\nhello\r\n2\nok\r\n0\r\n\r\n", 200, b"hello", _BAD),
)

ROWS = PASSED + REFUSED + CUT

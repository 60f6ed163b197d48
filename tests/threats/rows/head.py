"""A11 to A20: bytes that no head may hold, versions, expectations, sizes."""

from __future__ import annotations

from ..row import Row, Sent, ask, get, passed, refused

_FIVE = b"Content-Length: 5"
_GET = Sent(method=b"GET")
_CONTROLS = (*range(0x09), *range(0x0A, 0x20), 0x7F)
"""Every control byte but the tab."""


def _line(line: bytes) -> bytes:
    return ask(line=line)


CONTROLS = (
    *(
        refused(f"A11 {bytes([byte])!r} in {where}", raw.replace(b"*", bytes([byte])), "bad_framing")
        for byte in _CONTROLS
        for where, raw in (
            ("a value", get(b"<base>/x", b"X: CANARY*y")),
            ("a name", get(b"<base>/x", b"CANARY*X: y")),
            ("the target", get(b"<base>/CANARY*x")),
        )
    ),
    *(
        refused(f"A11 {byte!r} ends a key", get(b"<base>/x", b"Authorization: Bearer CANARY" + byte), "bad_framing")
        for byte in (b"\n", b"\r", b"\x00", b"\x07", b"\x7f", b"\x1b[31m")
    ),
    refused("A11 bare LF ends the head", b"GET <base>/x HTTP/1.1\nHost: <host>\n\n", "bad_framing"),
    refused("A11 bare LF ends the request line", b"GET <base>/x HTTP/1.1\nHost: <host>\r\n\r\n", "bad_framing"),
    refused("A11 bare LF ends the last line", b"GET <base>/x HTTP/1.1\r\nHost: <host>\n\r\n", "bad_framing"),
    refused("A11 LF CR for the end", b"GET <base>/x HTTP/1.1\r\nHost: <host>\r\n\n\r", "bad_framing"),
    refused("A11 CR alone ends the lines", b"GET <base>/x HTTP/1.1\rHost: <host>\r\r", "bad_framing"),
    refused("A11 CR CR LF ends a line", b"GET <base>/x HTTP/1.1\r\r\nHost: <host>\r\n\r\n", "bad_framing"),
    refused("A11 tab in the target", get(b"<base>/a\tb"), "bad_framing"),
    passed("A11 tab in a value", get(b"<base>/x", b"X: a\tb"), Sent(method=b"GET", fields=((b"X", b"a\tb"),))),
)  # fmt: skip

NAMES = (
    *(
        refused(f"A12 {line!r}", get(b"<base>/x", line), "bad_framing")
        for line in (
            b": v", b"X Y: v", b"X : v", b"X\t: v", b"X[]: v", b"X\xff: v", b"X\xc3\xa9: v", b"CANARY without colon",
            b"CANARY", b"X(a): v", b"X/Y: v", b"X@: v", b'"X": v', b"X,Y: v", b"X;Y: v", b"X=Y: v", b"{X}: v",
            b"<X>: v", b"X?: v", b"X\\: v",
            b"GET /x HTTP/1.1", b"\xef\xbb\xbfX: v",
        )
    ),
    refused("A12 folded", get(b"<base>/x", b"X: a\r\n b"), "bad_framing"),
    refused("A12 folded by a tab", get(b"<base>/x", b"X: a\r\n\tb"), "bad_framing"),
    refused("A12 folded into nothing", get(b"<base>/x", b"X: a\r\n "), "bad_framing"),
    refused("A12 a space first", b"GET <base>/x HTTP/1.1\r\n X: y\r\nHost: <host>\r\n\r\n", "bad_framing"),
    refused("A12 a tab before Host", b"GET <base>/x HTTP/1.1\r\n\tHost: <host>\r\n\r\n", "bad_framing"),
    refused("A12 Host with a space before its colon", b"GET <base>/x HTTP/1.1\r\nHost : <host>\r\n\r\n", "bad_framing"),
    passed("A12 every character of a token", get(b"<base>/x", b"!#$%&'*+-.^`|~9aZ: v"),
           Sent(method=b"GET", fields=((b"!#$%&'*+-.^`|~9aZ", b"v"),))),
    passed("A12 an empty value", get(b"<base>/x", b"X:"), Sent(method=b"GET", fields=((b"X", b""),))),
    passed("A12 no space behind the colon", get(b"<base>/x", b"X:y"), Sent(method=b"GET", fields=((b"X", b"y"),))),
    passed("A12 colons in a value", get(b"<base>/x", b"X: :y:"), Sent(method=b"GET", fields=((b"X", b":y:"),))),
    *(
        refused(f"A13 {value!r} in {name.decode()}", get(b"<base>/x", name + b": CANARY" + value), "bad_header")
        for name in (b"X", b"Cookie", b"User-Agent", b"Authorization")
        for value in (b"\xff\xfe", b"\x80", "é".encode(), b"\xe9", "\u2028".encode())
    ),
    refused("A13 overlong slash in a value", get(b"<base>/x", b"X: \xc0\xaf"), "bad_header"),
    refused("A13 8-bit in Connection", get(b"<base>/x", b"Connection: \xff"), "bad_header"),
)  # fmt: skip

LINES = (
    *(
        refused(f"A14 version {version!r}", _line(b"GET <base>/x " + version), "bad_framing")
        for version in (
            b"HTTP/3.0", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/11", b"HTTP/1", b"HTTP/1.", b"HTTP/.1",
            b"HTTP/1,1",
            b"HTTP /1.1", b"HTTP/ 1.1", b"http/1.1", b"HTTPS/1.1", b"HTP/1.1", b"ICE/1.0", b"HTTP/1.1 HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1\t", b"HTTP/-1.1", b"HTTP/1.1.1", b"HTTP/9.9", "HTTP/１.１".encode(), b"",
        )
    ),
    *(
        # what stands behind it is no body and no head to aiohttp's parser
        refused(f"A14 version {version!r}", _line(b"GET <base>/x" + version), "version_unsupported",
                lumped="bad_framing")
        for version in (b" HTTP/0.9", b" HTTP/2.0")
    ),
    *(
        refused(f"A14 {method} of RTSP", ask(line=method.encode() + b" <base>/x " + version), "version_unsupported",
                lumped="bad_framing")
        for method, version in (("GET", b"RTSP/1.0"), ("POST", b"RTSP/1.1"), ("OPTIONS", b"RTSP/1.0"))
    ),
    passed("A14 a body that speaks of RTSP", ask(b"Content-Length: 21", body=b"POST /y RTSP/1.0\r\n\r\nx"),
           Sent(body=b"POST /y RTSP/1.0\r\n\r\nx")),
    passed("A14 RTSP behind a call", get(b"<base>/x") + ask(b"X: POST /x RTSP/1.0"), _GET,
           Sent(fields=((b"X", b"POST /x RTSP/1.0"),))),
    refused("A14 no version", _line(b"GET <base>/x"), "version_unsupported", lumped="bad_framing"),
    refused("A14 no target", _line(b"GET HTTP/1.1"), "bad_framing"),
    refused("A14 no target, two spaces", _line(b"GET  HTTP/1.1"), "bad_framing"),
    refused("A14 no method", _line(b"<base>/x HTTP/1.1"), "bad_framing"),
    refused("A14 no method, a space", _line(b" <base>/x HTTP/1.1"), "bad_framing"),
    refused("A14 a tab behind the method", _line(b"GET\t<base>/x HTTP/1.1"), "bad_framing"),
    refused("A14 a tab before the version", _line(b"GET <base>/x\tHTTP/1.1"), "bad_framing"),
    refused("A14 a space before the method", _line(b" GET <base>/x HTTP/1.1"), "bad_framing"),
    refused("A14 a space in the target", _line(b"GET <base>/x y HTTP/1.1"), "bad_framing"),
    refused("A14 the preface of h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_framing"),
    refused("A14 a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"CANARY" * 4, "bad_framing"),
    refused("A14 Redis", b"*1\r\n$4\r\nPING\r\n", "bad_framing"),
    refused("A14 Redis in one line", b"PING CANARY\r\n\r\n", "bad_framing"),
    refused("A14 SMTP", b"EHLO a.test\r\n", "bad_framing"),
    refused("A14 SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "bad_framing"),
    refused("A14 SOCKS 5", b"\x05\x01\x00", "bad_framing"),
    refused("A14 SOCKS 4", b"\x04\x01\x01\xbb\x7f\x00\x00\x01\x00", "bad_framing"),
    refused("A14 the PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get(b"<base>/x"), "bad_framing"),
    refused("A14 the PROXY protocol, binary", b"\r\n\r\n\x00\r\nQUIT\n" + b"\x21\x11\x00\x0c" + b"a" * 12,
            "bad_framing"),
    refused("A14 an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_framing"),
    refused("A14 a byte order mark", b"\xef\xbb\xbf" + get(b"<base>/x"), "bad_framing"),
    *(
        refused(f"A14 method {method!r}", _line(method + b" <base>/x HTTP/1.1"), "bad_framing")
        for method in (
            b"get", b"Get", b"BREW", b"GETGET", b"G", b"GE T", b"GET\x00", b"PUT,GET", b"G\xc9T", b"GET:", b"A" * 5000,
        )
    ),
    *(
        refused(f"B11 {method.decode()}", get(b"<base>/x", b"Cookie: CANARY", method=method), "method_denied")
        for method in (
            b"TRACE", b"PROPFIND", b"PURGE", b"LINK", b"MKCOL", b"SUBSCRIBE", b"SOURCE", b"M-SEARCH", b"QUERY",
        )
    ),
    *(
        passed(f"A14 {method.decode()}", get(b"<base>/x", method=method), Sent(method=method))
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS")
    ),
    passed("A14 HTTP/1.0, kept alive", ask(b"Connection: keep-alive", line=b"GET <base>/x HTTP/1.0"), _GET),
)  # fmt: skip

EXPECTATIONS = (
    *(
        refused(f"A18 Expect {value!r}", ask(b"Expect: " + value, _FIVE, body=b"hello"), "expectation_failed")
        for value in (
            b"banana", b"y 100-continue", b"100-continue, banana", b"100-continued", b"100", b"200-ok",
            b"100 continue", b"",
        )
    ),
    refused("A18 two Expect, one unknown", ask(b"Expect: 100-continue", b"Expect: x"), "expectation_failed"),
    passed("A18 Expect without a body", ask(b"Expect: 100-continue"), Sent()),
    passed("A18 Expect on HTTP/1.0",
           ask(b"Expect: 100-continue", b"Connection: keep-alive", _FIVE, line=b"POST <base>/x HTTP/1.0",
               body=b"hello"),
           Sent(body=b"hello")),
)  # fmt: skip

SIZES = (
    refused("A20 a target of 64 KiB", get(b"<base>/" + b"a" * 65536), "target_too_long"),
    refused("A20 a query of 64 KiB", get(b"<base>/x?" + b"a" * 65536), "target_too_long"),
    refused("A20 a field of 64 KiB", get(b"<base>/x", b"X: " + b"a" * 65536), "head_too_large"),
    refused("A20 a name of 64 KiB", get(b"<base>/x", b"a" * 65536 + b": y"), "head_too_large"),
    refused("A20 1,000 fields", get(b"<base>/x", *[b"X: y"] * 1000), "head_too_large"),
    refused("A20 80 KiB of fields", get(b"<base>/x", *[b"X: " + b"y" * 1000] * 80), "head_too_large"),
    refused("A20 5,000 blank lines", b"\r\n" * 5000 + get(b"<base>/x"), "bad_request"),
    refused("A20 70,000 bare line ends", b"\n" * 70000 + get(b"<base>/x"), "bad_request"),
    passed("A20 two blank lines", b"\r\n\r\n" + get(b"<base>/x"), _GET),
    passed("A20 a target of 16,000 bytes", get(b"<base>/" + b"a" * 16_000), Sent(method=b"GET",
           path=b"/" + b"a" * 16_000)),
    passed("A20 200 fields", get(b"<base>/x", *[b"X: y"] * 200), Sent(method=b"GET", fields=((b"X", b"y"),) * 200)),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*CONTROLS, *NAMES, *LINES, *EXPECTATIONS, *SIZES)

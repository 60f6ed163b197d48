"""E: header fields and identity. What the client says about itself ends here; what it says to the upstream goes on."""

from __future__ import annotations

from ..row import OK, Entrance, Row, Sent, ask, get, passed, refused

_POOLED: tuple[Entrance, ...] = ("reverse", "forward", "intercept")
_OUTSIDE: tuple[Entrance, ...] = ("egress",)
_GET = Sent(method=b"GET")


def _with(*lines: bytes) -> bytes:
    return get(b"<base>/x", *lines)


def _kept(*fields: tuple[bytes, bytes]) -> Sent:
    return Sent(method=b"GET", fields=fields)


OURS = (
    passed("E1 the token as proxy credentials", _with(b"Proxy-Authorization: <basic>"), _GET),
    passed("E1 proxy credentials nobody knows", _with(b"Proxy-Authorization: Basic Ym9iOkNBTkFSWQ=="), _GET),
    passed("E1 proxy credentials that are none", _with(b"Proxy-Authorization: CANARY"), _GET),
    passed("E1 the token as a bearer", _with(b"Authorization: Bearer <token>"), _GET),
    passed("E1 the token as x-api-key", _with(b"X-Api-Key: <token>"), _GET),
    passed("E1 the token as api-key", _with(b"api-key: <token>"), _GET),
    passed("E1 the token as x-goog-api-key", _with(b"x-goog-api-key: <token>"), _GET),
    passed("E1 the token in the query", get(b"<base>/x?key=<token>&a=b"), Sent(method=b"GET", path=b"/x?a=b")),
    passed("E1 the token in two places", _with(b"Authorization: Bearer <token>", b"X-Again: <token>"), _GET),
    passed("E1 the token in a cookie too", _with(b"Authorization: Bearer <token>", b"Cookie: t=<token>"), _GET),
    passed("E1 control fields", _with(b"X-Headgate-User: ann", b"X-Headgate-Max-Wait: 5s", b"x-HEADGATE-priority: 3"),
           _GET),
    passed("E1 a control field nobody knows", _with(b"X-Headgate-Root: 1"), _GET),
    passed("E7 answer fields of ours in a request", _with(b"X-Headgate-Reason: x", b"X-Headgate-Request-Id: y"), _GET),
    passed("E2 the client's own key", _with(b"Authorization: Bearer CANARY"), _GET, entrances=_POOLED),
    passed("E2 the client's own key, twice", _with(b"Authorization: Bearer CANARY", b"authorization: CANARY"), _GET,
           entrances=_POOLED),
    passed("E2 the client's own key, basic", _with(b"Authorization: Basic Q0FOQVJZOg=="), _GET, entrances=_POOLED),
    passed("E2 the client's own key, empty", _with(b"Authorization:"), _GET, entrances=_POOLED),
    passed("E2 its key passes to a host outside", _with(b"Authorization: Bearer theirs"),
           _kept((b"Authorization", b"Bearer theirs")), entrances=_OUTSIDE),
    passed("E2 a cookie passes", _with(b"Cookie: a=b; c=d"), _kept((b"Cookie", b"a=b; c=d"))),
)  # fmt: skip

HOPS = (
    *(
        refused(f"E3 Connection: {value.decode()}", _with(b"Connection: " + value), "bad_header")
        for value in (
            b"Authorization", b"authorization", b"Host", b"host, te", b"te, content-length", b"Transfer-Encoding",
            b"x,Authorization", b"keep-alive,\tHOST", b", ,host", b"AUTHORIZATION",
        )
    ),
    refused("E3 in the second Connection", _with(b"Connection: keep-alive", b"Connection: host"), "bad_header"),
    passed("E3 Connection names Via", _with(b"Connection: Via"), _GET),
    passed("E3 Connection names a control field", _with(b"Connection: X-Headgate-User", b"X-Headgate-User: ann"), _GET),
    passed("E3 Connection names fields", _with(b"A: 1", b"Connection: b, keep-alive ,C", b"B: 2", b"c: 3", b"D: 4"),
           _kept((b"A", b"1"), (b"D", b"4"))),
    passed("E3 Connection names what is not there", _with(b"Connection: nothing"), _GET),
    passed("E3 an empty Connection", _with(b"Connection:"), _GET),
    passed("E3 Connection of commas", _with(b"Connection: ,,, ,"), _GET),
    *(
        passed(f"E4 {line.decode()}", _with(line), _GET)
        for line in (
            b"Keep-Alive: timeout=5, max=1000", b"TE: trailers", b"TE: gzip;q=0.5", b"Proxy-Connection: keep-alive",
            b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x", b"Trailer: X", b"HTTP2-Settings: AAMAAABk",
            b"Connection: TE", b"keep-ALIVE: x", b"te:", b"Connection: Keep-Alive, TE, Upgrade",
        )
    ),
    *(
        # one answer, which says that it is the last; aiohttp's parser refuses bytes behind it in the same segment
        Row(id=id, raw=_with(*lines), answers=(OK,), sees=(_GET,), lumped="bad_framing")
        for id, lines in (
            ("E4 Connection: close", (b"Connection: close",)),
            ("E4 close among others", (b"Connection: te, CLOSE",)),
            ("E4 Proxy-Connection: close", (b"Proxy-Connection: close",)),
            ("A17 h2c", (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")),
            ("A17 an upgrade nobody knows", (b"Connection: upgrade", b"Upgrade: CANARY/1")),
            ("A17 TLS by upgrade", (b"Connection: Upgrade", b"Upgrade: TLS/1.0, HTTP/1.1")),
        )
    ),
    passed("A17 Upgrade that Connection does not name", _with(b"Upgrade: h2c"), _GET),
)  # fmt: skip

TWINS = (
    *(
        passed(f"E5 {name.decode()}", _with(name + b": CANARY"), _GET)
        for name in (
            b"Transfer_Encoding", b"transfer_encoding", b"Content_Length", b"Authorization_", b"_Authorization",
            b"AUTHORIZATION_",
            b"X_Api_Key", b"x_goog_api_key", b"Host_", b"X_Forwarded_For", b"X_Forwarded-For", b"X-Forwarded_Host",
            b"X_Real_IP",
            b"Proxy_Authorization", b"X_Headgate_User", b"X-Headgate_User", b"x_headgate-tier", b"Connection_",
            b"Keep_Alive",
            b"Cookie_", b"Via_", b"Expect_", b"TE_", b"Upgrade_",
        )
    ),
    passed("E5 an underscore of its own", _with(b"X_Trace: 1", b"my_field: 2"), _kept((b"X_Trace", b"1"), (b"my_field",
           b"2"))),
    *(
        passed(f"E7 {line.decode()}", _with(line), _GET)
        for line in (
            b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-For: 1.2.3.4, 10.0.0.1", b"X-Forwarded-Proto: https",
            b"X-Forwarded-Port: 443", b"X-Forwarded-Anything: x", b"X-Real-IP: 127.0.0.1",
            b"Forwarded: for=127.0.0.1;by=_x",
            b"x-forwarded-client-cert: CANARY",
        )
    ),
)  # fmt: skip

FIELDS = (
    passed("E8 order, case and repetition are kept", _with(b"b: 1", b"A: 2", b"B: 3", b"a:4", b"B: 1"),
           _kept((b"b", b"1"), (b"A", b"2"), (b"B", b"3"), (b"a", b"4"), (b"B", b"1"))),
    passed("E8 inner spaces are kept", _with(b"X:  a  b\t c  "), _kept((b"X", b"a  b\t c"))),
    passed("E8 the body's own fields", ask(b"Content-Type: a/b; c=d", b"Content-Encoding: br", b"Content-Length: 1",
           body=b"x"),
           Sent(fields=((b"Content-Type", b"a/b; c=d"), (b"Content-Encoding", b"br")), body=b"x")),
    passed("E8 conditions and ranges", _with(b'If-None-Match: "x"', b"Range: bytes=0-", b"Accept-Encoding: br, zstd"),
           _kept((b"If-None-Match", b'"x"'), (b"Range", b"bytes=0-"), (b"Accept-Encoding", b"br, zstd"))),
    passed("E8 a request line as a value", _with(b"X: GET /admin HTTP/1.1"), _kept((b"X", b"GET /admin HTTP/1.1"))),
    passed("E8 a log line as a value", _with(b'User-Agent: {"level":"fake"}'), _kept((b"User-Agent",
           b'{"level":"fake"}'))),
    *(
        refused(f"E9 {name.decode()} {value[:24]!r}", ask(b"X-Headgate-" + name + b": " + value), "bad_control_header",
                stays=True)
        for name, values in (
            (b"Max-Wait", (b"-1", b"1e999", b"NaN", b"inf", b"1" + b"0" * 30, b"", b"1.5s", b"10 s", b"10d", b"0x5",
                           b"5S", b"+5")),
            (b"Priority", (b"-1", b"10", b"NaN", b"", b"high", b"1.0", b"0x1", b"01")),
            (b"User", (b"", b"a" * 257, b"a\tb")),
            (b"Tier", (b"", b"a b", b"a" * 65, b"../x", b"nobody")),
        )
        for value in values
    ),
    refused("E9 two of them", ask(b"X-Headgate-Priority: 1", b"x-headgate-priority: 1"), "bad_control_header",
            stays=True),
    refused("E9 two that agree in case only", ask(b"X-Headgate-User: ann", b"X-HEADGATE-USER: ann"),
            "bad_control_header",
            stays=True),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*OURS, *HOPS, *TWINS, *FIELDS)

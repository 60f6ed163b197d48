"""D: CONNECT, and what comes inside a tunnel that we opened for a.test.

CONNECT rows write what stands behind the refused request, since RFC 9931 wants it unread.
"""

from __future__ import annotations

from ..row import OK, Entrance, Row, Sent, ask, get, passed, refused

_INSIDE: tuple[Entrance, ...] = ("intercept",)
_PLAIN: tuple[Entrance, ...] = ("plain",)
_GET = Sent(method=b"GET")
_BEHIND = b"POST /svc/hidden HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"
_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32


def _connect(target: bytes, *lines: bytes, host: bytes | None = b"a.test:443", version: bytes = b"1.1") -> bytes:
    return ask(*lines, line=b"CONNECT " + target + b" HTTP/" + version, host=host)


def _inner(path: bytes, host: bytes) -> bytes:
    return get(path, host=host)


CONNECTS = (
    refused("D1 a host outside, a POST behind", _connect(b"evil.test:443", host=b"evil.test:443") + _BEHIND,
            "host_denied",
            entrances=_PLAIN),
    refused("D1 the same on HTTP/1.0",
            _connect(b"evil.test:443", b"Connection: keep-alive", host=b"evil.test:443", version=b"1.0") + _BEHIND,
                     "host_denied",
            entrances=_PLAIN),
    refused("D1 Host differs, a POST behind", _connect(b"b.test:443") + _BEHIND, "bad_host", entrances=_PLAIN),
    refused("D1 a hello behind a refusal", _connect(b"evil.test:443", host=b"evil.test:443") + _HELLO, "host_denied",
            lumped="bad_framing", entrances=_PLAIN),
    *(
        refused(f"C10 CONNECT a.test:{port}", _connect(b"a.test:%d" % port, host=b"a.test:%d" % port) + _BEHIND,
                "port_denied",
                entrances=_PLAIN)
        for port in (22, 25, 80, 6379, 8443, 10250)
    ),
    *(
        refused(f"C10 CONNECT b.test:{port}", _connect(b"b.test:%d" % port, host=b"b.test:%d" % port) + _BEHIND,
                "port_denied",
                entrances=_PLAIN)
        for port in (22, 25, 6379, 9091, 10250)
    ),
    *(
        refused(f"D1 CONNECT {target!r}", _connect(target) + _BEHIND, "bad_target", entrances=_PLAIN)
        for target in (
            b"a.test", b"a.test:", b"a.test:0", b"a.test:0443", b"127.1:443", b"0x7f.1:443", b"a_b:443",
            b"user:CANARY@a.test:443", b"a.test:+443", b"/", b"*", b"[::1]", b"[fe80::1%25eth0]:443",
            b"a.test,b.test:443", b"a..test:443", b"a.test;b:443", b"a%2etest:443",
        )
    ),
    *(
        # aiohttp's parser sees these first
        refused(f"D1 CONNECT {target!r}", _connect(target) + _BEHIND, "bad_framing", entrances=_PLAIN)
        for target in (
            b"a test:443", "ⓔxample.com:443".encode(), b"a.test\x00.b:443", b"a.test:4\t43", b":443", b"a.test:99999",
            b"[::1]x:443", b"::1:443", b"http://a.test:443", b"https://a.test", b"a.test:443/x", b"a.test:443?x",
            b"a.test:443#x", b"a.test\\b:443", b"a.test:4x3", b"a.test:443:443",
        )
    ),
    refused("D1 CONNECT nowhere", _connect(b"") + _BEHIND, "version_unsupported", entrances=_PLAIN),
    refused("D1 CONNECT with CL", _connect(b"a.test:443", b"Content-Length: 5") + b"hello", "bad_framing",
            entrances=_PLAIN),
    refused("D1 CONNECT with CL 0", _connect(b"a.test:443", b"Content-Length: 0") + _BEHIND, "bad_framing",
            entrances=_PLAIN),
    refused("D1 CONNECT with TE", _connect(b"a.test:443", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", "bad_framing",
            entrances=_PLAIN),
    refused("D1 CONNECT without Host", _connect(b"a.test:443", host=None) + _BEHIND, "bad_framing", entrances=_PLAIN),
    refused("D1 CONNECT with an upgrade", _connect(b"evil.test:443", b"Upgrade: h2c", host=b"evil.test:443") + _BEHIND,
            "host_denied", entrances=_PLAIN),
    refused("D1 connect in lower case", ask(line=b"connect a.test:443 HTTP/1.1", host=b"a.test:443") + _BEHIND,
            "bad_framing",
            entrances=_PLAIN),
    refused("D2 a hello before our answer", _connect(b"a.test:443") + _HELLO, "bad_framing", entrances=_PLAIN),
    refused("D2 a request before our answer", _connect(b"a.test:443") + _BEHIND, "bad_framing", entrances=_PLAIN),
    refused("C11 CONNECT to loopback", _connect(b"127.0.0.1:443", host=b"127.0.0.1:443") + _BEHIND, "host_denied",
            entrances=_PLAIN),
)  # fmt: skip

INSIDE = (
    *(
        refused(f"D4 Host {host!r}", _inner(b"/x", host), "misdirected", entrances=_INSIDE)
        for host in (b"b.test", b"a.test:8443", b"a.test:80", b"evila.test", b"a.test.evil", b"x.a.test", b"127.0.0.1",
        b"[::1]")
    ),
    refused("D4 absolute-form b", _inner(b"https://b.test/x", b"b.test"), "misdirected", entrances=_INSIDE),
    refused("D4 absolute-form b, Host a", _inner(b"https://b.test/x", b"a.test"), "bad_host", entrances=_INSIDE),
    refused("D4 absolute-form a, Host b", _inner(b"https://a.test/x", b"b.test"), "bad_host", entrances=_INSIDE),
    refused("D4 absolute-form http", _inner(b"http://a.test/x", b"a.test"), "misdirected", entrances=_INSIDE),
    refused("D4 absolute-form with another port", _inner(b"https://a.test:8443/x", b"a.test:8443"), "misdirected",
            entrances=_INSIDE),
    refused("D4 absolute-form with userinfo", _inner(b"https://b.test@a.test/x", b"a.test"), "bad_target",
            entrances=_INSIDE),
    refused("D4 CONNECT inside", _connect(b"a.test:443"), "bad_target", entrances=_INSIDE),
    refused("D4 CONNECT to b inside", _connect(b"b.test:443", host=b"b.test:443") + _BEHIND, "bad_target",
            entrances=_INSIDE),
    refused("D8 TLS inside TLS", _HELLO, "bad_framing", entrances=_INSIDE),
    Row(
        id="D5 Host a, then Host b",
        raw=_inner(b"/x", b"a.test") + _inner(b"/x", b"b.test"),
        answers=(OK, "misdirected"),
        sees=(_GET,),
        entrances=_INSIDE,
    ),
    Row(
        id="D5 twice a, then absolute-form b",
        raw=_inner(b"/x", b"a.test") * 2 + _inner(b"https://b.test/x", b"b.test"),
        answers=(OK, OK, "misdirected"),
        sees=(_GET, _GET),
        entrances=_INSIDE,
    ),
    passed("D4 Host a in capitals, with dot and port", _inner(b"/x", b"A.Test.:443"), _GET, entrances=_INSIDE),
    passed("D4 absolute-form a", _inner(b"https://a.test/x", b"a.test"), _GET, entrances=_INSIDE),
    passed("D4 no Host on HTTP/1.0", ask(b"Connection: keep-alive", line=b"GET /x HTTP/1.0", host=None), _GET,
           entrances=_INSIDE),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*CONNECTS, *INSIDE)

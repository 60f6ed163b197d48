"""B: request target and Host. What policy is applied to is what is sent, and where it is sent.

A target with a host is written for the forward entrances only; a path is written for each.
"""

from __future__ import annotations

from ..row import Entrance, Row, Sent, ask, get, passed, refused

_PATHS: tuple[Entrance, ...] = ("reverse", "intercept")
"""Entrances whose request line holds no host, so Host alone says whom the call is for."""
_GET = Sent(method=b"GET")


def _url(target: bytes, host: bytes = b"a.test") -> bytes:
    return get(target, host=host)


_NO_HOSTS = (
    b"", b" ", b"a, b", b"a,b", b"a@b", b"CANARY:CANARY@a.test", b"a/path", b"a?x", b"a#x", b"a b", b"a\tb", b"[::1",
    b"::1",
    b"[::1]x", b"[::1%1]", b"[fe80::1%25eth0]", b"[]", b"[a.test]", b"a:99999", b"a:65536", b"a:abc", b"a:80:90",
    b"a:", b":80",
    b"a:0", b"a:+80", b"a:-80", b"a:080", b"a: 80", b"a :80", b"127.1", b"0x7f.1", b"2852039166",
    b"0251.0376.0251.0376", b"a..b",
    b".a", b".", b"..", b"-a.test", b"a-.test", b"a_b.test", b"a.test\\b", b"http://a.test", b"a.test/", b"a%2etest",
    b"a%00.test",
    b"*", b"*.test", b"a'b", b'"a.test"', b"<a>", b"a;b", b"a=b", b"a" * 64 + b".test", b"a." * 127 + b"a" * 3,
    b"1.2.3.4.5",
    b"1.2.3.256", b"01.2.3.4", b"a.0x1", b"a.123",
)  # fmt: skip

HOSTS = (
    *(refused(f"B2 Host {host[:24]!r}", get(b"<base>/x", host=host), "bad_host", entrances=_PATHS)
              for host in _NO_HOSTS),
    refused("B2 no Host", get(b"<base>/x", host=None), "bad_framing"),
    refused("B2 two Host", get(b"<base>/x", b"Host: <host>"), "bad_framing"),
    refused("B2 two Host, the first bad", get(b"<base>/x", b"Host: <host>", host=b"b.test"), "bad_framing"),
    refused("B2 two Host, far apart", get(b"<base>/x", *[b"X: y"] * 20, b"hOST: b.test"), "bad_framing"),
    refused("B2 three Host", get(b"<base>/x", b"Host: <host>", b"Host: <host>"), "bad_framing"),
    refused("B2 8-bit Host", get(b"<base>/x", host="ⓔxample.com".encode()), "bad_header"),
    refused("B2 ideographic dot", get(b"<base>/x", host="a。test".encode()), "bad_header"),
    refused("B2 Host with NUL", get(b"<base>/x", host=b"a.test\x00.b.test"), "bad_framing"),
    refused("B2 Host with a bare LF", get(b"<base>/x", host=b"a.test\nX: y"), "bad_framing"),
    refused("B2 folded Host", get(b"<base>/x", host=b"a.test\r\n b.test"), "bad_framing"),
    passed("B2 Host_ beside Host", get(b"<base>/x", b"Host_: b.test"), _GET),
    passed("B2 _Host beside Host", get(b"<base>/x", b"_Host: b.test"), _GET),
    passed("B2 X-Forwarded-Host", get(b"<base>/x", b"X-Forwarded-Host: b.test"), _GET),
    passed("B2 Forwarded", get(b"<base>/x", b"Forwarded: host=b.test;for=1.2.3.4"), _GET),
    passed("B6 Host in capitals", get(b"<base>/x", host=b"A.TEST"), _GET, entrances=_PATHS),
    passed("B6 Host with a dot", get(b"<base>/x", host=b"a.test."), _GET, entrances=_PATHS),
    passed("B6 Host with its port", get(b"<base>/x", host=b"a.test:443"), _GET, entrances=("intercept",)),
    passed("B6 a reverse call's Host is our own name", get(b"<base>/x", host=b"headgate:8080"), _GET,
           entrances=("reverse",)),
    passed("B2 no Host on HTTP/1.0", ask(b"Connection: keep-alive", line=b"GET <base>/x HTTP/1.0", host=None), _GET),
)  # fmt: skip

_FORWARD: tuple[Entrance, ...] = ("forward",)

URLS = (
    refused("B1 target and Host differ", _url(b"http://a.test/x", b"b.test"), "bad_host", entrances=_FORWARD),
    refused("B1 Host with another port", _url(b"http://a.test/x", b"a.test:81"), "bad_host", entrances=_FORWARD),
    refused("B1 target with another port", _url(b"http://a.test:81/x"), "bad_host", entrances=_FORWARD),
    refused("B1 https, Host with port 80", _url(b"https://a.test/x", b"a.test:80"), "bad_host", entrances=_FORWARD),
    refused("B1 Host is the proxy's", _url(b"http://a.test/x", b"127.0.0.1:8080"), "bad_host", entrances=_FORWARD),
    refused("B1 an empty Host", _url(b"http://a.test/x", b""), "bad_host", entrances=_FORWARD),
    *(
        refused(f"{line} {target!r}", _url(target), "bad_target", entrances=("plain",))
        for line, targets in (
            ("B3", (
                b"ftp://a.test/", b"gopher://a.test/", b"ws://a.test/", b"wss://a.test/", b"dict://a.test/",
                b"ldap://a.test/", b"httpx://a.test/", b"javascript://a.test/", b"//a", b"//a.test/x", b"///x",
                b"http://a.test//x", b"http://a.test/v1/../admin", b"http://a.test/%2e%2e/x",
                b"http://a..b/", b"http://.a.test/", b"http://a.test../", b"http://-a.test/", b"http://a_b.test/",
                b"http://*/", b"http://a,b/", b"http://a.test;b/", b"http://a'b/", b"http://a%2etest/",
                b"http://127.1/", b"http://0xa9fea9fe/", b"http://2852039166/", b"http://0251.0376.0251.0376/",
                b"http://0177.0.0.1/", b"http://1.2.3/", b"http://[fe80::1%25eth0]/",
            )),
            ("B4", (
                b"http://user:CANARY@a.test/x", b"http://user@a.test/", b"http://@a.test/", b"http://:CANARY@a.test/",
                b"http://a.test@b.test/", b"http://a.test:80@b.test/", b"http://a.test%40b.test/",
                b"http://a.test%00.b/", b"http://a.test%2f@b.test/", b"http://user:@a.test:80/",
            )),
            ("B5", (
                b"http://a.test:0/x", b"http://a.test:/x", b"http://a.test:+80/x", b"http://a.test:0080/x",
                b"http://a.test:0443/",
            )),
        )
        for target in targets
    ),
    *(
        # aiohttp's parser sees these first
        refused(f"B3 {target!r}", _url(target), "bad_framing", entrances=("plain",))
        for target in (
            b"*", b"file:///etc/passwd", b"http:/a", b"http:///a", b"http://", b"http:", b"?x", b"x", b"a.test/x",
            b"a.test:80",
            b"http://a.test:99999/", b"http://a.test:80:90/", b"http://a.test:abc/",
            b"http://a.test\\@b.test/", b"http://a.test#@b.test/", b"http://a.test\\b/", b"#",
            b"http+unix://a.test/", b"hTTps2://a.test/",
            "http://ⓔxample.com/".encode(), "http://a。test/".encode(), "/svc/é".encode(), b"/svc/\xff",
            b"http://[::1/", b"http://[/", b"http://[]/", b"http://]/", b"data:text/plain,x", b"mailto:a@b.test", b"-",
        )
    ),
    passed("B6 the host in capitals", _url(b"http://A.TEST/x"), _GET, entrances=_FORWARD),
    passed("B6 the scheme in capitals", _url(b"HTTP://a.test/x"), _GET, entrances=_FORWARD),
    passed("B6 a dot behind the host", _url(b"http://a.test./x"), _GET, entrances=_FORWARD),
    passed("B6 its own port", _url(b"http://a.test:80/x"), _GET, entrances=_FORWARD),
    passed("B6 https", _url(b"https://a.test/x", b"a.test:443"), _GET, entrances=_FORWARD),
    passed("B6 no path", _url(b"http://a.test"), Sent(method=b"GET", path=b"/"), entrances=_FORWARD),
    passed("B6 a query and no path", _url(b"http://a.test?x=/../y"), Sent(method=b"GET", path=b"/?x=/../y"),
           entrances=_FORWARD),
    refused("B7 a suffix of the host", _url(b"http://evila.test/x", b"evila.test"), "host_denied", entrances=_FORWARD),
    refused("B7 a prefix of the host", _url(b"http://a.test.evil/x", b"a.test.evil"), "host_denied",
            entrances=_FORWARD),
    refused("B7 a name below the host", _url(b"http://x.a.test/x", b"x.a.test"), "host_denied", entrances=_FORWARD),
    refused("B7 the last label", _url(b"http://test/x", b"test"), "host_denied", entrances=_FORWARD),
    refused("B7 a name below an allowed one", _url(b"http://x.b.test/x", b"x.b.test"), "host_denied",
            entrances=_FORWARD),
    refused("B7 a punycode twin", _url(b"http://xn--a-7sb.test/x", b"xn--a-7sb.test"), "host_denied",
            entrances=_FORWARD),
    refused("C10 a service on another port", _url(b"http://a.test:22/x", b"a.test:22"), "port_denied",
            entrances=_FORWARD),
)  # fmt: skip

PATHS = (
    *(
        refused(f"B8 {path!r}", get(b"<base>" + path), "bad_target")
        for path in (
            b"/v1/../admin", b"/v1/./x", b"/..", b"/.", b"/../x", b"/v1/%2e%2e/admin", b"/v1/%2E%2e/admin",
            b"/v1/.%2E/admin",
            b"/v1/%2e./admin", b"/v1/.", b"/v1/..", b"/v1/%2e", b"/..;/admin", b"/v1/..;a=b/admin", b"/v1/.;/x",
            b"/v1/..%2fadmin",
            b"/v1%2f..%2fadmin", b"/%5c..%5cadmin", b"/v1/..%5cadmin", b"/v1%2F%2e%2E%2Fadmin",
            b"/v1/../../../../etc/passwd?x",
            b"//admin", b"//b.test/x", b"///x", b"//", b"/%2e%2e",
        )
    ),
    *(
        passed(f"B8 {path!r}", get(b"<base>" + path), Sent(method=b"GET", path=path))
        for path in (
            b"/v1;x/", b"/v1/a..b", b"/v1/...", b"/v1//x", b"/v1/x/", b"/%", b"/%2", b"/%zz", b"/%25%32%65",
            b"/%252e%252e/x",
            b"/%0d%0aX:%20y", b"/%00", b"/a%20b", b"/~a!$&'()*+,;=:@", b"/x?../..", b"/x?a=%2e%2e/", b"/x?", b"/?",
            b"/x??a?b",
            b"/x?a%23b", b'/"<>^`{|}', b"/http://b.test/", b"/:80", b"/@b.test", b"/x?http://b.test/",
        )
    ),
    refused("B8 a fragment", get(b"<base>/x#f"), "bad_target"),
    refused("B8 a fragment behind a query", get(b"<base>/x?y#CANARY"), "bad_target"),
    refused("B8 a backslash", get(b"<base>/v1\\..\\admin"), "bad_target"),
    refused("B8 overlong UTF-8", get(b"<base>/v1/\xc0\xae\xc0\xae/admin"), "bad_framing"),
    passed("B9 a line break in the query", get(b"<base>/x?%0d%0aX:%20y"), Sent(method=b"GET", path=b"/x?%0d%0aX:%20y")),
    refused("B10 Via of ten hops", get(b"<base>/x", b"Via: " + b", ".join([b"1.1 p"] * 10)), "loop"),
    refused("B10 Via in ten lines", get(b"<base>/x", *[b"Via: 1.1 p"] * 10), "loop"),
    refused("B10 our own name in Via", get(b"<base>/x", b"Via: 1.1 a, 1.1 headgate-test"), "loop"),
    refused("B10 our own address", _url(b"http://headgate.test/svc/x", b"headgate.test"), "loop", entrances=_FORWARD),
    refused("B10 our own address by https", _url(b"https://headgate.test/", b"headgate.test"), "loop",
            entrances=_FORWARD),
    refused("B10 CONNECT to our own address", ask(line=b"CONNECT headgate.test:443 HTTP/1.1",
            host=b"headgate.test:443"),
            "loop", entrances=("plain",)),
    refused("B10 our own name in capitals of Via", get(b"<base>/x", b"VIA: 1.1 headgate-test (x)"), "loop"),
    refused("B8 an unknown service", get(b"/nobody/x"), "service_unknown", stays=True, entrances=("reverse",)),
    refused("B8 no service", get(b"/"), "service_unknown", stays=True, entrances=("reverse",)),
    refused("B8 a service in capitals", get(b"/SVC/x"), "service_unknown", stays=True, entrances=("reverse",)),
    refused("B8 an encoded service", get(b"/%73vc/x"), "service_unknown", stays=True, entrances=("reverse",)),
    refused("B8 a path behind two slashes of the service", get(b"/svc//x"), "bad_target", entrances=("reverse",)),
    refused("J1 metrics on the proxy port", get(b"/metrics"), "service_unknown", stays=True, entrances=("reverse",)),
    refused("J1 the admin's pages on the proxy port", get(b"/api/keys"), "service_unknown", stays=True,
            entrances=("reverse",)),
    refused("J1 health on the proxy port", get(b"/healthz"), "service_unknown", stays=True, entrances=("reverse",)),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*HOSTS, *URLS, *PATHS)

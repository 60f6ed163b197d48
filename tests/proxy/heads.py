"""Raw requests of clients, and what each must become: rows 1 to 22 of threats 2.2, sections A, B and E9.

`T` stands for a target of the entrance under test and `H` for its Host line. `becomes` is the code of the answer, or
the body the handler must see. A refused row closes the connection unless `stays` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    id: str
    raw: bytes
    becomes: str | bytes
    stays: bool = False


def _ask(*lines: bytes, line: bytes = b"POST T HTTP/1.1", body: bytes = b"", host: bytes = b"H") -> bytes:
    return b"\r\n".join((line, *([host] if host else []), *lines, b"", body))


_CHUNKED = b"Transfer-Encoding: chunked"
_FRAMING, _CODING, _HOST = "bad_framing", "coding_unsupported", "bad_host"
_END = b"0\r\n\r\n"


def _te(value: bytes) -> bytes:
    return _ask(b"Transfer-Encoding: " + value, body=_END)


def _cl(value: bytes) -> bytes:
    return _ask(b"Content-Length: " + value, body=b"hello")


def _chunks(raw: bytes) -> bytes:
    return _ask(_CHUNKED, body=raw)


# One message in, one message out: every entrance.
FRAMING = (
    Row("A1 CL then TE", _ask(b"Content-Length: 5", _CHUNKED, body=_END), _FRAMING),
    Row("A1 TE then CL", _ask(_CHUNKED, b"content-length: 5", body=_END), _FRAMING),
    Row("A2 two equal CL", _ask(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), _FRAMING),
    Row("A2 two CL", _ask(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), _FRAMING),
    *(
        Row(f"A3 CL {value!r}", _cl(value), _FRAMING)
        for value in (b"5, 5", b"+5", b"-0", b"0x5", b"5_0", "٥".encode(), b"", b"18446744073709551616", b"5 5", b"5;")
    ),
    *(
        Row(f"A4 TE {value!r}", _te(value), _CODING)
        for value in (
            b"identity, chunked", b"gzip, chunked", b",chunked", b"cow, chunked", b"x, chunked",
        )
    ),
    Row("TE two lines", _ask(_CHUNKED, _CHUNKED, body=_END), _FRAMING),
    Row("TE with a parameter", _te(b"chunked;q=1"), _FRAMING),
    Row("A5 TE Chunked", _ask(b"Transfer-Encoding: \t Chunked  ", body=b"5\r\nhello\r\n" + _END), b"hello"),
    Row("A6 space before colon", _ask(b"Transfer-Encoding : chunked", body=_END), _FRAMING),
    Row("A6 vertical tab", _te(b"\x0bchunked"), _FRAMING),
    Row("A6 folded", _te(b"\r\n chunked"), _FRAMING),
    Row("A6 bare CR", _te(b"chunked\rX: y"), _FRAMING),
    Row("A7 TE on 1.0", _ask(_CHUNKED, line=b"POST T HTTP/1.0", body=_END), _FRAMING),
    *(
        Row(f"A8 size {size!r}", _chunks(size + b"\r\nhello\r\n" + _END), _FRAMING)
        for size in (b"0x5", b"+5", b" 5", b"5 ", b"", b"10000000000000005", b"5;a\nX", b"5_", b"-5", b"g")
    ),
    Row("A9 data short", _chunks(b"5\r\nhell\r\n" + _END), _FRAMING),
    Row("A9 data long", _chunks(b"5\r\nhello!\r\n" + _END), _FRAMING),
    Row("A9 last chunk with LF", _chunks(b"5\r\nhello\r\n0\n\r\n"), _FRAMING),
    Row("A10 trailers", _chunks(b"5\r\nhello\r\n0\r\nAuthorization: x\r\nCookie: y\r\n\r\n"), b"hello"),
    Row("A10 trailer Host", _chunks(b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n"), b"hello"),
    Row("A10 trailer Content-Length", _chunks(b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"), _FRAMING),
    *(
        Row(f"A11 {byte!r} in a value", _ask(b"Authorization: Bearer CANARY" + byte), _FRAMING)
        for byte in (b"\n", b"\r", b"\x00", b"\x07", b"\x7f")
    ),
    Row("A11 bare LF ends the head", b"POST T HTTP/1.1\nH\n\n", _FRAMING),
    Row("A11 control in the target", _ask(line=b"POST T\x07CANARY HTTP/1.1"), _FRAMING),
    *(
        Row(f"A12 {line!r}", _ask(line), _FRAMING)
        for line in (b": v", b"X Y: v", b"X[]: v", b"X\xff: v", b"CANARY without colon")
    ),
    Row("A13 byte above 0x7f", _ask(b"X: \xff\xfe"), "bad_header"),
    Row("A14 HTTP/0.9", _ask(line=b"POST T HTTP/0.9"), "version_unsupported"),
    Row("A14 HTTP/2.0", _ask(line=b"POST T HTTP/2.0"), "version_unsupported"),
    Row("A14 HTTP/1.2", _ask(line=b"POST T HTTP/1.2"), _FRAMING),
    Row("A14 lower-case http", _ask(line=b"POST T http/1.1"), _FRAMING),
    Row("A14 no version", _ask(line=b"POST T"), "version_unsupported"),
    Row("A14 preface of h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _FRAMING),
    Row("A14 TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", _FRAMING),
    Row("A18 Expect: banana", _ask(b"Expect: banana"), "expectation_failed"),
    Row("A18 Expect: y 100-continue", _ask(b"Expect: y 100-continue"), "expectation_failed"),
    Row("13 Connection names Host", _ask(b"Connection: Host"), "bad_header"),
    Row("13 Connection names CL", _ask(b"Connection: close, content-length"), "bad_header"),
    Row("E3 Connection names Authorization", _ask(b"Connection: x,Authorization"), "bad_header"),
    Row("20 blank lines", b"\r\n" * 5000 + _ask(), "bad_request"),
    Row("22 lower-case method", _ask(line=b"post T HTTP/1.1"), _FRAMING),
    Row("22 unknown method", _ask(line=b"BREW T HTTP/1.1"), _FRAMING),
    Row("PROPFIND", _ask(line=b"PROPFIND T HTTP/1.1"), "method_denied"),
    Row("B11 TRACE", _ask(b"Authorization: Bearer CANARY", line=b"TRACE T HTTP/1.1"), "method_denied"),
    Row("B2 two Host", _ask(b"Host: a.test"), "400"),
    *(
        Row(f"E9 {name.decode()} {value!r}", _ask(b"X-Headgate-" + name + b": " + value), "bad_control_header", True)
        for name, values in (
            (b"Max-Wait", (b"-1", b"1e999", b"NaN", b"1" + b"0" * 30, b"", b"1.5s", b"10 s", b"10d")),
            (b"Priority", (b"-1", b"10", b"NaN", b"", b"high")),
            (b"User", (b"", b"a" * 257)),
            (b"Tier", (b"", b"a b", b"a" * 65)),
        )
        for value in values
    ),
    Row("E9 two of them", _ask(b"X-Headgate-Priority: 1", b"x-headgate-priority: 1"), "bad_control_header", True),
    Row("blank lines, few", b"\r\n\r\n" + _ask(b"Content-Length: 5", body=b"hello"), b"hello"),
    Row("no body", _ask(), b""),
    Row("body", _ask(b"Content-Length: 5", body=b"hello"), b"hello"),
    Row("21 gzip that is none", _ask(b"Content-Encoding: gzip", b"Content-Length: 5", body=b"hello"), b"hello"),
    Row("chunks", _chunks(b"2\r\nhe\r\n3;x=1\r\nllo\r\n" + _END), b"hello"),
    Row("GET with a body", _ask(b"Content-Length: 5", line=b"GET T HTTP/1.1", body=b"hello"), b"hello"),
    Row("14 Transfer_Encoding", _ask(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"), b"hello"),
)  # fmt: skip


def _get(target: bytes, host: bytes = b"a.test") -> bytes:
    return _ask(line=b"GET " + target + b" HTTP/1.1", host=b"Host: " + host)


def _connect(target: bytes, *lines: bytes) -> bytes:
    return _ask(*lines, line=b"CONNECT " + target + b" HTTP/1.1", host=b"Host: a.test")


# Target and Host: the open entrances (reverse, forward, CONNECT).
TARGETS = (
    *(
        Row(f"6 Host {host!r}", _get(b"/svc/x", host), _HOST)
        for host in (
            b"", b"a, b", b"a,b", b"a@b", b"a/path", b"a#x", b"a b", b"[::1", b"[::1]x", b"[::1%1]", b"a:99999",
            b"a:abc", b"a:80:90", b"a:", b"a:0", b"a:+80", b"a:080", b"127.1", b"0x7f.1", b"2852039166", b"a..b",
        )
    ),
    Row("B2 no Host", b"GET /svc/x HTTP/1.1\r\n\r\n", "400"),
    Row("4 target and Host differ", _get(b"http://a.test/", b"b.test"), _HOST),
    Row("4 ports differ", _get(b"http://a.test:81/", b"a.test"), _HOST),
    *(
        Row(f"5 {target!r}", _get(target), "bad_target")
        for target in (
            b"ftp://a.test/", b"gopher://a.test/", b"http://user:pw@a.test/",
            b"http://a.test@b.test/", b"http://a.test:0/", b"http://a.test:/", b"http://a.test:+80/",
            b"http://a.test:0443/", b"http://a.test%00.b/", b"http://[fe80::1%25eth0]/",
            b"http://127.1/", b"http://0xa9fea9fe/", b"//a", b"//admin", b"/svc//v1/x", b"/svc/../admin", b"/../x",
            b"/svc/v1/%2e%2e/admin", b"/svc/v1/.%2E/admin", b"/svc/v1/.", b"/svc/..;/admin", b"/svc/v1/..%2fadmin",
            b"/svc/v1%2f..%2fadmin", b"/svc/%5c..%5cadmin", b"http://a.test/v1/../admin", b"http://a.test//x",
        )
    ),
    *(
        # what aiohttp's parser refuses by itself, or we do: never a handler, never a 500
        Row(f"B3 {target!r}", _get(target), "400")
        for target in (
            b"*", b"file:///etc/passwd", b"http://a.test:99999/", b"http:/a", b"http:///a", b"http://",
            b"?x", b"x", b"http://a.test\\@b.test/", b"http://a.test#@b.test/",
            b"/svc/x#f", "http://ⓔxample.com/".encode(), "http://a。test/".encode(), b"http://[::1/", b"http://[/",
        )
    ),
    *(
        Row(f"9 CONNECT {target!r}", _connect(target), "400")
        for target in (
            b"a.test", b"a.test:", b"a.test:0", b"user@a.test:443", b"a.test:+443", b"/", b":443", b"a.test:99999",
            b"[::1]", b"::1:443", b"http://a.test:443", b"a.test:443/x", b"127.1:443",
        )
    ),
    Row("11 CONNECT with CL", _connect(b"a.test:443", b"Content-Length: 5") + b"hello", _FRAMING),
    Row("11 CONNECT with TE", _connect(b"a.test:443", _CHUNKED) + _END, _FRAMING),
    Row("CONNECT and Host differ", _connect(b"b.test:443"), _HOST),
)  # fmt: skip


# A decrypted connection is bound to the authority of its CONNECT: a.test, port 443.
BOUND = (
    Row("D4 Host b", _get(b"/x", b"b.test"), "misdirected"),
    Row("D4 Host with another port", _get(b"/x", b"a.test:8443"), "misdirected"),
    Row("D4 absolute-form b", _get(b"https://b.test/x", b"b.test"), "misdirected"),
    Row("D4 absolute-form b, Host a", _get(b"https://b.test/x"), _HOST),
    Row("D4 absolute-form http", _get(b"http://a.test/x"), "misdirected"),
    Row("CONNECT inside", _connect(b"a.test:443"), "bad_target"),
    Row("no Host", b"GET /x HTTP/1.1\r\n\r\n", "400"),
    Row("Host a", _get(b"/x"), b""),
    Row("Host a in capitals, with dot and port", _get(b"/x", b"A.Test.:443"), b""),
    Row("absolute-form a", _get(b"https://a.test/x"), b""),
)

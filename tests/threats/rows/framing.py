"""A1 to A10: lengths, transfer codings, chunks and trailers. One message in is one message out."""

from __future__ import annotations

from ..row import OK, Row, Sent, ask, broken, get, passed, refused

CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
CHUNKED = TE + b"chunked"
END = b"0\r\n\r\n"
HELLO = Sent(body=b"hello")
NOTHING = Sent()
# what a smuggler puts behind a body that two servers see end in different places
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"


def _length(value: bytes) -> bytes:
    return ask(CL + value, body=b"hello")


def _coding(value: bytes) -> bytes:
    return ask(TE + value, body=END)


def _chunks(raw: bytes) -> bytes:
    return ask(CHUNKED, body=raw)


def _size(value: bytes) -> bytes:
    return _chunks(value + b"\r\nhello\r\n" + END)


def _trailer(line: bytes) -> bytes:
    return _chunks(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n")


LENGTH_AND_CODING = (
    refused("A1 CL then TE", ask(CL + b"5", CHUNKED, body=END), "bad_framing"),
    refused("A1 TE then CL", ask(CHUNKED, CL + b"5", body=END), "bad_framing"),
    refused("A1 in lower case", ask(b"transfer-encoding: chunked", b"content-length: 5", body=END), "bad_framing"),
    refused("A1 in capitals", ask(b"CONTENT-LENGTH: 5", b"TRANSFER-ENCODING: CHUNKED", body=END), "bad_framing"),
    refused("A1 CL 0 and TE", ask(CL + b"0", CHUNKED, body=END + HIDDEN), "bad_framing"),
    refused("A1 CL.TE", ask(CL + b"6", CHUNKED, body=END + b"G"), "bad_framing"),
    refused("A1 TE.CL", ask(CL + b"3", CHUNKED, body=b"1\r\nZ\r\nQ"), "bad_framing"),
    refused("A1 on GET", get(b"<base>/x", CL + b"5", CHUNKED) + END, "bad_framing"),
    refused("A1 CL, TE, CL", ask(CL + b"5", CHUNKED, CL + b"5", body=END), "bad_framing"),
    refused("A1 CL and TE identity", ask(CL + b"5", TE + b"identity", body=b"hello"), "bad_framing"),
    refused("A1 CL and a TE that is no coding", ask(CL + b"5", TE + b"xchunked", body=b"hello"), "bad_framing"),
    refused("A1 CL and an empty TE", ask(CL + b"5", TE, body=b"hello"), "bad_framing"),
    refused("A1 lines far apart", ask(CL + b"5", *[b"X: y"] * 50, CHUNKED, body=END), "bad_framing"),
)

LENGTHS = (
    refused("A2 two CL, equal", ask(CL + b"5", CL + b"5", body=b"hello"), "bad_framing"),
    refused("A2 two CL", ask(CL + b"5", CL + b"6", body=b"hello!"), "bad_framing"),
    refused("A2 two CL, 0 first", ask(CL + b"0", CL + b"5", body=b"hello"), "bad_framing"),
    refused("A2 two CL, other case", ask(CL + b"5", b"content-LENGTH: 5", body=b"hello"), "bad_framing"),
    refused("A2 three CL", ask(CL + b"5", CL + b"5", CL + b"5", body=b"hello"), "bad_framing"),
    *(
        refused(f"A2 CL list {value!r}", _length(value), "bad_framing")
        for value in (b"5, 5", b"5,5", b"5,", b",5", b"5, 6", b"5,\t5")
    ),
    *(
        refused(f"A3 CL {value!r}", _length(value), "bad_framing")
        for value in (
            b"+5", b"-5", b"-0", b"+0", b"0x5", b"0X5", b"5_0", b"", b"18446744073709551616", b"9" * 40, b"5 5", b"5;",
            b"5.0", b"5e0", b'"5"', b"'5'", b"five", b"5\x0b", b"\x0c5", b"5\x00", b"5\x00 ", b"0b101", b"5h", b"(5)",
            "٥".encode(), "５".encode(), b"\xb5", b"5\r6", b"5\n6", b"- 5", b"\\5", b"%35",
        )
    ),
    refused("A3 folded", ask(b"Content-Length:\r\n 5", body=b"hello"), "bad_framing"),
    refused("A3 folded behind", ask(b"Content-Length: 5\r\n\t5", body=b"hello"), "bad_framing"),
    refused("A3 space before the colon", ask(b"Content-Length : 5", body=b"hello"), "bad_framing"),
    refused("A3 2^64 - 1", _length(b"18446744073709551615"), "body_too_large"),
    refused("A3 2^63", _length(b"9223372036854775808"), "body_too_large"),
    refused("A3 a byte beyond the bound", _length(b"1073741825"), "body_too_large"),
    passed("A3 leading zeros", _length(b"0000000005"), HELLO),
    passed("A3 spaces around", _length(b" \t 5 \t"), HELLO),
    passed("A3 no space", ask(b"Content-Length:5", body=b"hello"), HELLO),
    passed("A3 octal is decimal", ask(CL + b"010", body=b"hellohello"), Sent(body=b"hellohello")),
    passed("A3 length 0", ask(CL + b"0"), NOTHING),
    passed("A3 no length, no body", ask(), NOTHING),
)  # fmt: skip

CODINGS = (
    *(
        refused(f"A4 TE {value!r}", _coding(value), "coding_unsupported")
        for value in (
            b"identity, chunked", b"gzip, chunked", b",chunked", b"cow, chunked", b"x, chunked", b"identity,chunked",
            b"deflate, chunked", b"chunked;q=1, chunked", b"br\t,\tchunked",
        )
    ),
    *(
        refused(f"A4 TE {value!r}", _coding(value), "bad_framing")
        for value in (
            b"identity", b"gzip", b"chunked, identity", b"chunked, gzip", b"xchunked", b"chunkedx", b"chunk",
            b"chunked;", b"chunked;q=1", b'"chunked"', b"'chunked'", b"chunked,", b"chun ked", b"chunked-", b"none",
            b"chunked; foo=bar", b"chunked\x00", b"\x00chunked", b"chunked\x1f", b"chunked\x7f", b"chunked\x08",
        )
    ),
    refused("A4 TE chunked twice in a list", _coding(b"chunked, chunked"), "bad_framing"),
    refused("A4 two TE", ask(CHUNKED, CHUNKED, body=END), "bad_framing"),
    refused("A4 two TE, identity first", ask(TE + b"identity", CHUNKED, body=END), "bad_framing"),
    refused("A4 two TE, identity last", ask(CHUNKED, TE + b"identity", body=END), "bad_framing"),
    refused("A4 two TE, the first empty", ask(TE, CHUNKED, body=END), "bad_framing"),
    refused("A4 TE with a Kelvin sign", _coding("chun\u212aed".encode()), "bad_framing"),
    refused("A4 TE with a long s behind", _coding("chunked\u017f".encode()), "bad_framing"),
    Row(id="A4 empty TE", raw=_coding(b""), answers=("coding_unsupported",), lumped="bad_framing"),
    passed("A5 TE Chunked in OWS", ask(TE + b"\t Chunked  ", body=b"5\r\nhello\r\n" + END), HELLO),
    passed("A5 TE CHUNKED", ask(b"TRANSFER-ENCODING:CHUNKED", body=b"5\r\nhello\r\n" + END), HELLO),
    passed("A5 no chunk", _chunks(END), NOTHING),
    refused("A6 space before the colon", ask(b"Transfer-Encoding : chunked", body=END), "bad_framing"),
    refused("A6 tab before the colon", ask(b"Transfer-Encoding\t: chunked", body=END), "bad_framing"),
    refused("A6 vertical tab", _coding(b"\x0bchunked"), "bad_framing"),
    refused("A6 form feed", _coding(b"\x0cchunked"), "bad_framing"),
    refused("A6 vertical tab behind", _coding(b"chunked\x0b"), "bad_framing"),
    refused("A6 folded", ask(b"Transfer-Encoding:\r\n chunked", body=END), "bad_framing"),
    refused("A6 folded by a tab", ask(b"Transfer-Encoding:\r\n\tchunked", body=END), "bad_framing"),
    refused("A6 folded behind", ask(b"Transfer-Encoding: chunked\r\n , identity", body=END), "bad_framing"),
    refused("A6 in a fold of another", ask(b"X: y\r\n Transfer-Encoding: chunked", body=END), "bad_framing"),
    refused("A6 bare CR behind", _coding(b"chunked\rX: y"), "bad_framing"),
    refused("A6 bare CR before", ask(b"X: y\rTransfer-Encoding: chunked", body=END), "bad_framing"),
    refused("A6 bare LF before", ask(b"X: y\nTransfer-Encoding: chunked", body=END), "bad_framing"),
    refused("A6 CR CR LF", ask(b"Transfer-Encoding: chunked\r", body=END), "bad_framing"),
    refused("A6 NUL in the name", ask(b"Transfer-Encoding\x00: chunked", body=END), "bad_framing"),
    refused("A6 no-break space in the name", ask(b"Transfer-Encoding\xa0: chunked", body=END), "bad_framing"),
    refused("A6 no colon", ask(b"Transfer-Encoding chunked", body=END), "bad_framing"),
    passed("A6 underscore", ask(b"Transfer_Encoding: chunked", CL + b"5", body=b"hello"), HELLO),
    passed("A6 underscore in capitals", ask(b"TRANSFER_ENCODING: chunked", CL + b"5", body=b"hello"), HELLO),
    refused("A7 TE on HTTP/1.0", ask(CHUNKED, line=b"POST <base>/x HTTP/1.0", body=END), "bad_framing"),
    refused(
        "A7 TE on HTTP/1.0, kept alive",
        ask(CHUNKED, b"Connection: keep-alive", line=b"POST <base>/x HTTP/1.0", body=END),
        "bad_framing",
    ),
    refused("A7 both on HTTP/1.0", ask(CHUNKED, CL + b"5", line=b"POST <base>/x HTTP/1.0", body=END), "bad_framing"),
)  # fmt: skip

CHUNKS = (
    *(
        broken(f"A8 size {size!r}", _size(size))
        for size in (
            b"0x5", b"0X5", b"x5", b"+5", b"-5", b" 5", b"\t5", b"5 ", b"5\t", b"", b"10000000000000005", b"5_", b"_5",
            b"g", b"5g", b"5.", b'"5"', b"5,", b"\x005", b"5\x00", b"5\x0b", b"5 5", b"5;a\nX", b"5\n", b"\r\n5",
            b"\n5", b"5\r", b"5\rX", "５".encode(), b"5;\x00", b"5;a\x07", b"5;a\x7f", b"fffffffffffffffff", b"5;",
            b"5;a\rX", b"5 ;a", b"-0", b"0 ", b"0x0", b'5;a="', b";", b"5\xa0",
        )
    ),
    passed("A8 leading zeros", _size(b"0000000000000005"), HELLO),
    passed("A8 an extension", _size(b"5;a=b"), HELLO),
    passed("A8 a quoted extension", _size(b'5;a="b c"'), HELLO),
    passed("A8 an extension without a value", _size(b"5;a"), HELLO),
    passed("A8 two extensions", _size(b"5;a=b;c=d"), HELLO),
    passed("A8 an extension without a name", _size(b"5;=1"), HELLO),
    passed("A8 capitals", _chunks(b"A\r\nhellohello\r\n" + END), Sent(body=b"hellohello")),
    passed("A8 many chunks", _chunks(b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + END), HELLO),
    passed("A8 a last chunk of many zeros", _chunks(b"5\r\nhello\r\n00000\r\n\r\n"), HELLO),
    passed("A8 a last chunk with an extension", _chunks(b"5\r\nhello\r\n0;a=b\r\n\r\n"), HELLO),
    broken("A9 data short", _chunks(b"5\r\nhell\r\n" + END)),
    broken("A9 data long", _chunks(b"5\r\nhello!\r\n" + END)),
    broken("A9 no line end behind the data", _chunks(b"5\r\nhello" + END)),
    broken("A9 LF behind the data", _chunks(b"5\r\nhello\n" + END)),
    broken("A9 CR behind the data", _chunks(b"5\r\nhello\r" + END)),
    broken("A9 LF behind the size", _chunks(b"5\nhello\r\n" + END)),
    broken("A9 LF behind the last size", _chunks(b"5\r\nhello\r\n0\n\r\n")),
    broken("A9 LF for the end", _chunks(b"5\r\nhello\r\n0\r\n\n")),
    broken("A9 spaces behind the data", _chunks(b"5\r\nhello  \r\n" + END)),
    broken("A9 garbage for the second size", _chunks(b"5\r\nhello\r\nCANARY\r\n" + END)),
    broken("A9 a head for the second size", _chunks(b"5\r\nhello\r\n" + HIDDEN + END)),
    passed("A10 a trailer", _trailer(b"X-Sum: 1"), HELLO),
    passed("A10 trailer Authorization", _trailer(b"Authorization: Bearer CANARY"), HELLO),
    passed("A10 trailer Host", _trailer(b"Host: b.test"), HELLO, lumped="bad_framing"),
    passed("A10 trailer Cookie, twice", _trailer(b"Cookie: a\r\nCookie: b"), HELLO),
    passed("A10 trailer X-Headgate-User", _trailer(b"X-Headgate-User: root"), HELLO),
    passed("A10 trailer Connection", _trailer(b"Connection: close"), HELLO, lumped="bad_framing"),
    passed("A10 trailer Content-Type", _trailer(b"Content-Type: a/b"), HELLO),
    passed("A10 trailer Expect", _trailer(b"Expect: 100-continue"), HELLO),
    passed("A10 announced", ask(CHUNKED, b"Trailer: X", body=b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"), HELLO),
    broken("A10 trailer Content-Length", _trailer(b"Content-Length: 3")),
    broken("A10 trailer Transfer-Encoding", _trailer(b"Transfer-Encoding: chunked")),
    broken("A10 trailer without a colon", _trailer(b"CANARY")),
    broken("A10 trailer with a bare LF", _trailer(b"X: y\nHost: b.test")),
    broken("A10 trailer with NUL", _trailer(b"X: y\x00")),
    broken("A10 trailer with a space in its name", _trailer(b"X y: z")),
    broken("A10 folded trailer", _trailer(b"X: y\r\n z")),
)  # fmt: skip

BODIES = (
    passed("A15 a request as the body of GET", get(b"<base>/x", CL + b"38") + HIDDEN, Sent(method=b"GET", body=HIDDEN)),
    passed("A15 a request as the body of DELETE", get(b"<base>/x", CL + b"38", method=b"DELETE") + HIDDEN,
           Sent(method=b"DELETE", body=HIDDEN)),
    passed("A15 a request as the body of OPTIONS", get(b"<base>/x", CL + b"38", method=b"OPTIONS") + HIDDEN,
           Sent(method=b"OPTIONS", body=HIDDEN)),
    passed("A15 a request as the body of HEAD", get(b"<base>/x", CL + b"38", method=b"HEAD") + HIDDEN,
           Sent(method=b"HEAD", body=HIDDEN)),
    passed("A15 a request in a chunk", _chunks(b"26\r\n" + HIDDEN + b"\r\n" + END), Sent(body=HIDDEN)),
    passed("A15 chunks on GET", get(b"<base>/x", CHUNKED) + b"5\r\nhello\r\n" + END,
           Sent(method=b"GET", body=b"hello")),
    passed("A15 chunks as a body of a length", ask(CL + b"5", body=END), Sent(body=END)),
    passed("A16 two requests", ask(CL + b"5", body=b"hello") * 2, HELLO, HELLO),
    passed("A16 eight requests", get(b"<base>/x") * 8, *(Sent(method=b"GET"),) * 8),
    passed("A16 a blank line between", ask(CL + b"5", body=b"hello") + b"\r\n" + ask(), HELLO, NOTHING),
    Row(
        id="A16 a bad one behind a good one",
        raw=get(b"<base>/x") + ask(CL + b"+5", body=b"hello"),
        answers=(OK, "bad_framing"),
        sees=(Sent(method=b"GET"),),
        lumped="bad_framing",
    ),
    Row(
        id="A16 bytes behind the body",
        raw=ask(CL + b"5", body=b"helloCANARY"),
        answers=(OK, "bad_framing"),
        sees=(HELLO,),
        lumped="bad_framing",
    ),
    passed("A16 a body in gzip's name that is none", ask(b"Content-Encoding: gzip", CL + b"5", body=b"hello"),
           Sent(fields=((b"Content-Encoding", b"gzip"),), body=b"hello")),
    passed("A16 a body of every byte", ask(CL + b"256", body=bytes(range(256))), Sent(body=bytes(range(256)))),
)  # fmt: skip

ROWS = (*LENGTH_AND_CODING, *LENGTHS, *CODINGS, *CHUNKS, *BODIES)

"""Requests in which one framing line is bent as smuggling tools bend it (threats 3.3), and what h11 reads in them.

A byte is put before the name, before and behind the colon, behind the value, in two of these places at once, or between
this line and another one that shares its line end; and the name and value are spelled in odd ways.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import h11

from .row import ask

# The bytes of the tools' short lists, and of their exhaustive ones.
SHORT = b"\x01\x04\x08\x09\x0a\x0b\x0c\x0d\x1f\x20\x7f\xa0\xff"
EXHAUSTIVE = bytes([*range(0x01, 0x20), *range(0x7F, 0x100)])

HIDDEN = b"GET <base>/hidden HTTP/1.1\r\nX: "
_ODD = (
    b'%n: "%v"', b"%n: '%v'", b"%n:%v", b"%n: %v, identity", b"%n: identity, %v", b"%n: %v, cow", b"%n: cow, %v",
    b"%n: %v,", b"%n: ,%v", b"%n: %v %v", b"%n: %v;q=1", b"%n: %v\r\n%n: %v", b"%n: %v\r\n%n: x", b"%n: x\r\n%n: %v",
    b"%n:\r\n %v", b"%n:\r\n\t%v", b"%n: %v\r\n ", b"%n: %v\r\n x", b" %n: %v", b"X: y\r\n %n: %v",
    b"X: y\r\r\n%n: %v", b"%n: %v\r", b"%n: %v\r\r", b"%n\r\n: %v", b"%n : %v", b"%n\t:\t%v", b"%n;: %v", b"%n",
    b"%n %v", b"%n=%v", b"%n:: %v", b": %v", b"X%n: %v", b"%nX: %v", b"%n: x%v", b"%n: %vx", b"\xef\xbb\xbf%n: %v",
    b"%n: \xef\xbb\xbf%v", b"%n: %v\xc0\x80", b"%n: \\%v", b"%n: %%76", b"%n:",
)  # fmt: skip


@dataclass(frozen=True)
class Read:
    """What h11 reads in a stream of requests, up to what it does not accept."""

    messages: tuple[tuple[bytes, bytes, bytes], ...]
    """Method, target and body of each."""
    ended: bool
    """Nothing more is waited for: the last message closed the connection, or was not accepted."""


def bent(line: bytes, odd_bytes: bytes = SHORT) -> Iterator[bytes]:
    """Header lines that some server might take for `line`."""
    name, value = line.split(b": ")
    for byte in (bytes([code]) for code in odd_bytes):
        for before, colon, behind, end in itertools.product((b"", byte), repeat=4):
            if 1 <= sum(map(len, (before, colon, behind, end))) <= 2:
                yield before + name + colon + b":" + (behind or b" ") + value + end
        for near in (byte, byte + b"\r", b"\r" + byte, byte + b"\n", b"\n" + byte):
            yield b"X: y" + near + line
            yield line + near + b"X: y"
    for form in _ODD:
        yield form.replace(b"%n", name).replace(b"%v", value)
    for odd in (
        name.replace(b"-", b"_"),
        name.replace(b"-", b" "),
        name.replace(b"-", b""),
        name.replace(b"e", b"\xc3\xa9"),
    ):
        yield odd + b": " + value
    yield name.upper() + b": " + value.upper()
    yield name.lower() + b": " + value.title()


def requests(odd_bytes: bytes = SHORT) -> Iterator[bytes]:
    """Each bent line alone, and against an honest line that says otherwise; no two are the same."""
    te, cl = b"Transfer-Encoding: chunked", b"Content-Length: 5"
    made: Iterable[bytes] = itertools.chain(
        (ask(line, body=b"0\r\n\r\n") for line in bent(te, odd_bytes)),
        (ask(b"Content-Length: 37", line, body=b"0\r\n\r\n" + HIDDEN) for line in bent(te, odd_bytes)),
        (ask(line, b"Content-Length: 4", body=b"5\r\nhello\r\n0\r\n\r\n") for line in bent(te, odd_bytes)),
        (ask(line, body=b"hello") for line in bent(cl, odd_bytes)),
        (ask(b"Transfer-Encoding: chunked", line, body=b"0\r\n\r\n") for line in bent(cl, odd_bytes)),
        (ask(line, b"Content-Length: 0", body=HIDDEN) for line in bent(cl, odd_bytes)),
    )
    return iter(dict.fromkeys(made))


def read(raw: bytes) -> Read:
    """h11's reading of a connection on which `raw` was sent. Blank lines before a request line, which h11 does not
    take, are left out: a server should skip them (RFC 9112 section 2.2), and they mean nothing."""
    messages: list[tuple[bytes, bytes, bytes]] = []
    while raw := raw.lstrip(b"\r\n"):
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        reader.receive_data(raw)
        request, body = None, b""
        try:
            while not isinstance(event := reader.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return Read(tuple(messages), False)
        except h11.RemoteProtocolError:
            return Read(tuple(messages), True)
        assert request is not None
        messages.append((request.method, request.target, body))
        reader.send(h11.Response(status_code=204, headers=[]))
        reader.send(h11.EndOfMessage())
        if reader.their_state is not h11.DONE or reader.our_state is not h11.DONE:
            return Read(tuple(messages), True)
        raw = reader.trailing_data[0]
    return Read(tuple(messages), False)


def fault_in(truth: Read, sent: tuple[tuple[bytes, bytes, bytes], ...], codes: list[str | None]) -> str | None:
    """What is wrong with what was sent on and with the answers (None stands for the upstream's); None: nothing."""
    if sent != truth.messages[: len(sent)]:
        return "sent what h11 does not read"
    served = codes.count(None)
    if served != len(sent):
        return "answers and messages differ in number"
    if len(codes) - served > 1 or (len(codes) > served and codes[-1] is None):
        return "more than one refusal, or an answer behind it"
    if not codes and truth.messages:
        return "neither answered nor sent"
    return None

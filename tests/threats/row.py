"""One row: the bytes a client sends, where it sends them, what it is answered, and what the upstream may see.

In `raw`, `<base>` stands for what comes before the path at the entrance under test (`/svc`, `http://a.test`, nothing)
and `<host>` for its Host; `<token>` for the token of a client that is known, `<basic>` for proxy credentials that hold
it; CANARY for anything that nobody may be told. Everything else is sent as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Entrance = Literal["reverse", "forward", "intercept", "egress", "plain"]

# reverse, forward and intercept lead to one service with a pool of keys; egress is forward to a host outside the
# catalogue. plain is the proxy port as such: for rows that write their own target, CONNECT among them.
EVERYWHERE: tuple[Entrance, ...] = ("reverse", "forward", "intercept", "egress")
OK = "ok"
"""The upstream's answer."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message the upstream reads: exactly this, with Host, Via, framing and the pooled key added by us."""

    method: bytes = b"POST"
    path: bytes = b"/x"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Every other field, in order, byte for byte."""
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Row:
    """`answers`: OK or a code of ours for each answer, in order; nothing: the connection closes without a word.
    `stays`: the connection serves the next request after a refusal. `begun`: the message breaks off behind its head,
    so a body that is streamed may have begun at the upstream, and ends there with its connection. `lumped`: the code
    of the one answer where garbage comes in the segment of a message: aiohttp's parser judges a segment as a whole."""

    id: str
    raw: bytes
    answers: tuple[str, ...]
    sees: tuple[Sent, ...] = ()
    entrances: tuple[Entrance, ...] = EVERYWHERE
    stays: bool = False
    begun: bool = False
    lumped: str | None = None


def refused(
    id: str,
    raw: bytes,
    code: str,
    *,
    stays: bool = False,
    lumped: str | None = None,
    entrances: tuple[Entrance, ...] = EVERYWHERE,
) -> Row:
    """Answered by us; the upstream sees not a byte."""
    return Row(id=id, raw=raw, answers=(code,), stays=stays, lumped=lumped, entrances=entrances)


def passed(
    id: str, raw: bytes, *sees: Sent, lumped: str | None = None, entrances: tuple[Entrance, ...] = EVERYWHERE
) -> Row:
    """Sent on, as these messages, and the connection serves the next request."""
    answers = (OK,) * len(sees)
    return Row(id=id, raw=raw, answers=answers, sees=sees, stays=True, lumped=lumped, entrances=entrances)


def broken(id: str, raw: bytes, code: str = "bad_framing") -> Row:
    """Its body does not follow its framing: answered by us, and the upstream never sees a whole message."""
    return Row(id=id, raw=raw, answers=(code,), begun=True)


def ask(
    *lines: bytes, line: bytes = b"POST <base>/x HTTP/1.1", host: bytes | None = b"<host>", body: bytes = b""
) -> bytes:
    """A request: `line`, the Host line unless it is None, `lines`, the empty line, `body`."""
    first = [line] if host is None else [line, b"Host: " + host]
    return b"\r\n".join((*first, *lines, b"", body))


def get(path: bytes, *lines: bytes, host: bytes | None = b"<host>", method: bytes = b"GET") -> bytes:
    """A request without a body."""
    return ask(*lines, line=method + b" " + path + b" HTTP/1.1", host=host)

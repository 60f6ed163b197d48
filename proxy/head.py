"""A request head is judged here, on the raw bytes that will be sent on.

aiohttp's parser already refuses what breaks framing for it (threats 2.2, first paragraph); this file answers what it
lets through and we don't. Policy is decided on the same raw target and fields that go upstream, because every URL
library normalises (design 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from .addresses import HostInvalid, parse_host
from .errors import Problem
from .headers import PROTECTED, connection_options
from .websocket import handshake_key

Entrance = Literal["reverse", "forward", "intercept", "connect"]

# The methods RFC 9110 section 9 and RFC 5789 define, less TRACE (it would echo the credential back) and CONNECT
# (the tunnel's own).
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

# Bounds of the head as a whole: HAProxy takes 16 KiB; tokens in a query or a JWT in a field need more; threats A20
# wants 64 KiB refused.
HEAD_BYTES = 65_536
# A path segment `.` or `..`, plain or percent-encoded, between slashes or what some servers decode to them or end a
# segment at: upstreams differ in what they make of it (threats row 8).
_DOT_SEGMENT = re.compile(r"(?:^|/|%2f|%5c)(?:\.|%2e){1,2}(?:/|%2f|%5c|;|$)", re.IGNORECASE)
# Fields with one value that we understand: name -> that value, code and words for any other.
_ONE_VALUE = {
    b"transfer-encoding": (b"chunked", "coding_unsupported", "the only transfer coding taken is chunked"),
    b"expect": (b"100-continue", "expectation_failed", "the only expectation known is 100-continue"),
}
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_DURATION = re.compile(rb"(\d{1,9})(ms|s|m|h)?\Z")
_MS = {b"ms": 1, b"s": 1000, None: 1000, b"m": 60_000, b"h": 3_600_000}
_TIER = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_USER = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?\Z")
_PRIORITY = re.compile(rb"[0-9]\Z")


class RawHead(Protocol):
    """What the parser hands over: aiohttp's RawRequestMessage has these."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def version(self) -> tuple[int, int]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def upgrade(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port as decided on: host in lower case, IPv6 without brackets."""

    host: str
    port: int

    def field(self, scheme: str) -> bytes:
        """The Host field value: the port is left out where it is the scheme's own (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Control:
    """What the client's X-Headgate-* fields ask for (design 4.1)."""

    user: str | None = None
    tier: str | None = None
    priority: int | None = None
    max_wait_ms: int | None = None


NO_CONTROL = Control()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One judged request head."""

    entrance: Entrance
    method: str
    version: tuple[int, int]
    scheme: str
    """Of the upstream: for a reverse call whatever its service says."""
    authority: Authority | None
    """Whom the call is for; None for a reverse call."""
    service: str | None
    """First path segment of a reverse call."""
    target: str
    """Origin-form target as it goes upstream: raw, ASCII, starting with a slash."""
    fields: tuple[tuple[bytes, bytes], ...]
    control: Control
    expect_continue: bool
    websocket: bytes | None
    """The Sec-WebSocket-Key, where the client asks for a WebSocket. Any other upgrade is not passed on."""


def read_head(message: RawHead, bound: Authority | None = None) -> Head:
    """Judge a head; `bound` is the CONNECT authority of a decrypted connection.

    Raises Problem: the rows of threats 2.2 say which code, and whether the connection may be read further.
    """
    if message.version not in ((1, 1), (1, 0)):
        raise Problem("version_unsupported", "only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)
    path = message.path
    if not path.isascii() or "#" in path or "\\" in path:
        raise Problem("bad_target", "the request target holds a character that no target may hold", close=True)
    host, control, expect = _read_fields(message)
    if message.method == "CONNECT":
        return _connect(message, host, control, bound)
    if message.method not in METHODS:
        raise Problem("method_denied", "this method is not passed on", close=True)
    scheme, authority, target = _split_target(path)
    _check_path(target)
    if authority is not None:
        entrance: Entrance = "forward"
        if host is not None and _authority(host.decode(), 443 if scheme == "https" else 80, "bad_host") != authority:
            raise Problem("bad_host", "the Host field and the target name different hosts", close=True)
    elif host is None and message.version == (1, 1):
        raise Problem("bad_host", "the Host field is missing", close=True)
    else:
        entrance = "reverse"
        if host is not None:
            authority = _authority(host.decode(), 443 if bound is not None else 80, "bad_host")
    service = None
    if bound is not None:
        if authority is not None and authority != bound:
            raise Problem("misdirected", "this tunnel was opened for another host", close=True)
        entrance, scheme, authority = "intercept", "https", bound
    elif entrance == "reverse":
        service, target = _service_segment(target)
        _check_path(target)
        authority = None
    return Head(
        entrance=entrance,
        method=message.method,
        version=message.version,
        scheme=scheme,
        authority=authority,
        service=service,
        target=target,
        fields=message.raw_headers,
        control=control,
        expect_continue=expect,
        websocket=handshake_key(message) if message.upgrade else None,
    )


def _read_fields(message: RawHead) -> tuple[bytes | None, Control, bool]:
    host: bytes | None = None
    seen: set[bytes] = set()
    control: dict[bytes, bytes] | None = None
    size = len(message.path)
    for name, value in message.raw_headers:
        size += len(name) + len(value) + 4
        if not value.isascii():
            # aiohttp's writer would delete such bytes in silence (row 17)
            raise Problem("bad_header", "a header value holds a byte above 0x7f", close=True)
        lower = name.lower()
        if lower == b"host":
            if host is not None:
                raise Problem("bad_host", "the Host field stands twice", close=True)
            host = value
        elif lower in _ONE_VALUE:
            word, code, rule = _ONE_VALUE[lower]
            if value.strip().lower() != word or (lower in seen and lower == b"transfer-encoding"):
                raise Problem(code, rule, close=True)
            seen.add(lower)
        elif lower == b"connection":
            if not PROTECTED.isdisjoint(connection_options(value)):
                raise Problem("bad_header", "Connection names a field that may not be dropped", close=True)
        elif lower.startswith(b"x-headgate-"):
            control = control if control is not None else {}
            if lower in control:
                raise Problem("bad_control_header", f"{lower.decode()} stands twice")
            control[lower] = value
    if size > HEAD_BYTES:
        # the listener counts bytes while they trickle; a head that came at once is measured here
        raise Problem("head_too_large", "the request head is too large", close=True)
    if b"transfer-encoding" in seen and message.version == (1, 0):
        raise Problem("bad_framing", "HTTP/1.0 knows no transfer coding", close=True)
    # HTTP/1.0 knows no 100 Continue (RFC 9110 section 10.1.1)
    expect = b"expect" in seen and message.version == (1, 1)
    return host, _read_control(control) if control else NO_CONTROL, expect


def _read_control(found: dict[bytes, bytes]) -> Control:
    def checked(name: bytes, form: re.Pattern[bytes], rule: str) -> bytes | None:
        value = found.get(name)
        if value is not None and not form.match(value):
            raise Problem("bad_control_header", f"{name.decode()} {rule}")
        return value

    wait = checked(b"x-headgate-max-wait", _DURATION, "must be a duration such as 30s, 500ms or 0")
    max_wait_ms = None
    if wait is not None:
        number, unit = _DURATION.match(wait).groups()  # type: ignore[union-attr]  # checked just above
        max_wait_ms = int(number) * _MS[unit]
    user = checked(b"x-headgate-user", _USER, "must be 1 to 256 printable ASCII characters")
    tier = checked(b"x-headgate-tier", _TIER, "must be a tier's name")
    priority = checked(b"x-headgate-priority", _PRIORITY, "must be a digit, 0 to 9")
    return Control(
        user=user.decode() if user is not None else None,
        tier=tier.decode() if tier is not None else None,
        priority=int(priority) if priority is not None else None,
        max_wait_ms=max_wait_ms,
    )


def _connect(message: RawHead, host: bytes | None, control: Control, bound: Authority | None) -> Head:
    if bound is not None:
        raise Problem("bad_target", "a tunnel cannot be opened inside a tunnel", close=True)
    for name, _ in message.raw_headers:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            raise Problem("bad_framing", "CONNECT carries no body", close=True)
    if not message.path.rpartition(":")[0]:
        raise Problem("bad_target", "CONNECT needs host:port", close=True)
    authority = _authority(message.path, None, "bad_target")
    if host is not None and _authority(host.decode(), authority.port, "bad_host").host != authority.host:
        raise Problem("bad_host", "the Host field and the target name different hosts", close=True)
    return Head(
        entrance="connect",
        method="CONNECT",
        version=message.version,
        scheme="https",
        authority=authority,
        service=None,
        target=message.path,
        fields=message.raw_headers,
        control=control,
        expect_continue=False,
        websocket=None,
    )


def _check_path(target: str) -> None:
    """Refuse a path that the rules and the upstream could read differently (threats B3, B8)."""
    if target.startswith("//"):
        raise Problem("bad_target", "the path starts with two slashes", close=True)
    if _DOT_SEGMENT.search(target.partition("?")[0]):
        raise Problem("bad_target", "the path holds a dot segment; write the path it stands for", close=True)


def _split_target(path: str) -> tuple[str, Authority | None, str]:
    """Scheme, authority and origin-form target of a raw target (RFC 9112 section 3.2)."""
    if path.startswith("/"):
        return "http", None, path
    scheme, separator, rest = path.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("http", "https"):
        raise Problem("bad_target", "the target must be a path, or an http or https URL", close=True)
    cut = len(rest)
    for mark in "/?":
        if 0 <= (at := rest.find(mark)) < cut:
            cut = at
    raw_authority, target = rest[:cut], rest[cut:]
    authority = _authority(raw_authority, 443 if scheme == "https" else 80, "bad_target")
    return scheme, authority, target if target.startswith("/") else "/" + target


# A worker names the same few hosts in every call. Only what was accepted is kept, and no accepted host is long.
@lru_cache(maxsize=1024)
def _authority(raw: str, default_port: int | None, code: str) -> Authority:
    """`host[:port]` to an Authority; no userinfo, no empty or padded port, no port beyond 65535 (threats B4, B5)."""
    host, port = raw, default_port
    if raw.startswith("["):
        inside, bracket, rest = raw.partition("]")
        host = inside + bracket
        if rest and not rest.startswith(":"):
            raise Problem(code, "the host is not a host", close=True)
        port_text = rest[1:] if rest else None
    else:
        host, colon, after = raw.partition(":")
        port_text = after if colon else None
    if port_text is not None:
        if not _PORT.match(port_text) or int(port_text) > 65535:
            raise Problem(code, "the port must be a number from 1 to 65535", close=True)
        port = int(port_text)
    if port is None:
        raise Problem(code, "CONNECT needs host:port", close=True)
    try:
        name = parse_host(host)
    except HostInvalid:
        raise Problem(code, "the host must be a plain name, a dotted quad or a bracketed IPv6", close=True) from None
    return Authority(name.name, port)


def _service_segment(target: str) -> tuple[str, str]:
    """`/openai/v1/models?x` -> `openai`, `/v1/models?x`."""
    path, mark, query = target.partition("?")
    segment, slash, rest = path[1:].partition("/")
    return segment, f"/{rest}{mark}{query}" if slash else f"/{mark}{query}"

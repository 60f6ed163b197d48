"""Judging a request head: whatever the bytes, a Head or a Problem."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import STATUS, Problem
from proxy.head import Authority, Head, read_head

INNER = Authority("a.test", 443)


@dataclass
class Raw:
    """What the parser hands over."""

    method: str = "GET"
    path: str = "/svc/x"
    version: tuple[int, int] = (1, 1)
    raw_headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"a.test"),)
    upgrade: bool = False


_PARTS = st.sampled_from(
    ["/", "//", "..", ".", "%2e", "%2f", "%5c", "\\", ";", "?", "#", "@", ":", "http://", "https://", "HTTP:", "a.test",
     "b", "[::1]", "[", "]", "443", "0", "99999", "+80", "svc", "v1", "&", "=", "*", "é", "\udcff", " ", "%00",
     "127.1", "0x7f"]
)  # fmt: skip
TARGETS = st.one_of(st.lists(_PARTS, max_size=8).map("".join), st.text(max_size=20))
_NAMES = st.sampled_from(
    [b"Host", b"host", b"Connection", b"Transfer-Encoding", b"Content-Length", b"Expect", b"Upgrade", b"Via",
     b"Sec-WebSocket-Key",
     b"X-Headgate-User", b"X-Headgate-Tier", b"X-Headgate-Priority", b"X-Headgate-Max-Wait", b"x-headgate-user", b"X"]
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(
        [
            b"a.test",
            b"a.test:443",
            b"dGhlIHNhbXBsZSBub25jZQ==",
            b"chunked",
            b"close",
            b"host",
            b"100-continue",
            b"websocket",
            b"1s",
            b"0",
            b"5",
        ]
    ),
    st.binary(max_size=12),
)
RAWS = st.builds(
    Raw,
    method=st.sampled_from(["GET", "POST", "CONNECT", "TRACE", "OPTIONS", "get", ""]),
    path=TARGETS,
    version=st.sampled_from([(1, 1), (1, 0), (2, 0), (0, 9)]),
    raw_headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=5).map(tuple),
    upgrade=st.booleans(),
)


@given(RAWS, st.sampled_from([None, INNER]))
@example(Raw(method="CONNECT", path="[::1]:443"), None)
def test_a_head_or_a_problem(raw: Raw, bound: Authority | None) -> None:
    """Nothing but Problem escapes, with a known code and none of the peer's text; a Head can be sent on."""
    refused = None
    try:
        head = read_head(raw, bound)
    except Problem as problem:
        refused = problem
    if refused is not None:
        assert refused.code in STATUS
        assert refused.message.isascii()
        return
    assert head.method == raw.method
    if head.method != "CONNECT":
        assert head.target.startswith("/")
        assert not head.target.startswith("//")
        assert head.target.isascii()
        assert (
            head.target == raw.path
            or raw.path.endswith(head.target)
            or head.target.startswith("/?")
            or head.target == "/"
        )
    if bound is not None:
        assert (head.authority, head.entrance, head.scheme) == (bound, "intercept", "https")
    assert (head.service is not None) is (head.entrance == "reverse")
    assert (head.authority is None) is (head.entrance == "reverse")


@given(st.sampled_from(["a.test", "A.Test.", "[::1]", "[2001:DB8::0]", "1.2.3.4", "x-1.b"]), st.integers(1, 65535))
def test_an_authority_reads_back_what_it_writes(host: str, port: int) -> None:
    """The Host field of an authority names the same authority, for both schemes."""
    head = read_head(Raw(path=f"http://{host}:{port}/", raw_headers=((b"Host", f"{host}:{port}".encode()),)))
    authority = head.authority
    assert authority is not None
    for scheme in ("http", "https"):
        written = authority.field(scheme).decode()
        again = read_head(Raw(path=f"{scheme}://{written}/", raw_headers=((b"Host", written.encode()),))).authority
        assert again == authority
    assert str(authority) == str(again)


@pytest.mark.parametrize(
    ("path", "service", "target"),
    [
        ("/openai/v1/models?x=/../y", "openai", "/v1/models?x=/../y"),
        ("/openai", "openai", "/"),
        ("/openai?x", "openai", "/?x"),
        ("/openai/", "openai", "/"),
        ("/", "", "/"),
        ("/svc/a%2Fb/...//c/..d/.e", "svc", "/a%2Fb/...//c/..d/.e"),
    ],
)
def test_service_segments(path: str, service: str, target: str) -> None:
    """The first segment names the service, the rest goes on as it came."""
    head = read_head(Raw(path=path))
    assert (head.service, head.target) == (service, target)


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [("0", 0), ("500ms", 500), ("30s", 30_000), ("30", 30_000), ("2m", 120_000), ("1h", 3_600_000)],
)
def test_max_wait(value: str, milliseconds: int) -> None:
    """Seconds without a unit, as in Retry-After."""
    assert _controlled(f"X-Headgate-Max-Wait: {value}").control.max_wait_ms == milliseconds


def test_controls() -> None:
    """User, tier and priority as they stand; without any of them nothing is asked."""
    head = _controlled("x-headgate-USER: ann b. <ann@x>", "X-Headgate-Tier: gold-1", "X-Headgate-Priority: 9")
    assert (head.control.user, head.control.tier, head.control.priority) == ("ann b. <ann@x>", "gold-1", 9)
    assert _controlled().control.user is None


def test_connect() -> None:
    """The authority is the target's; a Host without a port is taken for the same."""
    head = read_head(Raw("CONNECT", "A.test.:8443", raw_headers=((b"Host", b"a.test"),)))
    assert (head.entrance, head.authority) == ("connect", Authority("a.test", 8443))


def _controlled(*lines: str) -> Head:
    fields = tuple((name.encode(), value.encode()) for name, _, value in (line.partition(": ") for line in lines))
    return read_head(Raw(raw_headers=((b"Host", b"a.test"), *fields)))

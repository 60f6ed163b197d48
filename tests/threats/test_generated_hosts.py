"""Generated hosts and authorities, judged by readers that are not ours: the C library and `ipaddress`.

`HEADGATE_HISTORIES=10000` tries so many instead of the few of every day.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.addresses import AddressPolicy, HostInvalid, embedded, is_global_unicast, parse_host
from proxy.egress import Egress
from proxy.errors import STATUS, Problem
from proxy.faults import AddressDenied, PortDenied
from proxy.head import Authority, _authority
from proxy.upstream import Target
from rules.match import Matcher
from rules.policy import Egress as Rules
from tests.rules.given import parsed

T = TypeVar("T")
COUNT = int(os.environ.get("HEADGATE_HISTORIES", "300"))

_PARTS = st.sampled_from(
    ["127", "0177", "0x7f", "0", "1", "169", "254", "256", "2130706433", "0xa9fea9fe", ".", "..", "[", "]", ":", "::",
     "::1", "ffff:", "fe80", "%", "%25", "lo", "a", "A", "test", "xn--", "-", "_", "@", "/", "?", "#", "\\", " ", "\t",
     "\0", "\r\n", "443", "80", "0443", "+443", "65536", "①", "ⓔ", "。", "é", "\udcff", ",", ";", "localhost"]
)  # fmt: skip
TEXTS = st.lists(_PARTS | st.text(max_size=2), max_size=9).map("".join)
ADDRESSES = st.integers(0, (1 << 32) - 1).map(IPv4Address) | st.integers(0, (1 << 128) - 1).map(IPv6Address)
NAMES = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4)


def outcome(judge: Callable[[], T]) -> T | HostInvalid | Problem:
    """What is accepted, or the refusal; nothing else is caught."""
    try:
        return judge()
    except (HostInvalid, Problem) as refusal:
        return refusal


def _c_library_reads_an_address(host: str) -> bool:
    """Whether getaddrinfo would take a name for an address without asking anybody."""
    try:
        socket.inet_aton(host)
    except (OSError, ValueError, UnicodeError):
        return False
    return True


@given(TEXTS)
@settings(max_examples=COUNT, deadline=None)
def test_a_host_is_what_the_c_library_takes_it_for(text: str) -> None:
    """What we take for a name it never reads as an address; what we take for an address it reads as the same one. A
    host that was accepted is accepted again as we write it, and is the same."""
    host = outcome(lambda: parse_host(text))
    if isinstance(host, Exception):
        assert len(text) < 3 or text not in str(host)
        return
    assert text.isascii()
    if host.address is None:
        assert not _c_library_reads_an_address(host.name)
        assert re.fullmatch(r"[a-z0-9.-]+", host.name)
        assert parse_host(host.name) == host
    elif isinstance(host.address, IPv4Address):
        assert socket.inet_aton(text) == host.address.packed
    else:
        assert socket.inet_pton(socket.AF_INET6, text[1:-1]) == host.address.packed
        assert parse_host(f"[{host.name}]") == host


@given(TEXTS, st.sampled_from([None, 80, 443]))
@settings(max_examples=COUNT, deadline=None)
def test_an_authority_or_a_problem(text: str, default: int | None) -> None:
    """Nothing else comes out, and an authority that was accepted reads back as itself."""
    authority = outcome(lambda: _authority(text, default, "bad_host"))
    if not isinstance(authority, Authority):
        assert isinstance(authority, Problem)
        assert authority.code in STATUS
        assert authority.close
        assert len(text) < 3 or text not in authority.message
        return
    assert 1 <= authority.port <= 65535
    assert _authority(str(authority), None, "bad_host") == authority
    for scheme, port in (("http", 80), ("https", 443)):
        assert _authority(authority.field(scheme).decode(), port, "bad_host") == authority


@given(ADDRESSES, st.integers(0, 65535))
@settings(max_examples=COUNT, deadline=None)
def test_an_address_is_judged_without_exception_and_never_laxer_than_python(
    address: IPv4Address | IPv6Address, port: int
) -> None:
    """Denied, or global for Python's own table too, and so is every address inside it."""
    try:
        AddressPolicy(ports=(port,)).check(address, port)
    except AddressDenied:
        return
    assert address.is_global
    assert not address.is_multicast
    for inner in embedded(address) if isinstance(address, IPv6Address) else ():
        assert is_global_unicast(inner)


@given(ADDRESSES, st.integers(0, 65535), st.sampled_from([0, 8, 12, 16, 24, 32]), ADDRESSES)
@settings(max_examples=COUNT, deadline=None)
def test_a_rule_opens_its_range_on_its_port_only(
    inside: IPv4Address | IPv6Address, port: int, bits: int, other: IPv4Address | IPv6Address
) -> None:
    """Whatever else is asked for is judged as if there were no rule."""
    network = f"{inside}/{bits}"
    masked = str(ip_address(int(inside) >> (inside.max_prefixlen - bits) << (inside.max_prefixlen - bits)))
    ruled = AddressPolicy(allow=[(f"{masked}/{bits}", port)])
    for address, at in ((other, 443), (other, port ^ 1)):
        if at == port and address.version == inside.version:
            continue
        assert _verdict(ruled, address, at) == _verdict(AddressPolicy(), address, at), network


def _verdict(policy: AddressPolicy, address: IPv4Address | IPv6Address, port: int) -> str:
    try:
        policy.check(address, port)
    except (AddressDenied, PortDenied) as refusal:
        return refusal.code
    return "ok"


_POLICY = parsed(
    "services:\n"
    "  exact: {hosts: [api.exact.test, b.wild.test]}\n"
    "  wild: {hosts: ['*.wild.test']}\n"
    "  wilder: {hosts: ['*.deep.wild.test']}\n"
).policy
_MATCHER = Matcher(_POLICY)
_HOSTS = st.lists(st.sampled_from(["api", "exact", "wild", "deep", "test", "b", "a", "evil"]), max_size=5).map(".".join)
_EVIL = st.sampled_from(["", "evil", "x.", ".", "\u212a", " ", "\0", "-"])


def _by_hand(host: str) -> str | None:
    """The service of a host, from the four sentences of the configuration above."""
    if host in ("api.exact.test", "b.wild.test"):
        return "exact"
    if re.fullmatch(r".+\.deep\.wild\.test", host, re.DOTALL):
        return "wilder"
    if re.fullmatch(r".+\.wild\.test", host, re.DOTALL):
        return "wild"
    return None


@given(_EVIL, _HOSTS, _EVIL)
@example(".", "wild.test", "")
@settings(max_examples=COUNT, deadline=None)
def test_a_host_has_the_service_that_its_labels_say(before: str, host: str, behind: str) -> None:
    """Suffixes match whole labels only; what is no host has no service of ours by accident."""
    found = _MATCHER.by_host(before + host + behind)
    expected = _by_hand(before + host + behind)
    assert found is None or found.name in ("exact", "wild", "wilder")
    if (before + host + behind).isascii():
        assert (found.name if found is not None else None) == expected


@given(st.text(max_size=300) | TEXTS)
@settings(max_examples=COUNT, deadline=None)
def test_any_text_has_a_service_or_none(text: str) -> None:
    """No exception, and nothing that is not ASCII belongs to anybody."""
    found = _MATCHER.by_host(text)
    assert found is None or text.isascii()


@given(NAMES, st.sampled_from(["*.wild.test", "exact.test", "*.test", "test"]), st.integers(1, 65535))
@settings(max_examples=COUNT, deadline=None)
def test_egress_lets_out_what_its_rule_names(labels: list[str], rule: str, port: int) -> None:
    """A name equals the rule, or ends in a dot and its suffix; the port is one of the policy's."""
    host = ".".join([*labels, "wild", "test"][-4:])
    named = host == rule if not rule.startswith("*") else host.endswith(rule[1:]) and host != rule[2:]
    target = outcome(lambda: Egress(Rules(allow=(rule,)), loopback_only=False).target(Authority(host, port), "https"))
    if not isinstance(target, Target):
        assert isinstance(target, Problem)
        assert target.code == ("port_denied" if named else "host_denied")
        assert not named or port not in (80, 443)
        return
    assert named
    assert (target.host, target.port, target.checked) == (host, port, True)

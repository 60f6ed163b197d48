"""The address table on both sides of every boundary, and every spelling of a host we know of."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from proxy.addresses import (
    DENIED_V4,
    DENIED_V6,
    GLOBAL_V6,
    Address,
    AddressPolicy,
    HostInvalid,
    api_server,
    embedded,
    is_of_this_machine,
    listened_at,
    parse_host,
)
from proxy.faults import AddressDenied, PortDenied

POLICY = AddressPolicy()


def allowed(policy: AddressPolicy, text: str, port: int = 443) -> str:
    """`ok`, or the code it is refused with."""
    try:
        policy.check(ip_address(text), port)
    except (AddressDenied, PortDenied) as problem:
        return problem.code
    return "ok"


@pytest.mark.parametrize("network", DENIED_V4, ids=str)
def test_denied_v4_boundaries(network: IPv4Network) -> None:
    """The first and last address of a denied IPv4 range are refused; its neighbours are judged by their own range."""
    first, last = int(network[0]), int(network[-1])
    assert allowed(POLICY, str(network[0])) == "address_denied"
    assert allowed(POLICY, str(network[-1])) == "address_denied"
    for number in (first - 1, last + 1):
        if 0 <= number < 1 << 32:
            neighbour = ip_address(number)
            inside = any(neighbour in other for other in DENIED_V4)
            assert allowed(POLICY, str(neighbour)) == ("address_denied" if inside else "ok")


OUTSIDE_V4 = (
    "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 "
    "172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0 192.88.98.255 192.88.100.0 "
    "192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 "
    "223.255.255.255 168.63.129.15 168.63.129.17 8.8.8.8 104.18.6.192"
)


@pytest.mark.parametrize("text", OUTSIDE_V4.split())
def test_v4_neighbours_are_allowed(text: str) -> None:
    """The address just outside a denied IPv4 range may be dialled: no range is wider than it should be."""
    assert allowed(POLICY, text) == "ok"


INSIDE = (
    "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 "
    "127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 "
    "192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.9 "
    "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 "
    ":: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 64:ff9b::a9fe:a9fe "
    "64:ff9b::808:808 64:ff9b:1::1 64:ff9b:1:ffff::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1ff:: "
    "2001:db8::1 2001:db8:ffff::1 2002:a9fe:a9fe::1 2002:808:808::1 3fff::1 3fff:fff:ffff::1 5f00::1 fc00::1 "
    "fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 feff::1 ff02::1 ffff::1 4000::1 1fff::1"
)


@pytest.mark.parametrize("text", INSIDE.split())
def test_inside_addresses_are_denied(text: str) -> None:
    """Loopback, private, metadata, reserved, multicast and tunnelled addresses are never dialled (C1 to C3)."""
    assert allowed(POLICY, text) == "address_denied"


@pytest.mark.parametrize("network", DENIED_V6, ids=str)
def test_denied_v6_boundaries(network: IPv6Network) -> None:
    """The first and last address of a denied part of 2000::/3 are refused; the next ones outside are allowed."""
    assert allowed(POLICY, str(network[0])) == "address_denied"
    assert allowed(POLICY, str(network[-1])) == "address_denied"
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        neighbour = ip_address(number)
        inside = neighbour not in GLOBAL_V6 or any(neighbour in other for other in DENIED_V6)
        assert allowed(POLICY, str(neighbour)) == ("address_denied" if inside else "ok")


OUTSIDE_V6 = (
    "2000::1 2000:ffff::1 2001:200:: 2001:db7:ffff::1 2001:db9:: 2001:ffff::1 2003:: 2606:4700::6810:5c0 "
    "2a00:1450:4001::200e 3ffe:ffff::1 3fff:1000::1"
)


@pytest.mark.parametrize("text", OUTSIDE_V6.split())
def test_global_v6_is_allowed(text: str) -> None:
    """Plain global unicast IPv6 may be dialled."""
    assert allowed(POLICY, text) == "ok"


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("::ffff:10.0.0.1", ["10.0.0.1"]),
        ("::10.0.0.1", ["10.0.0.1"]),
        ("64:ff9b::10.0.0.1", ["10.0.0.1"]),
        ("2002:a00:1::5", ["10.0.0.1"]),
        ("2001:0:a00:1:8000:63bf:f5ff:fffe", ["10.0.0.1", "10.0.0.1"]),
        ("2606:4700::5efe:a00:1", ["10.0.0.1"]),
        ("2606:4700::200:5efe:a00:1", ["10.0.0.1"]),
        ("2606:4700::1", []),
    ],
)
def test_embedded_addresses(text: str, inner: list[str]) -> None:
    """Every form that carries an IPv4 address gives it up: mapped, compatible, NAT64, 6to4, Teredo, ISATAP."""
    assert [str(address) for address in embedded(IPv6Address(text))] == inner


def test_isatap_inside_global_range() -> None:
    """A global prefix does not help an ISATAP identifier that carries a private address."""
    assert allowed(POLICY, "2606:4700::5efe:a00:1") == "address_denied"
    assert allowed(POLICY, "2606:4700::5efe:808:808") == "ok"


def test_allow_rule_names_range_and_port() -> None:
    """An allow rule lets its range through on its port and nowhere else."""
    policy = AddressPolicy(allow=[("10.1.0.0/16", 8443)])
    assert allowed(policy, "10.1.0.0", 8443) == "ok"
    assert allowed(policy, "10.1.255.255", 8443) == "ok"
    assert allowed(policy, "10.1.0.1", 443) == "address_denied"
    assert allowed(policy, "10.0.255.255", 8443) == "port_denied"
    assert allowed(policy, "10.2.0.0", 8443) == "port_denied"
    assert allowed(policy, "::ffff:10.1.0.1", 8443) == "port_denied"


def test_nat64_rule_still_tests_the_inner_address() -> None:
    """Behind NAT64 the rule is its prefix; a private address inside it stays refused (threats 1.3 rule 4)."""
    policy = AddressPolicy(allow=[("64:ff9b::/96", 443)])
    assert allowed(policy, "64:ff9b::808:808") == "ok"
    assert allowed(policy, "64:ff9b::a9fe:a9fe") == "address_denied"
    assert allowed(policy, "64:ff9b::a00:1") == "address_denied"


def test_ports() -> None:
    """Only the policy's ports may be dialled (C10)."""
    assert [allowed(POLICY, "8.8.8.8", port) for port in (80, 443)] == ["ok", "ok"]
    assert {allowed(POLICY, "8.8.8.8", port) for port in (22, 25, 6379, 8080, 10250, 0)} == {"port_denied"}
    assert allowed(AddressPolicy(ports=(8443,)), "8.8.8.8", 8443) == "ok"


def test_own_address_is_denied_even_when_allowed() -> None:
    """No allow rule leads to our own proxy or admin port (C11)."""
    policy = AddressPolicy(own=[(ip_address("10.1.2.3"), 8080)], allow=[("10.1.0.0/16", 8080), ("::ffff:0:0/96", 8080)])
    assert allowed(policy, "10.1.2.3", 8080) == "address_denied"
    assert allowed(policy, "::ffff:10.1.2.3", 8080) == "address_denied"
    assert allowed(policy, "10.1.2.4", 8080) == "ok"


def test_wildcard_listener_denies_every_own_address() -> None:
    """Listening on every address, every address of this machine is our own on that port."""
    here: set[Address] = {ip_address("10.1.2.3")}
    policy = AddressPolicy(
        own=[(ip_address("0.0.0.0"), 8080)], allow=[("10.1.0.0/16", 8080)], of_this_machine=here.__contains__
    )
    assert allowed(policy, "10.1.2.3", 8080) == "address_denied"
    assert allowed(policy, "10.1.2.4", 8080) == "ok"


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"])
def test_an_unspecified_address_is_never_dialled(text: str) -> None:
    """The kernel takes it for this machine, so no range opens it, on any port."""
    everything = AddressPolicy(allow=[("0.0.0.0/0", 8080), ("::/0", 8080)])
    assert allowed(everything, text, 8080) == "address_denied"
    assert allowed(everything, "127.0.0.1", 8080) == "ok"


ADMIN = (ip_address("127.0.0.1"), 9091)
REDIS = (ip_address("10.1.2.3"), 6379)


def reserving(*places: tuple[Address, int]) -> AddressPolicy:
    """A policy that opens everything but these."""
    opened = [(network, port) for network in ("0.0.0.0/0", "::/0") for port in (6379, 9091)]
    here: set[Address] = {ip_address("127.0.0.1"), ip_address("10.9.9.9")}
    return AddressPolicy(allow=opened, of_this_machine=here.__contains__, reserved=lambda: places)


def named(policy: AddressPolicy, text: str, port: int) -> bool:
    """Whether a place that the operator named may be dialled."""
    try:
        policy.check_named(ip_address(text), port)
    except AddressDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "port", "open_to_us"),
    [
        ("127.0.0.1", 9091, False),
        ("::ffff:127.0.0.1", 9091, False),
        ("127.0.0.1", 6379, True),
        ("127.0.0.2", 9091, True),
        ("10.1.2.3", 6379, False),
        ("::ffff:10.1.2.3", 6379, False),
        ("64:ff9b::10.1.2.3", 6379, False),
        ("10.1.2.3", 9091, True),
        ("10.1.2.4", 6379, True),
    ],
)
def test_what_only_we_may_reach_is_closed_to_rules_and_operators(text: str, port: int, open_to_us: bool) -> None:
    """Admin port and store: no allow rule, and no place that the operator named, leads there (C11, C12)."""
    policy = reserving(ADMIN, REDIS)
    assert (allowed(policy, text, port) == "ok") is open_to_us
    assert named(policy, text, port) is open_to_us


def test_the_operator_s_unspecified_address_is_this_machine() -> None:
    """`upstream: http://0.0.0.0:9091` is the admin port on loopback, `http://0.0.0.0:6379` is not another's Redis."""
    policy = reserving(ADMIN, REDIS)
    assert not named(policy, "0.0.0.0", 9091)
    assert not named(policy, "::", 9091)
    assert named(policy, "0.0.0.0", 6379)
    everywhere = reserving((ip_address("0.0.0.0"), 9091))
    assert not named(everywhere, "0.0.0.0", 9091)
    assert not named(everywhere, "10.9.9.9", 9091)
    assert named(everywhere, "10.1.2.3", 9091)


def test_what_is_reserved_is_asked_anew() -> None:
    """A store whose name leads elsewhere after a failover is closed there from then on."""
    places = [REDIS]
    policy = AddressPolicy(allow=[("10.0.0.0/8", 6379)], reserved=lambda: places)
    assert allowed(policy, "10.1.2.4", 6379) == "ok"
    places[:] = [(ip_address("10.1.2.4"), 6379)]
    assert allowed(policy, "10.1.2.4", 6379) == "address_denied"
    assert allowed(policy, "10.1.2.3", 6379) == "ok"


def test_the_api_server_of_the_cluster_is_known() -> None:
    """By the variables every pod has; what is no address there is nothing to deny."""
    told = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert api_server(told) == [(ip_address("10.96.0.1"), 6443)]
    assert api_server({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) == [(ip_address("10.96.0.1"), 443)]
    assert api_server({}) == []
    assert api_server({**told, "KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"}) == []


def test_a_listen_host_stands_for_addresses() -> None:
    """Nothing for everything, a literal for itself, a name for what it resolves to."""
    assert listened_at("") == [ip_address("0.0.0.0"), ip_address("::")]
    assert listened_at("10.1.2.3") == [ip_address("10.1.2.3")]
    assert ip_address("127.0.0.1") in listened_at("localhost")
    with pytest.raises(OSError):
        listened_at("no such name")


def test_own_interfaces_are_known() -> None:
    """Loopback belongs to this machine, a documentation address does not."""
    assert is_of_this_machine(ip_address("127.0.0.1"))
    assert not is_of_this_machine(ip_address("203.0.113.1"))


GOOD = {
    "api.openai.com": "api.openai.com",
    "API.OpenAI.com": "api.openai.com",
    "api.openai.com.": "api.openai.com",
    "localhost": "localhost",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "a--b.example": "a--b.example",
    "1.example": "1.example",
    "0x7f.example": "0x7f.example",
    "3com.com": "3com.com",
    "x0": "x0",
    "a.b0": "a.b0",
    "8.8.8.8": "8.8.8.8",
    "0.0.0.0": "0.0.0.0",
    "255.255.255.255": "255.255.255.255",
    "127.0.0.1": "127.0.0.1",
    "[::1]": "::1",
    "[2606:4700:0:0::1]": "2606:4700::1",
    "[2606:4700::ABCD]": "2606:4700::abcd",
    "[::ffff:127.0.0.1]": str(IPv6Address("::ffff:127.0.0.1")),
    "l" * 63 + ".example": "l" * 63 + ".example",
    ".".join(["a" * 49] * 5): ".".join(["a" * 49] * 5),
}


@pytest.mark.parametrize(("raw", "name"), GOOD.items())
def test_good_spellings(raw: str, name: str) -> None:
    """A plain name, a strict dotted quad and a bracketed IPv6 are hosts, compared in lower case."""
    assert parse_host(raw).name == name
    assert parse_host(raw.encode()) == parse_host(raw)


def test_literal_has_an_address() -> None:
    """A literal carries its address, a name carries none."""
    assert parse_host("8.8.8.8").address == ip_address("8.8.8.8")
    assert parse_host("[::1]").address == ip_address("::1")
    assert parse_host("example.com").address is None


BAD = [
    # getaddrinfo and yarl read these as addresses (threats 1.3)
    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "127.1", "127.0.1", "0x7f.1", "0177.0.0.01", "0", "00", "0x0",
    "0X7F000001", "0x7f000001", "017700000001", "2130706433", "127.0.0.01", "127.0.0.1.", "127.0.0.256", "127.0.0.0x1",
    "1.2.3.4.5", "1.2.3", "01.2.3.4", "1.2.3.04", "1.2.3.4.0x5", "127.0.0.1e1.0", "0xa9.0xfe.0xa9.0xfe", "0x", "a.0x",
    "a.0xg", "example.1", "example.0x1", "4294967296", "999.999.999.999", "0.0.0.00", "1.1.1.1.1", "256.1.1.1",
    "①②⑦.⓪.⓪.①", "ⓔxample.com", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "٣.٣.٣.٣", "bücher.example",
    "127.0.0.1\x00.a.test", "127.0.0.1%00.a", "a\x00b", "127.0.0.1\n", "127.0.0.1 ", " 127.0.0.1", "127.0.0.1\t",
    # IPv6
    "::1", "fe80::1", "[fe80::1%25eth0]", "[::1%1]", "[::1%lo]", "[::1", "::1]", "[]", "[[::1]]", "[::1]x", "x[::1]",
    "[127.0.0.1]", "[example.com]", "[::ffff:127.0.0.01]", "[::ffff:0x7f.1]", "[12345::]", "[1:2:3:4:5:6:7:8:9]",
    "[:::]", "[::1 ]", "[ ::1]", "[v1.fe]", "[::ffff:127.1]", "[::g]", "[1::2::3]", "[::1]:443", "[::１]",
    # not names of letters, digits and hyphens
    "", ".", "..", ".example.com", "example..com", "example.com..", "-a.example", "a-.example", "a_b.example", "_dmarc",
    "a b", "a/b", "a\\b", "a@b", "user:pw@b", "a#b", "a?b", "a:80", "a:", ":80", "a,b", "a;b", "a*b", "*.a", "a%2eb",
    "a'b", 'a"b', "a<b", "a\rb", "a\x7fb", "a\u200bb", "a\u00adb", "a\u2024b", "http://a", "//a", "a|b", "a&b", "$a",
    "(a)", "{a}", "a=b", "a+b", "~a", "!a", "^a", "`a`", "-", "l" * 64 + ".example", ".".join(["a" * 50] * 5),
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD, ids=ascii)
def test_bad_spellings(raw: str) -> None:
    """A host that some library would read as an address, or that is no name at all, is refused (C4, C5)."""
    with pytest.raises(HostInvalid) as caught:
        parse_host(raw)
    assert not raw or len(raw) < 3 or raw not in str(caught.value)
    with pytest.raises(HostInvalid):
        parse_host(raw.encode())


def test_spelling_table_is_long_enough() -> None:
    """At least a hundred bad spellings are tried."""
    assert len(set(BAD)) >= 100

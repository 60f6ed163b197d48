"""Every way we know to write an address inside, as the host of a call: what is denied, and what is no host at all."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from tests.proxy.test_addresses import BAD, INSIDE


def _bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


def _other_writings(text: str) -> list[str]:
    """An address again: IPv6 in full, in capitals, and with its last 32 bits dotted."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return [f"[::ffff:{text}]"]
    full, number = address.exploded, int(address)
    dotted = f"{IPv6Address(number >> 32 << 32).exploded[:30]}{IPv4Address(number & 0xFFFFFFFF)}"
    return [f"[{full}]", f"[{full.upper()}]", f"[{dotted}]"]


LITERALS = tuple(dict.fromkeys([_bracketed(text) for text in INSIDE.split()]))
"""Denied addresses, written as a host is written."""

WRITINGS = tuple(
    dict.fromkeys(other for text in INSIDE.split() for other in _other_writings(text) if other not in LITERALS)
)
"""The same ones, written in another way that is allowed."""

NAMES = (
    "localhost", "localhost.", "LOCALHOST", "LocalHost.", "localhost.localdomain", "ip6-localhost", "redis",
    "redis.default", "redis.default.svc", "redis.default.svc.cluster.local", "kubernetes", "kubernetes.default",
    "kubernetes.default.svc.cluster.local.", "metadata", "metadata.google.internal", "metadata.google.internal.",
    "instance-data", "instance-data.ec2.internal", "host.docker.internal", "127.0.0.1.nip.io",
    "a.169.254.169.254.sslip.io", "xn--lcalhost-74a.test", "0x7f.1.test", "127-0-0-1.test", "a" * 63 + ".test",
)  # fmt: skip
"""Names that lead inside wherever somebody serves them so; here the name server does."""

NO_HOSTS = tuple(dict.fromkeys(BAD))
"""What some library reads as an address or as a part of one, and what is no host."""

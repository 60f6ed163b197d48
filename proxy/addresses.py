"""Which addresses may be dialled, and how a host may be spelled.

The law (threats 1.3): own table, default deny, tested on the address that is dialled. Python's `is_private` and
`is_global` are not a policy: NAT64 and 6to4 forms of the metadata address count as global there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from .faults import AddressDenied, PortDenied

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
ListensAt = tuple[Address, int]
"""Where something listens: an address, and a port."""

# Everything in IPv4 that is not plain global unicast (threats 1.3 rule 2; IANA special-purpose registry), and the
# cloud agent 168.63.129.16, which is global by the registry.
DENIED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip

# Of IPv6 only 2000::/3 is global unicast (RFC 4291 section 2.4); these parts of it are not.
GLOBAL_V6 = IPv6Network("2000::/3")
DENIED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))

_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056 section 2
_TEREDO = IPv6Network("2001::/32")  # RFC 4380 section 4
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 section 6.1: the upper half of the interface identifier

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_OCTET = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")


class HostInvalid(ValueError):
    """The text is not a host we would hand to a resolver. Its message never repeats the text."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host as it is compared: lower case, no trailing dot, IPv6 without brackets in its shortest form."""

    name: str
    address: Address | None = None
    """Set when the host is an IP literal."""


def parse_host(raw: bytes | str) -> Host:
    """A strict dotted quad, a bracketed IPv6 without zone, or an ASCII name of letters, digits and hyphens.

    One trailing dot of a name is removed. A name whose last label is all digits or starts with `0x` is refused,
    because getaddrinfo would read it as an address (threats 1.3, spelling traps). Raises HostInvalid; no resolver is
    ever asked about what was refused.
    """
    try:
        text = raw.decode("ascii") if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        raise HostInvalid("a host is ASCII") from None
    if not text.isascii():
        raise HostInvalid("a host is ASCII")
    if text.startswith("["):
        return _parse_v6(text)
    labels = text.lower().split(".")
    if len(labels) == 4 and all(_OCTET.match(label) and int(label) < 256 for label in labels):
        return Host(text, IPv4Address(text))
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()
    name = ".".join(labels)
    if len(name) > 253 or not all(_LABEL.match(label) for label in labels):
        raise HostInvalid("a host name is labels of letters, digits and hyphens")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise HostInvalid("a host name does not end in a number")
    return Host(name)


def _parse_v6(text: str) -> Host:
    if not text.endswith("]") or "%" in text:
        raise HostInvalid("an IPv6 host is bracketed and has no zone")
    try:
        address = IPv6Address(text[1:-1])
    except ValueError:
        raise HostInvalid("not an IPv6 address") from None
    return Host(str(address), address)


def embedded(address: IPv6Address) -> list[IPv4Address]:
    """Every IPv4 address that some network would read out of this IPv6 address."""
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    found = []
    if address in _MAPPED or address in _COMPATIBLE or address in _NAT64:
        found.append(low)
    if address in _SIX_TO_FOUR:
        found.append(IPv4Address(number >> 80 & 0xFFFFFFFF))
    if address in _TEREDO:
        found.append(IPv4Address(number >> 64 & 0xFFFFFFFF))
        found.append(IPv4Address(int(low) ^ 0xFFFFFFFF))
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(low)
    return found


def is_global_unicast(address: Address) -> bool:
    """True for an address of the public internet by our own table; embedded addresses are not looked at."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in DENIED_V4)
    return address in GLOBAL_V6 and not any(address in network for network in DENIED_V6)


def is_of_this_machine(address: Address) -> bool:
    """True when the kernel lets a socket bind to the address: one of our own interfaces carries it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def listened_at(host: str) -> list[Address]:
    """The addresses a listen host stands for; the unspecified ones for an empty host. Raises OSError for a name that
    has none."""
    if not host:
        return [IPv4Address(0), IPv6Address(0)]
    try:
        return [ip_address(host)]
    except ValueError:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return sorted({ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}, key=str)


def api_server(environ: Mapping[str, str]) -> list[ListensAt]:
    """Kubernetes' API server as every pod is told of it (threats 1.3 rule 3); an address, never a name."""
    try:
        address = ip_address(environ.get("KUBERNETES_SERVICE_HOST", ""))
        return [(address, int(environ.get("KUBERNETES_SERVICE_PORT", "443")))]
    except ValueError:
        return []


class AddressPolicy:
    """Says of an address and a port whether they may be dialled.

    `own`: where we listen for workers, and what else no allow rule opens. `reserved`: what only we may reach, the
    admin port and the store, asked anew at each dial; not even a place that the operator named leads there. An
    unspecified address (`0.0.0.0`, `::`) among them stands for every address of this machine, as `of_this_machine`
    tells. `allow`: (range, port) pairs the operator exempts. `ports`: what may be dialled without such a rule (the
    default is Egress.ports of the policy).
    """

    def __init__(
        self,
        own: Iterable[ListensAt] = (),
        allow: Iterable[tuple[str, int]] = (),
        ports: Collection[int] = (80, 443),
        of_this_machine: Callable[[Address], bool] = is_of_this_machine,
        reserved: Callable[[], Iterable[ListensAt]] = tuple,
    ) -> None:
        self._own = tuple(own)
        self._reserved = reserved
        self._allow: tuple[tuple[Network, int], ...] = tuple((ip_network(text), port) for text, port in allow)
        self._ports = frozenset(ports)
        self._of_this_machine = of_this_machine

    def check(self, address: Address, port: int) -> None:
        """Raises AddressDenied or PortDenied. Inner and outer addresses must both pass (threats 1.3 rule 1)."""
        every = _with_embedded(address)
        if self._leads_to((*self._own, *self._reserved()), every, port):
            raise AddressDenied
        exempt = self._is_allowed(address, port)
        if not exempt and port not in self._ports:
            raise PortDenied
        if any(one.is_unspecified for one in every):
            # no network has such an address; the kernel takes it for this machine, whatever range was allowed
            raise AddressDenied
        if not (exempt or is_global_unicast(address)):
            raise AddressDenied
        for one in every[1:]:
            if not (is_global_unicast(one) or self._is_allowed(one, port)):
                raise AddressDenied

    def check_named(self, address: Address, port: int) -> None:
        """For a place that the operator named: anywhere but what only we may reach. Raises AddressDenied."""
        if self._leads_to(self._reserved(), _with_embedded(address), port):
            raise AddressDenied

    def _leads_to(self, listeners: Iterable[ListensAt], dialled: Collection[Address], port: int) -> bool:
        return any(
            port == its_port and any(self._is_one(address, listening) for address in dialled)
            for listening, its_port in listeners
        )

    def _is_one(self, dialled: Address, listening: Address) -> bool:
        if dialled == listening:
            return True
        if dialled.is_unspecified:  # the kernel dials this machine
            return listening.is_unspecified or self._of_this_machine(listening)
        return listening.is_unspecified and self._of_this_machine(dialled)

    def _is_allowed(self, address: Address, port: int) -> bool:
        return any(
            port == allowed and network.version == address.version and address in network
            for network, allowed in self._allow
        )


def _with_embedded(address: Address) -> list[Address]:
    """The address, and every IPv4 address inside it."""
    return [address, *embedded(address)] if isinstance(address, IPv6Address) else [address]

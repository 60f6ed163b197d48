"""A certificate for one host, shown to the worker that asked for it, and the bounded cache of them.

Law: a leaf names exactly one host, lives a week at most, and its key lives in memory only. Which hosts may be minted
is not decided here (threats D7: the caller asks only for hosts of the catalogue).
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .authority import Authority
from .contexts import server_context
from .problem import CertificateProblem

# Below the 30 days of threats D11: a stolen leaf key is worth a week at most.
LIFETIME = timedelta(days=7)
# A worker whose clock is behind (threats D11).
BACKDATE = timedelta(hours=1)
# A leaf is replaced when a seventh of its life is left: a day, against tunnels that live an hour (threats 4.3).
_FRESH = 6 / 7
# The catalogue names some dozen hosts; wildcards (`*.openai.azure.com`) add the rest; 20 KiB each.
BOUND = 1000

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate and its key, PEM."""

    host: str
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    renew_at: datetime
    not_after: datetime


def canonical(host: str) -> str:
    """The one spelling of a host: lower case, no trailing dot, no brackets, the shortest form of an IP address.

    Raises ValueError for what is neither an IP address nor an ASCII name of letters, digits, hyphens, underscores.
    """
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1]))
    name = host.lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        if len(name) > 253 or not _NAME.fullmatch(name):  # RFC 1035 section 2.3.4
            raise ValueError("not a host name a certificate can be made for") from None
        return name


def issue(authority: Authority, host: str, *, now: datetime) -> Leaf:
    """Make a leaf for one host, good for TLS servers only.

    Raises ValueError for a host that is none, CertificateProblem when the CA itself has expired.
    """
    host = canonical(host)
    if now >= authority.not_after:
        raise CertificateProblem(f"{authority.path} expired; no certificate can be made.")
    key = ec.generate_private_key(ec.SECP256R1())
    not_after = min(now + LIFETIME, authority.not_after)
    builder = (
        x509.CertificateBuilder()
        # No CN: it ends at 64 characters, and clients read the SAN only (RFC 9525 section 2).
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Headgate")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Leaf(
        host=host,
        certificate_pem=authority.sign(builder).public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        renew_at=now + (not_after - now) * _FRESH,
        not_after=not_after,
    )


class Minter:
    """Server contexts by host: the least recently used is forgotten beyond `bound`, an ageing one is made anew.

    One mint at a time, whichever threads ask: a mint takes about a millisecond (measured: 0.25 for the certificate,
    0.85 for the context), so a lock per host would buy nothing, and the event loop may call this itself.
    """

    def __init__(self, authority: Authority, *, bound: int = BOUND) -> None:
        self.authority = authority
        self.minted = 0
        """How many leaves were made since the start."""
        self._bound = bound
        self._lock = threading.Lock()
        self._contexts: OrderedDict[str, tuple[datetime, ssl.SSLContext]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contexts)

    def __repr__(self) -> str:
        return f"<Minter {len(self)} of {self._bound} hosts, {self.minted} minted>"

    def context(self, host: str, *, now: datetime) -> ssl.SSLContext:
        """The server side of TLS for one host. Raises ValueError, CertificateProblem, as `issue` does."""
        host = canonical(host)
        with self._lock:
            known = self._contexts.get(host)
            if known is not None and now < known[0]:
                self._contexts.move_to_end(host)
                return known[1]
            leaf = issue(self.authority, host, now=now)
            context = server_context(host, leaf.certificate_pem, leaf.key_pem)
            self.minted += 1
            self._contexts[host] = (leaf.renew_at, context)
            self._contexts.move_to_end(host)
            while len(self._contexts) > self._bound:
                self._contexts.popitem(last=False)
            return context


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )

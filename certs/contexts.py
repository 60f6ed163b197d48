"""TLS settings: towards a worker (a leaf), towards an upstream (the system's roots).

Law: TLS 1.2 at least and HTTP/1.1 only on both sides, names always verified upstream, no key ever on a disk.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from .problem import CertificateProblem
from .roots import find_roots, pem_blocks

# The proxy speaks HTTP/1.1 on every side (design 5); offering h2 would be answered in a language nobody reads.
_PROTOCOLS = ["http/1.1"]


def server_context(host: str, certificate_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """What a worker meets inside its CONNECT to `host`.

    A ClientHello that names another server is answered by the alert `unrecognized_name` (RFC 6066 section 3; threats
    D3); one that names none is served, because clients of IP addresses send none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _narrow(context)
    with _readable(certificate_pem + key_pem) as path:
        context.load_cert_chain(path)

    def named(_: object, name: str | None, __: ssl.SSLContext) -> int | None:
        if name is None or name.removesuffix(".").lower() == host:
            return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = named
    return context


def client_context(extra_pem: str | None = None) -> ssl.SSLContext:
    """For connections to upstreams: the system's roots, and `extra_pem` (a service's `upstream_ca`) beside them.

    Raises CertificateProblem when `extra_pem` holds no certificate, or when no roots are found.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _narrow(context)
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        context.load_verify_locations(cafile=find_roots())
    if extra_pem is not None:
        # The blocks alone: comments between them may hold any character, and OpenSSL takes ASCII only.
        blocks = pem_blocks(extra_pem.encode("utf-8", "replace"))
        try:
            context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise CertificateProblem("the text given as extra roots (upstream_ca) holds no PEM certificate.") from None
    return context


def _narrow(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)


@contextmanager
def _readable(pem: bytes) -> Iterator[str]:
    """A path OpenSSL can open, for as long as it needs: anonymous memory, or where there is none a 0600 file."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("headgate-leaf", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as memory:
            memory.write(pem)
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            yield file.name

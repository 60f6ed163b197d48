"""The public roots of this machine, and the bundle that holds them beside our CA.

Law: most trust variables *replace* the roots (operators 3), so what they name must hold every root the worker had
before, its own additions included, and ours. A bundle never contains a key.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .problem import CertificateProblem

# Where distributions keep the bundle when Python's OpenSSL was built to look elsewhere: the list of Go's
# crypto/x509/root_linux.go, and macOS's.
_PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def find_roots() -> Path:
    """The file with this machine's roots: OpenSSL's own, a distribution's, or certifi's where it is installed.

    SSL_CERT_FILE is not asked: it may name our own bundle. Raises CertificateProblem when there is none.
    """
    for place in (ssl.get_default_verify_paths().openssl_cafile, *_PLACES):
        if Path(place).is_file():
            return Path(place)
    with suppress(ImportError):
        import certifi

        return Path(certifi.where())
    raise CertificateProblem("no file with public root certificates on this machine. Install ca-certificates.")


def pem_blocks(content: bytes) -> list[bytes]:
    """The certificates of a PEM text, whatever else stands between them."""
    return _BLOCK.findall(content)


def certificates(files: Iterable[Path]) -> list[bytes]:
    """The PEM certificates of some files, each once, in order. A file that cannot be read adds none."""
    found: dict[bytes, bytes] = {}
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            continue
        for block in pem_blocks(content):
            found.setdefault(b"".join(block.split()), block)
    return list(found.values())


def bundle(own_pem: str, extra: Iterable[Path] = ()) -> bytes:
    """Roots of the machine, those of `extra` (files the worker trusted before), and ours at the end; PEM."""
    ours = own_pem.encode("ascii").strip()
    key = b"".join(ours.split())
    known = [block for block in certificates([find_roots(), *extra]) if b"".join(block.split()) != key]
    return b"\n".join([*known, ours]) + b"\n"


def write_public(path: Path, content: bytes) -> None:
    """Put a file that everybody may read in its place at once: a reader sees the old content or the new.

    Raises CertificateProblem when it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
            os.replace(name, path)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise CertificateProblem(f"cannot write {path}: {error.strerror}.") from None

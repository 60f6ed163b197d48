"""The bundle in the form Java reads: PKCS#12 whose entries carry Oracle's trusted-key attribute.

Without that attribute `keytool -list` shows no entry, and a JVM trusts none.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from cryptography.utils import CryptographyDeprecationWarning

# The JDK's own default; a trust store holds nothing secret, the password only guards against accidents.
PASSWORD = "changeit"  # noqa: S105


def java_truststore(pems: Iterable[bytes]) -> bytes:
    """A PKCS#12 trust store of these certificates; one this library cannot read is left out."""
    entries = []
    with warnings.catch_warnings():
        # Public roots with a serial number of zero are old and trusted all the same.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for index, pem in enumerate(pems):
            with suppress(ValueError):
                certificate = x509.load_pem_x509_certificate(pem)
                entries.append(PKCS12Certificate(certificate, f"headgate-{index}".encode("ascii")))
    return serialize_java_truststore(entries, serialization.BestAvailableEncryption(PASSWORD.encode("ascii")))

"""The bundle for Java."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from certs.authority import Authority
from certs.roots import certificates, find_roots
from certs.truststore import PASSWORD, java_truststore


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs a JDK: keytool is not on the PATH")
def test_keytool_lists_every_certificate_as_trusted(tmp_path: Path) -> None:
    """Java's own tool reads the store and shows each certificate, ours included, as a trusted entry."""
    authority = Authority.open(tmp_path, now=datetime.now(UTC))
    pems = [*certificates([find_roots()]), authority.pem.encode()]
    store = tmp_path / "truststore.p12"
    store.write_bytes(java_truststore(pems))
    listed = subprocess.run(
        ["keytool", "-list", "-keystore", store, "-storepass", PASSWORD], capture_output=True, text=True, check=True
    ).stdout
    assert listed.count("trustedCertEntry") == len(pems)
    assert authority.fingerprint in listed


def test_what_is_no_certificate_is_left_out() -> None:
    """A block that only looks like a certificate does not spoil the store."""
    good = certificates([find_roots()])[:1]
    block = b"-----BEGIN CERTIFICATE-----\nQ0FOQVJZ\n-----END CERTIFICATE-----"
    _, _, entries = pkcs12.load_key_and_certificates(java_truststore([block, *good, block]), PASSWORD.encode())
    assert [entry.public_bytes(Encoding.PEM).strip() for entry in entries] == good

"""TLS towards workers and towards upstreams."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from certs.authority import Authority
from certs.contexts import client_context, server_context
from certs.leaf import issue
from certs.problem import CertificateProblem

from .handshake import shake, trusting

NOW = datetime.now(UTC)


def upstream(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    """An upstream's side of TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def served(tmp_path: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Our side of TLS for one host, and a client that trusts our CA."""
    authority = Authority.open(tmp_path, now=NOW)
    leaf = issue(authority, host, now=NOW)
    return server_context(host, leaf.certificate_pem, leaf.key_pem), trusting(authority.pem)


def test_a_client_hello_for_another_server_is_an_alert(tmp_path: Path) -> None:
    """SNI that differs from the host of the CONNECT ends in `unrecognized_name`, not in the wrong leaf (threats D3)."""
    server, client = served(tmp_path, "a.test")
    client.check_hostname = False
    with pytest.raises(ssl.SSLError):
        shake(server, client, "b.test")


@pytest.mark.parametrize("name", ["A.TEST", "a.test.", None])
def test_the_same_server_spelt_otherwise_or_unnamed_is_served(tmp_path: Path, name: str | None) -> None:
    """SNI in other case, with a trailing dot, or none at all is no other server."""
    server, client = served(tmp_path, "a.test")
    client.check_hostname = False
    assert shake(server, client, name).version() == "TLSv1.3"


def test_old_tls_is_refused_on_both_sides(tmp_path: Path) -> None:
    """Neither side of the proxy speaks below TLS 1.2 (threats D6)."""
    server, client = served(tmp_path, "a.test")
    assert server.minimum_version == client_context().minimum_version == ssl.TLSVersion.TLSv1_2
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    for context in (server, client):
        context.set_ciphers("ALL:@SECLEVEL=0")  # where OpenSSL itself would allow it
    with pytest.raises(ssl.SSLError):
        shake(server, client, "a.test")


def test_no_key_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a context leaves no file and no open descriptor, with anonymous memory and without."""
    authority = Authority.open(tmp_path / "state", now=NOW)
    leaf = issue(authority, "a.test", now=NOW)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    for anonymous in (True, False):
        if not anonymous:
            monkeypatch.delattr(os, "memfd_create")
        before = os.listdir("/proc/self/fd")
        context = server_context("a.test", leaf.certificate_pem, leaf.key_pem)
        assert os.listdir("/proc/self/fd") == before
        assert list((tmp_path / "temporary").iterdir()) == []
        shake(context, trusting(authority.pem), "a.test")


def test_an_upstream_is_verified_with_the_extra_roots(tmp_path: Path) -> None:
    """`upstream_ca` makes a private upstream trusted, beside the system's roots; HTTP/1.1 is all we offer."""
    ca = trustme.CA()
    context = client_context("# Bäckerei\n" + ca.cert_pem.bytes().decode())
    connection = shake(upstream(ca, "api.example.com"), context, "api.example.com")
    assert connection.selected_alpn_protocol() == "http/1.1"
    assert context.cert_store_stats()["x509_ca"] > 1


def test_a_wrong_upstream_is_refused() -> None:
    """An unknown CA and a certificate for another host each end the handshake (threats D6)."""
    ca = trustme.CA()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(upstream(ca, "api.example.com"), client_context(), "api.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(upstream(ca, "evil.test"), client_context(ca.cert_pem.bytes().decode()), "api.example.com")


@pytest.mark.parametrize(
    "text", ["", "CANARY", "-----BEGIN CERTIFICATE-----\nQ0FOQVJZ\n-----END CERTIFICATE-----\n", "é"]
)
def test_extra_roots_that_are_none_are_refused_without_quoting(text: str) -> None:
    """Text without a certificate is a CertificateProblem that names the setting and not the text."""
    with pytest.raises(CertificateProblem, match="upstream_ca") as refused:
        client_context(text)
    assert "CANARY" not in str(refused.value)

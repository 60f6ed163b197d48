"""Leaves: one host each, short-lived, made once while they are fresh."""

from __future__ import annotations

import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.authority import LIFETIME as CA_LIFETIME
from certs.authority import Authority
from certs.leaf import LIFETIME, Minter, canonical, issue
from certs.problem import CertificateProblem

from .handshake import shake, trusting

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA made now."""
    return Authority.open(tmp_path, now=NOW)


@pytest.mark.parametrize("host", ["api.openai.com", "127.0.0.1", "::1", "a_b.example.test"])
def test_a_client_that_trusts_the_ca_accepts_the_leaf(authority: Authority, host: str) -> None:
    """A real TLS handshake with the leaf of a name or an address verifies, and agrees on HTTP/1.1."""
    client = trusting(authority.pem)
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = shake(Minter(authority).context(host, now=NOW), client, host)
    assert connection.selected_alpn_protocol() == "http/1.1"


def test_openssl_verifies_the_chain_for_the_host_only(authority: Authority, tmp_path: Path) -> None:
    """`openssl verify` accepts the leaf for its host and purpose, in strict mode, and refuses it for another host."""
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(issue(authority, "api.openai.com", now=NOW).certificate_pem)

    def verify(host: str) -> int:
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host]
        return subprocess.run([*command, "-CAfile", authority.path, leaf], capture_output=True).returncode

    assert verify("api.openai.com") == 0
    assert verify("openai.com") != 0


def test_a_client_that_does_not_trust_the_ca_refuses(authority: Authority, tmp_path: Path) -> None:
    """The leaf of one installation is worth nothing to a worker that trusts another."""
    other = Authority.open(tmp_path / "other", now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(Minter(authority).context("a.test", now=NOW), trusting(other.pem), "a.test")


def test_a_constrained_ca_cannot_vouch_for_other_names(tmp_path: Path) -> None:
    """A leaf outside the permitted domains fails verification; one inside passes."""
    authority = Authority.open(tmp_path, now=NOW, permitted=["openai.com"])
    minter = Minter(authority)
    shake(minter.context("api.openai.com", now=NOW), trusting(authority.pem), "api.openai.com")
    for host in ("api.anthropic.com", "127.0.0.1"):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(minter.context(host, now=NOW), trusting(authority.pem), host)


def test_the_leaf_says_what_it_is_for(authority: Authority) -> None:
    """A leaf lives a week from an hour ago, serves TLS only, is no CA, and its key is not in its repr."""
    leaf = issue(authority, "API.OpenAI.com.", now=NOW)
    certificate = x509.load_pem_x509_certificate(leaf.certificate_pem)
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    assert certificate.not_valid_after_utc == leaf.not_after == NOW + LIFETIME
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert [name.value for name in names] == ["api.openai.com"]
    assert "PRIVATE" not in repr(leaf)


def test_a_leaf_never_outlives_the_ca(authority: Authority) -> None:
    """In the CA's last week leaves end with it, and after its end none is made."""
    leaf = issue(authority, "a.test", now=NOW + CA_LIFETIME - timedelta(days=2))
    assert leaf.not_after == authority.not_after
    with pytest.raises(CertificateProblem, match="expired"):
        issue(authority, "a.test", now=authority.not_after)


@pytest.mark.parametrize(
    ("spelt", "one"),
    [
        ("API.Example.COM", "api.example.com"),
        ("example.com.", "example.com"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_every_spelling_of_a_host_is_one_host(spelt: str, one: str) -> None:
    """Case, a trailing dot, brackets and long forms of an address do not make a second leaf."""
    assert canonical(spelt) == one


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            ".",
            "*",
            "*.example.com",
            "a b",
            "a\n",
            "a/b",
            "münchen.de",
            "-a.test",
            "a..b",
            "a" * 64,
            "a." * 127 + "b",
        ),
        *("[127.0.0.1]", "[::1", "a.test:443", "a\x00.test", "x@y"),
    ],
)
def test_what_is_no_host_gets_no_leaf(authority: Authority, host: str) -> None:
    """Wildcards, spaces, control characters, overlong and malformed names are a ValueError, and nothing is cached."""
    minter = Minter(authority)
    with pytest.raises(ValueError):
        minter.context(host, now=NOW)
    assert len(minter) == 0


def test_a_fresh_leaf_is_made_once(authority: Authority) -> None:
    """Asking again gives the same context, whatever the spelling."""
    minter = Minter(authority)
    first = minter.context("api.openai.com", now=NOW)
    assert minter.context("API.openai.com.", now=NOW + timedelta(days=5)) is first
    assert minter.minted == 1


def test_an_ageing_leaf_is_made_anew_before_it_ends(authority: Authority) -> None:
    """A day before the end a new leaf is minted, so that no worker meets an expired one."""
    minter = Minter(authority)
    first = minter.context("a.test", now=NOW)
    assert minter.context("a.test", now=NOW + timedelta(days=6) - timedelta(seconds=1)) is first
    assert minter.context("a.test", now=NOW + timedelta(days=6)) is not first
    assert len(minter) == 1


def test_the_cache_is_bounded_and_forgets_the_least_recently_used(authority: Authority) -> None:
    """With a bound of three, the fourth host pushes out the one that was not asked for longest (threats D7)."""
    minter = Minter(authority, bound=3)
    kept = minter.context("a.test", now=NOW)
    for host in ("b.test", "c.test"):
        minter.context(host, now=NOW)
    minter.context("a.test", now=NOW)
    minter.context("d.test", now=NOW)
    assert len(minter) == 3
    assert minter.context("a.test", now=NOW) is kept
    minter.context("b.test", now=NOW)
    assert minter.minted == 5
    assert repr(minter) == "<Minter 3 of 3 hosts, 5 minted>"


def test_threads_that_ask_at_once_get_one_leaf(authority: Authority) -> None:
    """Sixteen threads asking for the same host share one mint."""
    minter = Minter(authority)
    with ThreadPoolExecutor(16) as threads:
        contexts = list(threads.map(lambda _: minter.context("a.test", now=NOW), range(64)))
    assert minter.minted == 1
    assert all(context is contexts[0] for context in contexts)

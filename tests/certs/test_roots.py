"""The combined bundle: every root the worker had, and ours."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from certs.authority import Authority
from certs.leaf import Minter
from certs.problem import CertificateProblem
from certs.roots import bundle, certificates, find_roots, write_public

from .handshake import shake

NOW = datetime.now(UTC)


def test_the_bundle_holds_the_public_roots_and_ours(tmp_path: Path) -> None:
    """A client that reads the bundle alone verifies our leaf, and still has every public root."""
    authority = Authority.open(tmp_path, now=NOW)
    (tmp_path / "bundle.pem").write_bytes(bundle(authority.pem))
    client = ssl.create_default_context(cafile=str(tmp_path / "bundle.pem"))
    shake(Minter(authority).context("a.test", now=NOW), client, "a.test")
    public = ssl.create_default_context(cafile=str(find_roots()))
    assert client.cert_store_stats()["x509_ca"] == public.cert_store_stats()["x509_ca"] + 1


def test_making_a_bundle_of_a_bundle_adds_nothing(tmp_path: Path) -> None:
    """A worker whose SSL_CERT_FILE is already our bundle gets the same bundle again, not a longer one."""
    authority = Authority.open(tmp_path, now=NOW)
    once = bundle(authority.pem)
    (tmp_path / "bundle.pem").write_bytes(once)
    assert bundle(authority.pem, [tmp_path / "bundle.pem"]) == once


def test_the_workers_own_roots_are_kept(tmp_path: Path) -> None:
    """A company's root that the worker trusted before is in the bundle; a file that is missing is passed over."""
    company = trustme.CA().cert_pem.bytes()
    (tmp_path / "company.pem").write_bytes(b"# ours\n" + company)
    authority = Authority.open(tmp_path, now=NOW)
    made = bundle(authority.pem, [tmp_path / "company.pem", tmp_path / "missing.pem"])
    assert company.strip() in made


def test_a_private_key_in_a_trusted_file_does_not_enter_the_bundle(tmp_path: Path) -> None:
    """Only certificates are taken from a PEM file that also holds a key."""
    (tmp_path / "both.pem").write_bytes(trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.bytes())
    assert len(certificates([tmp_path / "both.pem"])) == 1
    assert b"PRIVATE" not in bundle(Authority.open(tmp_path, now=NOW).pem, [tmp_path / "both.pem"])


def test_a_public_file_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    """Writing makes missing directories, replaces what was there, leaves mode 0644 and no temporary file."""
    path = tmp_path / "new" / "bundle.pem"
    write_public(path, b"one")
    write_public(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory in the way is a CertificateProblem with the path, and leaves no temporary file."""
    (tmp_path / "there").mkdir()
    with pytest.raises(CertificateProblem, match=rf"cannot write {tmp_path / 'there'}"):
        write_public(tmp_path / "there", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]

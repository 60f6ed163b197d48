"""The trust files of a worker, named by their content."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from certs.authority import KEY, Authority
from certs.problem import CertificateProblem
from certs.roots import certificates, find_roots
from proxy.trust import prepare

NOW = datetime.now(UTC)


def test_the_ca_is_made_on_first_need_and_stands_in_the_bundle(tmp_path: Path) -> None:
    """A worker's first call for trust files makes the CA; the bundle is every public root and it."""
    trust = prepare(tmp_path, {}, now=NOW)
    ours = Authority.open(tmp_path, now=NOW)
    assert trust.ca.read_text() == ours.pem
    assert certificates([trust.bundle]) == [*certificates([find_roots()]), ours.pem.encode().strip()]
    assert ssl.create_default_context(cafile=str(trust.bundle)).cert_store_stats()["x509_ca"] > 1
    assert trust.truststore.is_file()


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    """The same roots give the same files, also when the worker's variables name our bundle already."""
    first = prepare(tmp_path, {}, now=NOW)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    environ = {"SSL_CERT_FILE": str(first.bundle), "NODE_EXTRA_CA_CERTS": str(first.ca)}
    assert prepare(tmp_path, environ, now=NOW) == first
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_a_worker_with_its_own_roots_gets_its_own_bundle(tmp_path: Path) -> None:
    """A company's root named by any trust variable is in that worker's bundle, and nobody else's changes."""
    company = trustme.CA().cert_pem.bytes()
    (tmp_path / "company.pem").write_bytes(company)
    plain = prepare(tmp_path / "state", {}, now=NOW)
    own = prepare(tmp_path / "state", {"REQUESTS_CA_BUNDLE": str(tmp_path / "company.pem")}, now=NOW)
    assert company.strip() in own.bundle.read_bytes()
    assert company.strip() not in plain.bundle.read_bytes()


def test_the_certificate_of_another_headgate_is_used_as_given(tmp_path: Path) -> None:
    """With a certificate from another machine no CA is made here."""
    there = Authority.open(tmp_path / "there", now=NOW)
    trust = prepare(tmp_path / "here", {}, now=NOW, ca=there.path)
    assert trust.ca == there.path
    assert there.pem.encode().strip() in trust.bundle.read_bytes()
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["trust"]


def test_what_is_no_ca_certificate_is_refused(tmp_path: Path) -> None:
    """A missing file, a key, and a leaf given as the other Headgate's certificate are refused by name."""
    there = Authority.open(tmp_path / "there", now=NOW)
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(trustme.CA().issue_cert("a.test").cert_chain_pems[0].bytes())
    for path, said in (
        (tmp_path / "missing", "cannot read"),
        (tmp_path / "there" / KEY, "no PEM certificate"),
        (leaf, "not a CA certificate"),
    ):
        with pytest.raises(CertificateProblem, match=said) as refused:
            prepare(tmp_path / "here", {}, now=NOW, ca=path)
        assert str(path) in str(refused.value)
    assert there.pem.startswith("-----BEGIN CERTIFICATE-----")

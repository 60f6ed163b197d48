"""The CA of an installation: made once, kept private, refused with its cure."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from certs.authority import CERTIFICATE, KEY, LIFETIME, Authority, write_private
from certs.problem import CertificateProblem

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_open_makes_a_ca_and_the_next_finds_it(tmp_path: Path) -> None:
    """Opening an empty state directory makes a CA; opening it again gives the same one."""
    made = Authority.open(tmp_path / "state", now=NOW)
    found = Authority.open(tmp_path / "state", now=NOW)
    assert made.fingerprint == found.fingerprint
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["ca"]


def test_the_certificate_may_sign_leaves_and_nothing_below_them(tmp_path: Path) -> None:
    """The certificate is a CA of path length 0 that may sign certificates, and its subject names the installation."""
    authority = Authority.open(tmp_path, now=NOW)
    extensions = authority.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert authority.subject.startswith("CN=Headgate CA ")
    assert authority.not_before < NOW < authority.not_after == NOW + LIFETIME


def test_two_installations_have_different_names(tmp_path: Path) -> None:
    """Two CAs never share a subject, so a worker that trusts both can tell them apart."""
    assert Authority.open(tmp_path / "a", now=NOW).subject != Authority.open(tmp_path / "b", now=NOW).subject


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_key_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The key file is 0600 and its directory 0700 under every umask."""
    before = os.umask(umask)
    try:
        Authority.open(tmp_path, now=NOW)
    finally:
        os.umask(before)
    assert (mode(tmp_path / KEY), mode((tmp_path / KEY).parent)) == (0o600, 0o700)


def test_a_private_file_is_never_written_over_another(tmp_path: Path) -> None:
    """Writing a private file onto an existing one, or through a symbolic link, fails and leaves it alone."""
    (tmp_path / "there").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_private(tmp_path / name, b"new")
    assert (tmp_path / "there").read_text() == "kept"


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_wide_key_file_is_refused_with_the_cure(tmp_path: Path, wide: int) -> None:
    """A key file that anyone else may touch is refused; the text names the file, its mode and the chmod."""
    Authority.open(tmp_path, now=NOW)
    (tmp_path / KEY).chmod(wide)
    with pytest.raises(CertificateProblem) as refused:
        Authority.open(tmp_path, now=NOW)
    assert str(tmp_path / KEY) in str(refused.value)
    assert f"{wide:04o}" in str(refused.value)
    assert f"chmod 600 {tmp_path / KEY}" in str(refused.value)


def test_a_narrower_key_file_is_fine(tmp_path: Path) -> None:
    """Mode 0400, as secret stores mount it, is accepted."""
    made = Authority.open(tmp_path, now=NOW)
    (tmp_path / KEY).chmod(0o400)
    assert Authority.open(tmp_path, now=NOW).fingerprint == made.fingerprint


def test_an_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    """A key path that cannot be read as a file is refused by name, not by a traceback."""
    Authority.open(tmp_path, now=NOW)
    (tmp_path / KEY).unlink()
    (tmp_path / KEY).mkdir(mode=0o700)
    with pytest.raises(CertificateProblem, match=rf"cannot read {tmp_path / KEY}: Is a directory"):
        Authority.open(tmp_path, now=NOW)


def test_a_fifo_in_place_of_the_certificate_is_refused(tmp_path: Path) -> None:
    """Only regular files are read; a device is refused by name."""
    Authority.open(tmp_path, now=NOW)
    (tmp_path / CERTIFICATE).unlink()
    (tmp_path / CERTIFICATE).symlink_to("/dev/zero")
    with pytest.raises(CertificateProblem, match="not a regular file"):
        Authority.open(tmp_path, now=NOW)


@pytest.mark.parametrize("missing", [KEY, CERTIFICATE])
def test_half_a_pair_is_refused_and_never_completed(tmp_path: Path, missing: str) -> None:
    """When one of the two files is gone no new CA is made over the other; the text says which file to restore."""
    Authority.open(tmp_path, now=NOW)
    (tmp_path / missing).unlink()
    with pytest.raises(CertificateProblem, match=rf"{tmp_path / missing} is missing"):
        Authority.open(tmp_path, now=NOW)
    assert not (tmp_path / missing).exists()


def test_the_key_of_another_pair_is_refused(tmp_path: Path) -> None:
    """Key and certificate that do not belong together are refused."""
    Authority.open(tmp_path / "a", now=NOW)
    Authority.open(tmp_path / "b", now=NOW)
    shutil.copy(tmp_path / "b" / KEY, tmp_path / "a" / KEY)
    with pytest.raises(CertificateProblem, match="is not the key of"):
        Authority.open(tmp_path / "a", now=NOW)


def test_garbage_is_refused_and_not_quoted(tmp_path: Path) -> None:
    """A file that holds no PEM is refused by name, and its content does not enter the text."""
    Authority.open(tmp_path, now=NOW)
    for name in (KEY, CERTIFICATE):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text("CANARY")
        with pytest.raises(CertificateProblem) as refused:
            Authority.open(tmp_path, now=NOW)
        assert str(tmp_path / name) in str(refused.value)
        assert "CANARY" not in str(refused.value)
        (tmp_path / name).write_bytes(whole)


def test_an_encrypted_or_foreign_key_is_refused(tmp_path: Path) -> None:
    """A key that needs a password, or is of a kind TLS stacks seldom take, is refused."""
    Authority.open(tmp_path, now=NOW)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / KEY).write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"x")))
    with pytest.raises(CertificateProblem, match="no unencrypted PEM private key"):
        Authority.open(tmp_path, now=NOW)
    (tmp_path / KEY).write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    with pytest.raises(CertificateProblem, match="neither an ECDSA nor an RSA key"):
        Authority.open(tmp_path, now=NOW)


def test_a_leaf_in_place_of_the_ca_is_refused(tmp_path: Path) -> None:
    """A certificate that is no CA is refused even with its own key beside it."""
    openssl = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    told = ["-subj", "/CN=leaf", "-addext", "basicConstraints=critical,CA:FALSE", "-days", "3650"]
    (tmp_path / "ca").mkdir()
    subprocess.run(
        [*openssl, *told, "-keyout", tmp_path / KEY, "-out", tmp_path / CERTIFICATE],
        check=True,
        capture_output=True,
    )
    (tmp_path / KEY).chmod(0o600)
    with pytest.raises(CertificateProblem, match="is not a CA certificate"):
        Authority.open(tmp_path, now=datetime.now(UTC))


def test_an_expired_ca_is_refused_with_the_way_to_renew(tmp_path: Path) -> None:
    """After its last day the CA is refused; before, a warning comes a month ahead; with a wrong clock, the clock."""
    authority = Authority.open(tmp_path, now=NOW)
    assert authority.warning(NOW + LIFETIME - timedelta(days=31)) is None
    assert "ends in 29 days" in (authority.warning(NOW + LIFETIME - timedelta(days=29)) or "")
    with pytest.raises(CertificateProblem, match=r"expired on 2028-11-23.*move .* away"):
        Authority.open(tmp_path, now=NOW + LIFETIME)
    with pytest.raises(CertificateProblem, match="clock"):
        Authority.open(tmp_path, now=NOW - timedelta(days=2))


def test_a_directory_that_cannot_be_written_is_named_with_the_flag(tmp_path: Path) -> None:
    """When the state directory cannot be made, the text names it and the flag that chooses another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateProblem, match=rf"cannot write {tmp_path / 'file'}.*--state-dir"):
        Authority.open(tmp_path / "file", now=NOW)
    with pytest.raises(CertificateProblem, match=r"cannot write .*: File name too long"):
        Authority.open(tmp_path / ("a" * 300), now=NOW)
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "other").write_text("")
    with pytest.raises(CertificateProblem, match=rf"cannot write {tmp_path / 'ca'}: Directory not empty"):
        Authority.open(tmp_path, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca", "file"]


def test_permitted_names_become_critical_constraints(tmp_path: Path) -> None:
    """A constrained CA vouches for the named domains only, and for no address that is not named (threats D11)."""
    authority = Authority.open(tmp_path / "dns", now=NOW, permitted=["openai.com", "*.anthropic.com"])
    extension = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical
    names = [str(name.value) for name in extension.value.permitted_subtrees or ()]
    assert names == ["openai.com", "anthropic.com"]
    assert [str(name.value) for name in extension.value.excluded_subtrees or ()] == ["0.0.0.0/0", "::/0"]
    authority = Authority.open(tmp_path / "ip", now=NOW, permitted=["a.test", "10.0.0.0/8"])
    extension = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.value.excluded_subtrees is None


def test_processes_that_start_together_end_with_one_ca(tmp_path: Path) -> None:
    """Eight processes that open an empty directory at the same moment all report the same fingerprint."""
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from certs.authority import Authority\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(Authority.open(Path(sys.argv[1]), now=datetime.now(UTC)).fingerprint)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(8)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    fingerprints = {process.communicate()[0] for process in started}
    assert len(fingerprints) == 1
    assert fingerprints != {""}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["ca"]


def test_the_key_is_not_in_the_repr(tmp_path: Path) -> None:
    """What the CA prints of itself is its name and fingerprint."""
    authority = Authority.open(tmp_path, now=NOW)
    assert repr(authority) == f"<Authority {authority.subject}, {authority.fingerprint}>"

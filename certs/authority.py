"""The CA of this installation: a P-256 key and a self-signed certificate in `<state>/ca/`.

Law: the key exists on disk only with mode 0600, is read only from a file that is no wider, and never leaves this
module except as a signature. The pair appears at once: both files are written into a fresh directory, which is then
renamed to its place, so whoever starts at the same moment finds either nothing or a whole CA, and all end with one.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .problem import CertificateProblem

CERTIFICATE = "ca/ca.pem"
KEY = "ca/ca-key.pem"

# Two years: workers take the certificate anew with every `headgate env` or `run`, so nothing needs the usual ten,
# and a key that leaked dies with its certificate. Renewal is by hand (see `Authority.open`), hence no shorter.
LIFETIME = timedelta(days=730)
# A machine whose clock is behind must not see a certificate of the future (threats D11).
BACKDATE = timedelta(days=1)
# Long enough for a team to hand out a new certificate.
WARN_BEFORE = timedelta(days=30)
# A PEM of a P-256 or RSA-8192 pair is below 8 KiB; more is not a key.
_LARGEST_FILE = 64 * 1024

Signer = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """The CA: its certificate for everyone, its key for signing leaves only."""

    def __init__(self, certificate: x509.Certificate, signer: Signer, path: Path) -> None:
        self.certificate = certificate
        self.path = path
        """Where the certificate stands, PEM."""
        self._signer = signer

    @classmethod
    def open(cls, directory: Path, *, now: datetime, permitted: Sequence[str] | None = None) -> Authority:
        """Read the CA of the state directory; make it if there is none.

        `permitted`: domains (with their subdomains) and IP networks the CA may vouch for, written into a new
        certificate as critical name constraints (RFC 5280 section 4.2.1.10); None: no constraint. The default is
        None, because a constrained CA stops working for every host that joins the catalogue later, until all workers
        have taken a new certificate. An existing CA is used as it is.

        Raises CertificateProblem: the key file wider than 0600 or unreadable, one of the files missing, no PEM, key
        and certificate of different pairs, not a CA, expired or not yet valid, directory not writable.
        """
        certificate_path, key_path = directory / CERTIFICATE, directory / KEY
        # os.path.exists, for it says no where Path.exists raises: a directory that cannot be entered.
        if not os.path.exists(certificate_path) and not os.path.exists(key_path):
            _make(directory, now, permitted)
        for path in (certificate_path, key_path):
            if not os.path.exists(path):
                raise CertificateProblem(
                    f"{path} is missing, its counterpart in {path.parent} is there. Restore it. {_renewal(path)}"
                )
        signer = _read_key(key_path)
        certificate = _read_certificate(certificate_path)
        _check(certificate, signer, certificate_path, key_path, now)
        return cls(certificate, signer, certificate_path)

    def __repr__(self) -> str:
        return f"<Authority {self.subject}, {self.fingerprint}>"

    @property
    def pem(self) -> str:
        """The certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, as `openssl x509 -fingerprint -sha256` prints it: `AB:CD:…`."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def subject(self) -> str:
        """RFC 4514 form: `CN=Headgate CA 1a2b3c4d`."""
        return self.certificate.subject.rfc4514_string()

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def warning(self, now: datetime) -> str | None:
        """What an operator should hear at start, or None: that the certificate ends within WARN_BEFORE."""
        left = self.not_after - now
        if left > WARN_BEFORE:
            return None
        return f"the CA certificate {self.path} ends in {max(left.days, 0)} days. {_renewal(self.path)}"

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Finish a leaf: our name as issuer and our key's identifier go in, our signature below."""
        ours = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            builder.issuer_name(self.certificate.subject)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ours), critical=False)
            .sign(self._signer, hashes.SHA256())
        )


def write_private(path: Path, content: bytes) -> None:
    """Create a file that is 0600 from its first moment; it must not exist. The mode of open(2) can only be narrowed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_ca(path: Path) -> str:
    """The certificate that another Headgate exported, PEM. Raises CertificateProblem."""
    certificate = _read_certificate(path)
    if not _is_ca(certificate):
        raise CertificateProblem(f"{path} is not a CA certificate.")
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _renewal(certificate_path: Path) -> str:
    folder = certificate_path.parent
    return f"To renew it, move {folder} away, start again, and give the new certificate to the workers."


def _make(directory: Path, now: datetime, permitted: Sequence[str] | None) -> None:
    place = directory / Path(KEY).parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=directory, prefix=".ca-"))  # mode 0700
    except OSError as error:
        raise _unwritable(directory, error) from None
    try:
        signer = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(signer, now, permitted)
        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        write_private(fresh / Path(KEY).name, signer.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        write_private(fresh / Path(CERTIFICATE).name, certificate.public_bytes(pem))
        (fresh / Path(CERTIFICATE).name).chmod(0o644)
        # rename(2) replaces only an empty directory: it fails when another process was first, and its CA is ours.
        os.rename(fresh, place)
        _sync(directory)
    except OSError as error:
        if not os.path.exists(directory / KEY):
            raise _unwritable(place, error) from None
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(fresh)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> CertificateProblem:
    return CertificateProblem(
        f"cannot write {path}: {error.strerror}. Name a directory that can be written with --state-dir or"
        " HEADGATE_STATE_DIR."
    )


def _self_signed(
    signer: ec.EllipticCurvePrivateKey, now: datetime, permitted: Sequence[str] | None
) -> x509.Certificate:
    public = signer.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    # The name carries the key: two CAs of one machine never share a subject, and one key always has the same.
    short = hashlib.sha256(identifier.digest).hexdigest()[:8]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Headgate CA {short}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(identifier, critical=False)
    )
    if permitted is not None:
        builder = builder.add_extension(_constraints(permitted), critical=True)
    return builder.sign(signer, hashes.SHA256())


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    domains: list[x509.GeneralName] = []
    networks: list[x509.GeneralName] = []
    for name in permitted:
        try:
            networks.append(x509.IPAddress(ipaddress.ip_network(name)))
        except ValueError:
            domains.append(x509.DNSName(name.removeprefix("*.")))
    # A name form that no subtree mentions is not constrained at all (RFC 5280 section 4.2.1.10).
    everywhere: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
        x509.IPAddress(ipaddress.ip_network("::/0")),
    ]
    return x509.NameConstraints(
        permitted_subtrees=[*domains, *networks] or None, excluded_subtrees=None if networks else everywhere
    )


def _read(path: Path, *, private: bool) -> bytes:
    """The bytes of a small regular file; the mode is checked on the open file, so it cannot change in between."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CertificateProblem(f"{path} is not a regular file.")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & 0o077:
                raise CertificateProblem(
                    f"{path} has mode {mode:04o}: others may read the CA's key. Run `chmod 600 {path}`; if others have"
                    f" used this machine meanwhile, make a new CA instead. {_renewal(path)}"
                )
            return file.read(_LARGEST_FILE)
    except OSError as error:
        raise CertificateProblem(f"cannot read {path}: {error.strerror}.") from None


def _read_key(path: Path) -> Signer:
    content = _read(path, private=True)
    try:
        signer = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):  # TypeError: it wants a password
        raise CertificateProblem(f"{path} holds no unencrypted PEM private key. {_renewal(path)}") from None
    if not isinstance(signer, Signer):
        raise CertificateProblem(f"{path} is neither an ECDSA nor an RSA key. {_renewal(path)}")
    return signer


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path, private=False))
    except ValueError:
        raise CertificateProblem(f"{path} holds no PEM certificate.") from None


def _check(certificate: x509.Certificate, signer: Signer, path: Path, key_path: Path, now: datetime) -> None:
    if certificate.public_key() != signer.public_key():
        raise CertificateProblem(f"{key_path} is not the key of {path}. Restore the pair. {_renewal(path)}")
    if not _is_ca(certificate):
        raise CertificateProblem(f"{path} is not a CA certificate. {_renewal(path)}")
    if now >= certificate.not_valid_after_utc:
        ended = certificate.not_valid_after_utc.astimezone(UTC)
        raise CertificateProblem(f"{path} expired on {ended:%Y-%m-%d}. {_renewal(path)}")
    if now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc.astimezone(UTC)
        raise CertificateProblem(f"{path} is valid from {begins:%Y-%m-%d} only. Check this machine's clock.")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)  # what leaves name their issuer by
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False

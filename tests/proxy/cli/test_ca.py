"""`headgate ca show|export`."""

from __future__ import annotations

import json
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from certs.authority import KEY, Authority
from certs.roots import certificates, find_roots

from .headgate import headgate

STATE = ".local/state/headgate"


def test_show_makes_the_ca_on_first_need_and_says_what_it_is(tmp_path: Path) -> None:
    """The first `ca show` makes the CA; what it prints is what openssl says of the file."""
    shown = headgate(tmp_path, "ca", "show")
    authority = Authority.open(tmp_path / STATE, now=datetime.now(UTC))
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [line.split(None, 1) for line in shown.stdout.splitlines()]
    openssl = ["openssl", "x509", "-in", str(authority.path), "-noout", "-fingerprint", "-sha256"]
    fingerprint = subprocess.run(openssl, capture_output=True, text=True, check=True).stdout.strip().split("=")[1]
    assert [line[0] for line in lines] == ["subject", "SHA-256", "valid", "certificate"]
    assert lines[0][1] == authority.subject
    assert lines[1][1] == fingerprint
    assert "(729 days left)" in lines[2][1]
    assert lines[3][1] == str(authority.path)


def test_show_for_programs(tmp_path: Path) -> None:
    """`--json` holds the same facts, and `--state-dir` and XDG_STATE_HOME choose the place."""
    first = json.loads(headgate(tmp_path, "ca", "show", "--json", "--state-dir", tmp_path / "a" / "headgate").stdout)
    second = json.loads(headgate(tmp_path, "ca", "show", "--json", XDG_STATE_HOME=str(tmp_path / "a")).stdout)
    assert first == second
    assert first["path"] == str(tmp_path / "a" / "headgate" / "ca" / "ca.pem")


def test_export_gives_the_certificate_and_never_the_key(tmp_path: Path) -> None:
    """PEM on stdout, DER into a file: both are the one certificate, and neither holds the key."""
    pem = headgate(tmp_path, "ca", "export").stdout
    assert headgate(tmp_path, "ca", "export", "--format", "der", "--out", tmp_path / "ca.der").returncode == 0
    assert ssl.DER_cert_to_PEM_cert((tmp_path / "ca.der").read_bytes()) == pem
    key = (tmp_path / STATE / KEY).read_text().splitlines()[1]
    assert key not in pem


def test_export_bundle_has_the_public_roots_too(tmp_path: Path) -> None:
    """`--bundle` writes the public roots and ours into one file."""
    assert headgate(tmp_path, "ca", "export", "--bundle", "--out", tmp_path / "bundle.pem").returncode == 0
    pem = headgate(tmp_path, "ca", "export").stdout
    assert certificates([tmp_path / "bundle.pem"]) == [*certificates([find_roots()]), pem.encode().strip()]


def test_a_bundle_in_der_is_a_usage_mistake(tmp_path: Path) -> None:
    """DER holds one certificate; asking for a bundle in it is exit code 2."""
    refused = headgate(tmp_path, "ca", "export", "--format", "der", "--bundle")
    assert refused.returncode == 2
    assert "--format pem" in refused.stderr


def test_a_wide_key_file_ends_in_one_plain_line(tmp_path: Path) -> None:
    """A key others may read is refused with exit code 1 and the chmod, without a traceback."""
    headgate(tmp_path, "ca", "show")
    (tmp_path / STATE / KEY).chmod(0o644)
    refused = headgate(tmp_path, "ca", "show")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert f"chmod 600 {tmp_path / STATE / KEY}" in refused.stderr
    assert "Traceback" not in refused.stderr

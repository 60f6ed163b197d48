"""The files that make a worker trust our leaves: `ca/ca.pem`, and under `trust/` the bundles in PEM and for Java.

A bundle is named by its content. Workers that bring roots of their own get a bundle of their own, and one that is
running never sees its bundle change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from certs.authority import Authority, read_ca
from certs.roots import bundle, pem_blocks, write_public
from certs.truststore import PASSWORD, java_truststore

from .onboarding import ADDING, REPLACING, Trust


def prepare(state_dir: Path, environ: Mapping[str, str], *, now: datetime, ca: Path | None = None) -> Trust:
    """Make the CA if there is none (unless `ca` names another Headgate's certificate), and both bundles.

    Files that `environ` told the worker to trust are part of the bundles. Raises certs.problem.CertificateProblem.
    """
    if ca is None:
        authority = Authority.open(state_dir, now=now)
        pem, path = authority.pem, authority.path
    else:
        pem, path = read_ca(ca), ca
    place = state_dir.absolute() / "trust"
    told = [Path(environ[name]).absolute() for name in (*REPLACING, ADDING) if environ.get(name)]
    combined = bundle(pem, [file for file in told if place not in file.parents])
    stem = hashlib.sha256(combined).hexdigest()[:16]
    trust = Trust(ca=path.absolute(), bundle=place / f"{stem}.pem", truststore=place / f"{stem}.p12", password=PASSWORD)
    if not os.path.exists(trust.bundle):
        write_public(trust.bundle, combined)
    if not os.path.exists(trust.truststore):
        write_public(trust.truststore, java_truststore(pem_blocks(combined)))
    return trust

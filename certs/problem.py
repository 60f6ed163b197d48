"""The one error of this package, apart from `cryptography` so that catching it costs no import."""

from __future__ import annotations


class CertificateProblem(Exception):
    """A certificate or key cannot be used. The text names the file and the cure, and quotes nothing of its content."""

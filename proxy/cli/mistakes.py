"""What can go wrong before a verb does its work: one line for people, and an exit code of design 4.4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from certs.problem import CertificateProblem


@contextmanager
def plain_mistakes() -> Iterator[None]:
    """A certificate that cannot be used ends in 1, a flag or variable that cannot be read in 2."""
    try:
        yield
    except CertificateProblem as problem:
        raise click.ClickException(str(problem)) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None

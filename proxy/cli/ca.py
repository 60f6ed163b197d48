"""`headgate ca show|export`: the certificate that workers in proxy mode must trust. The key is never shown."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import settings
from .mistakes import plain_mistakes

if TYPE_CHECKING:
    from certs.authority import Authority

_state_dir = click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where the CA is kept."
)


@click.group()
def command() -> None:
    """The certificate that workers in proxy mode must trust; made on first need."""


@command.command()
@_state_dir
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(state_dir: Path | None, as_json: bool) -> None:
    """Say which certificate it is, how long it lives, and where it stands."""
    with plain_mistakes():
        now = datetime.now(UTC)
        authority = _open(state_dir, now)
    if as_json:
        facts = {
            "subject": authority.subject,
            "sha256": authority.fingerprint,
            "not_before": authority.not_before.isoformat(),
            "not_after": authority.not_after.isoformat(),
            "path": str(authority.path),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    left = (authority.not_after - now).days
    click.echo(f"subject      {authority.subject}")
    click.echo(f"SHA-256      {authority.fingerprint}")
    click.echo(f"valid        {authority.not_before:%Y-%m-%d} to {authority.not_after:%Y-%m-%d} ({left} days left)")
    click.echo(f"certificate  {authority.path}")
    if (warning := authority.warning(now)) is not None:
        click.echo(f"headgate: {warning}", err=True)


@command.command()
@_state_dir
@click.option("--format", "form", type=click.Choice(["pem", "der"]), default="pem", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Instead of stdout.")
@click.option("--bundle", "bundled", is_flag=True, help="With this machine's public roots before it (PEM).")
def export(state_dir: Path | None, form: str, out: Path | None, bundled: bool) -> None:
    """Write the certificate, never the key."""
    if form == "der" and bundled:
        raise click.UsageError("DER holds one certificate: --bundle needs --format pem.")
    if form == "der" and out is None and sys.stdout.isatty():
        raise click.UsageError("DER is no text: name a file with --out.")
    with plain_mistakes():
        from certs.roots import bundle, write_public

        authority = _open(state_dir, datetime.now(UTC))
        content = authority.der if form == "der" else authority.pem.encode("ascii")
        if bundled:
            content = bundle(authority.pem)
        if out is not None:
            write_public(out, content)
            return
    click.echo(content, nl=False)


def _open(state_dir: Path | None, now: datetime) -> Authority:
    from certs.authority import Authority

    return Authority.open(settings.read(state_dir=state_dir).state_dir, now=now)

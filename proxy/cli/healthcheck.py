"""`headgate healthcheck`: for container health checks, without curl in the image."""

from __future__ import annotations

import click

from .. import settings
from ..onboarding import parse_entrance
from ..probe import status_of
from .mistakes import plain_mistakes


@click.command()
@click.option("--url", metavar="URL", help="The admin port [HEADGATE_ADMIN; http://127.0.0.1:9091].")
@click.pass_context
def command(ctx: click.Context, url: str | None) -> None:
    """Ask a running Headgate whether it is ready.

    Exit code 0: ready. 1: it answers that it is not. 5: nobody answers.
    """
    with plain_mistakes():
        entrance = parse_entrance(url or settings.read().admin.url)
    status = status_of(entrance, "/readyz")
    if status is None:
        click.echo(f"headgate: nobody answers at {entrance.url}", err=True)
        ctx.exit(5)
    if status != 200:
        click.echo(f"headgate: not ready ({entrance.url}/readyz answers {status})", err=True)
        ctx.exit(1)
    click.echo("ready")

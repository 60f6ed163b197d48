"""`headgate config schema`: what editors need to complete and check the configuration."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Show the configuration's schema."""


@command.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from rules.schema import schema_text

    click.echo(schema_text(), nl=False)

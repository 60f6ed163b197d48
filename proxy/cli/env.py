"""`headgate env`: the variables a worker exports. `eval "$(headgate env)"` sets them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .. import settings
from ..onboarding import SHELLS, Mode, Shell, render
from .mistakes import plain_mistakes
from .worker import entrance_of, known_services, worker_options, worker_variables

_HINT = {
    "sh": 'To set them in this shell: eval "$(headgate env)"',
    "fish": "To set them in this shell: headgate env --shell fish | source",
}


@click.command()
@worker_options
@click.option("--shell", type=click.Choice(SHELLS), default="sh", show_default=True)
def command(
    mode: Mode, url: str | None, ca: Path | None, config: Path | None, state_dir: Path | None, shell: Shell
) -> None:
    """Print the variables a worker exports so that its calls come through Headgate."""
    with plain_mistakes():
        told = settings.read(url=url, config=config, state_dir=state_dir)
        entrance = entrance_of(told)
        lines = render(worker_variables(told, mode, entrance, known_services(told), ca), shell)
    click.echo(lines, nl=False)
    if sys.stdout.isatty() and shell in _HINT:
        click.echo(_HINT[shell], err=True)

"""`headgate check [FILE]`: everything that is wrong with a configuration, before it is served."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rules.policy import Kind, Limit

_NOUNS: dict[Kind, str] = {
    "window": "window",
    "token_bucket": "token bucket",
    "quota": "calendar quota",
    "concurrent": "concurrency cap",
}


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def command(file: Path | None) -> None:
    """Read a configuration and say everything that is wrong with it.

    Without FILE: HEADGATE_CONFIG, else the places `serve` looks in. Exit code 3 when it cannot be used.
    """
    from rules.mistakes import ConfigInvalid

    from .. import settings
    from ..configfile import find, load

    told = settings.read(config=file)
    path = find(told.config)
    try:
        parsed = load(path, told.environ)
    except ConfigInvalid as error:
        for mistake in error.errors:
            click.echo(str(mistake), err=True)
        count = len(error.errors)
        click.echo(f"{count} mistake{'s' if count != 1 else ''}", err=True)
        sys.exit(3)
    for advice in parsed.advice:
        click.echo(f"advice: {advice}")
    policy = parsed.policy
    click.echo(f"{path or 'no configuration file: the catalogue alone'}: ok, version {policy.version}")
    wide = max(len(name) for name in policy.services)
    for service in policy.services.values():
        limits = {limit.id: limit for limit in service.limits}
        limits |= {limit.id: limit for endpoint in service.endpoints for limit in endpoint.limits}
        groups = {key.group for key in service.keys}
        pool = f"{_counted(len(service.keys), 'key')} in {_counted(len(groups), 'group')}" if groups else "caller's key"
        click.echo(f"  {service.name:{wide}}  {service.mode}, {_kinds(limits.values())}, {pool}")


def _kinds(limits: Collection[Limit]) -> str:
    """How many limits, and of which kinds where not all are windows: `3 limits (1 window, 2 quotas)`."""
    kinds = Counter(limit.kind for limit in limits)
    told = ", ".join(_counted(kinds[kind], noun) for kind, noun in _NOUNS.items() if kinds[kind])
    return _counted(len(limits), "limit") + (f" ({told})" if len(limits) > kinds["window"] else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

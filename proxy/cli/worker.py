"""What `env` and `run` share: their options, the services of the catalogue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import settings
from ..onboarding import MODES, Entrance, Mode, parse_entrance, variables

if TYPE_CHECKING:
    from rules.policy import Service

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_URL = settings.LISTEN.url


def worker_options(command: _Command) -> _Command:
    """--mode, --url, --ca, --config, --state-dir."""
    existing = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = [
        click.option(
            "--mode",
            type=click.Choice(MODES),
            default="base-url",
            show_default=True,
            help="base-url: SDKs are given another base URL. proxy: HTTPS_PROXY and our certificate.",
        ),
        click.option("--url", metavar="URL", help=f"The Headgate to use [HEADGATE_URL; {DEFAULT_URL}]."),
        click.option(
            "--ca",
            type=existing,
            metavar="FILE",
            help="Certificate of that Headgate (`headgate ca export` there), when it is on another machine.",
        ),
        click.option("--config", type=existing, metavar="FILE", help="Configuration that names further services."),
        click.option(
            "--state-dir",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Where the CA and the bundles are kept.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def worker_variables(
    told: settings.Settings, mode: Mode, entrance: Entrance, services: list[Service], ca: Path | None
) -> dict[str, str]:
    """The variables for one worker; in proxy mode the bundles are written first."""
    if mode == "base-url":
        return variables(mode, services, entrance, told.environ, None)
    if ca is None and not settings.is_loopback(entrance.host):
        raise click.UsageError(
            f"proxy mode needs the certificate of the Headgate at {entrance.url}: run `headgate ca export` on its"
            " machine and name the file with --ca."
        )
    from datetime import UTC, datetime

    from ..trust import prepare

    trust = prepare(told.state_dir, told.environ, now=datetime.now(UTC), ca=ca)
    return variables(mode, services, entrance, told.environ, trust)


def entrance_of(told: settings.Settings) -> Entrance:
    """--url, else HEADGATE_URL, else the default port of this machine. Raises ValueError."""
    return parse_entrance(told.url or DEFAULT_URL)


def known_services(told: settings.Settings) -> list[Service]:
    """The services of the catalogue, and of the configuration where there is one.

    A worker's machine need not have what the configuration asks for, such as its keys: a file that nobody named and
    that cannot be used is passed over with a line on stderr. One that was named ends in exit code 3.
    """
    from rules.mistakes import ConfigInvalid

    from ..configfile import find, load

    path = find(told.config)
    try:
        return list(load(path, told.environ).policy.services.values())
    except ConfigInvalid as error:
        if told.config is not None:
            for mistake in error.errors:
                click.echo(str(mistake), err=True)
            sys.exit(3)
        click.echo(
            f"headgate: {path or 'the environment'} cannot be used here (`headgate check` says why);"
            " these are the catalogue's services",
            err=True,
        )
        return list(load(None, {}).policy.services.values())

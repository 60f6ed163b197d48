"""`headgate run -- CMD`: a command with the variables of `headgate env`, and a Headgate for it when there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from .. import settings
from ..child import CannotStart, accompany, become
from ..companion import Companion, NotReady, companion
from ..onboarding import ACTIVE, Entrance, Mode, parse_entrance
from ..probe import is_headgate
from .mistakes import plain_mistakes
from .worker import entrance_of, known_services, worker_options, worker_variables


@click.command(context_settings={"allow_interspersed_args": False})
@worker_options
@click.option("-v", "--verbose", is_flag=True, help="Show the log of a private Headgate on stderr.")
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    mode: Mode,
    url: str | None,
    ca: Path | None,
    config: Path | None,
    state_dir: Path | None,
    verbose: bool,
    cmd: tuple[str, ...],
) -> None:
    """Start CMD so that its calls come through Headgate; end with its exit status.

    Uses the Headgate at --url. When none answers there and that is this machine, starts a private one for as long as
    CMD runs. Options of our own stand before `--`.
    """
    with plain_mistakes():
        told = settings.read(url=url, config=config, state_dir=state_dir)
        entrance = entrance_of(told)
    try:
        if told.environ.get(ACTIVE):
            _say(f"already inside `headgate run`: {_name(cmd)} starts as it is")
            become(cmd, told.environ)
        if is_headgate(entrance):
            environ = _environ(told, mode, entrance, ca)
            _say(f"{_name(cmd)} uses the Headgate at {entrance.url} ({_how(mode)})")
            become(cmd, environ)
        if not settings.is_loopback(entrance.host):
            _say(f"no Headgate answers at {entrance.url}")
            sys.exit(5)
        if ca is not None:
            raise click.UsageError(f"--ca is for a Headgate that runs, and none answers at {entrance.url}.")
        sys.exit(_with_companion(told, mode, verbose, cmd))
    except CannotStart as error:
        _say(str(error))
        sys.exit(error.status)
    except NotReady as error:
        _say(f"the private Headgate did not start:\n{error}")
        sys.exit(error.status)


def _with_companion(told: settings.Settings, mode: Mode, verbose: bool, cmd: tuple[str, ...]) -> int:
    arguments = ["--state-dir", str(told.state_dir)]
    if told.config is not None:
        arguments += ["--config", str(told.config)]
    with companion(arguments, told.environ, drain=told.drain, verbose=verbose) as started:
        entrance = parse_entrance(started.url)
        environ = _environ(told, mode, entrance, None)
        _say(f"{_name(cmd)} uses a private Headgate at {entrance.url} ({_how(mode)}); it stops with the command")
        return accompany(cmd, environ, on_child=_Mourner(started))


class _Mourner:
    """Says once that the private Headgate ended before the command."""

    def __init__(self, started: Companion) -> None:
        self._started = started
        self._said = False

    def __call__(self) -> None:
        status = self._started.process.poll()
        if status is not None and not self._said:
            self._said = True
            _say(f"the private Headgate has ended (status {status}); calls of the command fail from now on")


def _environ(told: settings.Settings, mode: Mode, entrance: Entrance, ca: Path | None) -> Mapping[str, str]:
    with plain_mistakes():
        found = worker_variables(told, mode, entrance, known_services(told), ca)
    return {**told.environ, **found, ACTIVE: entrance.url}


def _how(mode: Mode) -> str:
    return "base URLs set" if mode == "base-url" else "proxy variables and certificates set"


def _name(cmd: tuple[str, ...]) -> str:
    # The name alone: arguments may hold a secret.
    return os.path.basename(cmd[0])


def _say(line: str) -> None:
    click.echo(f"headgate: {line}", err=True)

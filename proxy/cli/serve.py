"""`headgate serve`: the proxy itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .mistakes import plain_mistakes

if TYPE_CHECKING:
    from ..app import App
    from ..settings import Settings


@click.command()
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[HEADGATE_CONFIG]")
@click.option("--listen", metavar="HOST:PORT", help="Where workers call [HEADGATE_LISTEN; 127.0.0.1:8080].")
@click.option("--admin", metavar="HOST:PORT", help="Health and metrics [HEADGATE_ADMIN; 127.0.0.1:9091].")
@click.option("--store", metavar="URL", help="redis://… shared by replicas, or memory [HEADGATE_STORE].")
@click.option("--fallback", is_flag=True, default=None, help="Serve on the embedded gate while the store is away.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="CA and bundles [HEADGATE_STATE_DIR].",
)
@click.option("--log-format", metavar="FORMAT", help="auto, json or console [HEADGATE_LOG_FORMAT].")
@click.option("--drain", type=float, metavar="SECONDS", help="From SIGTERM to the exit [HEADGATE_DRAIN; 30].")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Written, as JSON, once it serves.",
)
def command(
    config: Path | None,
    listen: str | None,
    admin: str | None,
    store: str | None,
    fallback: bool | None,
    state_dir: Path | None,
    log_format: str | None,
    drain: float | None,
    ready_file: Path | None,
) -> None:
    """Start the proxy.

    Exit codes: 0 after SIGTERM, 1 for a port or a certificate that cannot be used, 3 for a configuration that cannot,
    5 for a store that cannot be reached.
    """
    from .. import settings

    with plain_mistakes():
        told = settings.read(
            config=config,
            listen=listen,
            admin=admin,
            store=store,
            fallback=fallback,
            state_dir=state_dir,
            log_format=log_format,
            drain=drain,
        )
        sys.exit(_serve(told, ready_file))


def _serve(told: Settings, ready_file: Path | None) -> int:
    import asyncio
    import time

    import uvloop

    from rules.mistakes import ConfigInvalid

    from .. import log
    from ..app import AddressInUse, App, OpenToNetwork
    from ..reload import Reloader
    from ..store import StoreUnavailable

    if ready_file is not None:
        # what an earlier process said there is not true of this one
        with _writing(ready_file):
            ready_file.unlink(missing_ok=True)
    reloader = Reloader(told.config, told.environ, now=time.time)
    try:
        policy = reloader.load()
    except ConfigInvalid as error:
        for mistake in error.errors:
            click.echo(str(mistake), err=True)
        return 3
    call_log = log.set_up(told.log_format or policy.log_format, wall=time.time)

    async def main() -> None:
        app = App(told, reloader, call_log)
        reloader.on_policy = app.on_policy
        await app.run(lambda started: _announce(started, ready_file))

    try:
        with (
            _profile(told.environ.get("HEADGATE_PROFILE")),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(main())
    except OpenToNetwork as error:
        click.echo(f"headgate: {error}", err=True)
        return 3
    except AddressInUse as error:
        click.echo(f"headgate: {error}", err=True)
        return 1
    except StoreUnavailable as error:
        click.echo(f"headgate: {error}; start it, or serve without it by --fallback", err=True)
        return 5
    return 0


@contextmanager
def _profile(path: str | None) -> Iterator[None]:
    """Where a call's time goes: a cProfile dump at exit, for `make bench` (HEADGATE_PROFILE=FILE)."""
    if path is None:
        yield
        return
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(path)


def _announce(app: App, ready_file: Path | None) -> None:
    """Say where we are and what a worker sets; then write the ready-file, whole."""
    from ..onboarding import base_url_variables, parse_entrance, render

    url = app.proxy_address.url
    policy = app.policy
    lines = [f"headgate: workers call {url}", f"headgate: health and metrics at {app.admin_address.url}", ""]
    lines.append(render(base_url_variables(policy.services.values(), parse_entrance(url), {}), "sh"))
    lines += [
        "",
        "# or, for programs that take a proxy instead of a base URL:",
        '#   eval "$(headgate env --mode proxy)"',
    ]
    click.echo("\n".join(lines), err=True)
    if ready_file is not None:
        said = {"proxy": url, "admin": app.admin_address.url, "ca": str(app.authority.path)}
        partial = ready_file.with_name(ready_file.name + ".partial")
        with _writing(ready_file):
            partial.write_text(json.dumps(said))
            os.replace(partial, ready_file)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None

"""`headgate keys list|off|on`: how the keys of the pools stand, and taking one out by hand; asks a running Headgate."""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any

import click

from .. import settings
from ..onboarding import parse_entrance
from .mistakes import plain_mistakes

PATIENCE_S = 10.0
"""The admin port asks the store, which may take its time."""


@click.group()
def command() -> None:
    """How the keys of the pools stand, and turning one off or on by hand.

    Asks the admin port of a running Headgate. A key is named by what the configuration calls it, or by its whole id
    (NAME-xxxxxxxx). What is turned off stays off in all replicas until it is turned on, also over restarts where they
    share a store. HEADGATE_ADMIN_TOKEN is shown where it is set.

    Exit codes: 0 done, 1 refused (the reason is printed), 5 nobody answers.
    """


def _url(function: Any) -> Any:
    option = click.option("--url", metavar="URL", help="The admin port [HEADGATE_ADMIN; http://127.0.0.1:9091].")
    return option(function)


@command.command("list")
@_url
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, times in milliseconds.")
def list_keys(url: str | None, as_json: bool) -> None:
    """Every key: service, id, group, state, why, and until when."""
    said = _ask(url, "GET", "/api/keys", None)
    click.echo(json.dumps(said, indent=2) if as_json else _table(said["keys"]))
    if said["degraded"] and not as_json:
        click.echo("The store is away: this is what the Headgate that answered knows.", err=True)


@command.command()
@click.argument("key")
@click.option("--service", metavar="NAME", help="Of which service, where several have a key of this name.")
@_url
def off(key: str, service: str | None, url: str | None) -> None:
    """Take a key out until it is turned on."""
    _turn("off", key, service, url)


@command.command()
@click.argument("key")
@click.option("--service", metavar="NAME", help="Of which service, where several have a key of this name.")
@_url
def on(key: str, service: str | None, url: str | None) -> None:
    """Let a key serve at once, whatever it rested for."""
    _turn("on", key, service, url)


def _turn(how: str, key: str, service: str | None, url: str | None) -> None:
    said = _ask(url, "POST", f"/api/keys/{how}", {"key": key, "service": service})
    click.echo(_table(said["keys"]))
    if said["degraded"]:
        click.echo("The store is away: the other replicas are told when it is back.", err=True)


def _ask(url: str | None, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """The answer's JSON. Ends the program where there is none, or it is a refusal."""
    with plain_mistakes():
        told = settings.read()
        entrance = parse_entrance(url or told.admin.url)
    fields = {"Content-Type": "application/json"}
    if told.admin_token is not None:
        fields["Authorization"] = f"Bearer {told.admin_token}"
    connection = http.client.HTTPConnection(entrance.host, entrance.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        reply = connection.getresponse()
        said = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        click.echo(f"headgate: no Headgate answers at {entrance.url}", err=True)
        sys.exit(5)
    finally:
        connection.close()
    if reply.status != 200 or not isinstance(said, dict) or "keys" not in said:
        reason = said.get("error", f"it answers {reply.status}") if isinstance(said, dict) else "it is no Headgate"
        click.echo(f"headgate: {reason}", err=True)
        sys.exit(1)
    return said


def _table(keys: list[dict[str, Any]]) -> str:
    if not keys:
        return "no pool has a key"
    rows = [("SERVICE", "KEY", "GROUP", "STATE", "WHY")]
    for one in keys:
        rows.append((one["service"], one["key"], one["group"], one["state"], _why(one)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*[cell.ljust(width) for cell, width in zip(row, widths, strict=False)], row[4]]).rstrip()
        for row in rows
    )


def _why(one: dict[str, Any]) -> str:
    if one["state"] == "active":
        return f"reserved for {', '.join(one['reserve_for'])}" if one["reserve_for"] else ""
    said = f"{one['reason']}, for {_span(one['age_ms'])} now"
    if one["for_ms"] is None:
        return said
    if one["tries"]:
        when = f"in {_span(one['for_ms'])}" if one["for_ms"] else "next"
        return f"{said}; a call tries it {when}"
    return f"{said}; back in {_span(one['for_ms'])}"


def _span(ms: int) -> str:
    seconds = -(-ms // 1000)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"

"""`headgate explain METHOD URL`: what would happen to a call, and why; nothing is sent, charged or held."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .. import settings
from .mistakes import plain_mistakes

if TYPE_CHECKING:
    from rules.policy import Policy, Service
    from rules.verdict import Charge, Explained, Room

    from ..errors import Problem
    from ..outlook import Outlook, Question

STORE_TRY = 2.0
"""Seconds for one try: a person asks, and no call waits behind."""


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("--body", type=click.File("rb"), metavar="FILE", help="The body, to be counted; - reads it from stdin.")
@click.option("--model", metavar="NAME", help="The model, where no --body names it.")
@click.option("--user", metavar="USER", help="As X-Headgate-User.")
@click.option("--client", metavar="NAME", help="A client of the configuration [a caller on this machine].")
@click.option("--tier", metavar="TIER", help="As X-Headgate-Tier.")
@click.option("--priority", metavar="0-9", help="As X-Headgate-Priority.")
@click.option("--max-wait", metavar="TIME", help="As X-Headgate-Max-Wait: 30s, 500ms, 0.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[HEADGATE_CONFIG]")
@click.option("--store", metavar="URL", help="redis://… whose use is looked at [HEADGATE_STORE].")
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object, times in milliseconds.")
def command(
    method: str,
    url: str,
    body: IO[bytes] | None,
    model: str | None,
    user: str | None,
    client: str | None,
    tier: str | None,
    priority: str | None,
    max_wait: str | None,
    config: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Say what would happen to a call: service, cost, limits with their room, key, verdict, wait.

    URL is the provider's, or the path of a reverse call such as /openai/v1/models. Nothing is sent, charged or held.

    Exit codes: 0 whatever the verdict, 2 for a flag that cannot be read, 3 for a configuration that cannot be used,
    5 for a store that cannot be reached.
    """
    if body is not None and model is not None:
        raise click.UsageError("--model is for a call without --body: a body names its model itself.")
    from rules.mistakes import ConfigInvalid

    from ..configfile import find, load
    from ..outlook import Question
    from ..store import StoreUnavailable

    with plain_mistakes():
        told = settings.read(config=config, store=store)
        try:
            policy = load(find(told.config), told.environ).policy
        except ConfigInvalid as error:
            for mistake in error.errors:
                click.echo(str(mistake), err=True)
            sys.exit(3)
        question = Question(
            method=method,
            url=url,
            body=body.read() if body is not None else b"",
            model=model,
            client=client,
            user=user,
            tier=tier,
            priority=priority,
            max_wait=max_wait,
        )
        try:
            account = _account(question, told, policy)
        except StoreUnavailable as error:
            click.echo(f"headgate: {error}", err=True)
            sys.exit(5)
    click.echo(json.dumps(account, indent=2) if as_json else "\n".join(_lines(account)))


def _account(question: Question, told: settings.Settings, policy: Policy) -> dict[str, Any]:
    """Everything there is to say, as JSON has it."""
    import asyncio
    import time

    from .. import outlook
    from ..errand import in_force
    from ..errors import Problem
    from ..gate import Gate
    from ..redis_host import RedisHost

    url = told.store or policy.store
    host = RedisHost(url, try_timeout=STORE_TRY) if url != "memory" else None

    async def ask() -> Outlook | Problem:
        gate = Gate(now_ms=lambda: time.time() * 1000, store=host)
        try:
            await gate.start()
            return await outlook.ask(question, in_force(policy, loopback_only=told.listen.loopback), gate)
        except Problem as problem:
            return problem
        finally:
            await gate.close()

    found = asyncio.run(ask())
    where = {"store": host.address if host is not None else "memory"}
    return where | (_refused(found) if isinstance(found, Problem) else _told(found))


def _refused(problem: Problem) -> dict[str, Any]:
    message = problem.message
    if problem.code in ("client_unknown", "proxy_auth_required"):
        message = "this call needs a client's token; name a client with --client"
    return {"verdict": "refuse", "status": problem.status, "code": problem.code, "message": message}


def _told(found: Outlook) -> dict[str, Any]:
    identity, service, said = found.identity, found.service, found.said
    who = {"client": identity.client, "user": identity.user, "tier": identity.tier, "priority": identity.priority}
    if service is None or said is None or found.endpoint is None:
        return {"service": None, **who, "verdict": "pass"}
    account = {
        "service": service.name,
        "mode": service.mode,
        "endpoint": found.endpoint.name,
        "model": found.model,
        **who,
        "cost": {meter: _tidy(amount) for meter, amount in found.costs.items()},
        "uncounted": found.uncounted,
        "unpriced": found.unpriced,
        "told_late": found.told_late,
        "keys": "pool" if service.pooled else "caller",
        "waiting": said.waiting,
        "limits": [_limit(room) for room in said.rooms],
        **_verdict(service, said),
    }
    if found.enforced is not None:
        account["enforced"] = _verdict(service, found.enforced)
        account["limits"] = [_limit(room) for room in found.enforced.rooms]
    return account


def _limit(room: Room) -> dict[str, Any]:
    charge = room.charge
    return {
        "limit": charge.limit.name,
        "amount": _natural(room.amount, charge),
        "used": _natural(room.used, charge),
        "room": _natural(room.room, charge),
        "takes": _natural(charge.cost, charge),
        "ahead": _natural(room.ahead, charge),
        "fits_ms": room.fits_ms,
        "paced": room.paced,
    }


def _natural(units: int, charge: Charge) -> float:
    return _tidy(units / charge.limit.scale)


def _tidy(amount: float) -> float:
    amount = round(float(amount), 9)  # a USD is counted in hundred-millionths
    return int(amount) if amount.is_integer() else amount


def _verdict(service: Service, said: Explained) -> dict[str, Any]:
    from rules.verdict import Refuse

    from ..refusal import problem_of

    limit = said.binds.limit if said.binds is not None else None
    out: dict[str, Any] = {
        "verdict": said.verdict,
        "wait_ms": said.wait_ms,
        "key": said.key,
        "group": said.group,
        "rests_ms": said.rests_ms,
        "binds": limit.name if limit is not None else None,
    }
    if said.code is not None:
        problem = problem_of(service, Refuse(code=said.code, limit=limit, retry_after_ms=said.wait_ms), 0)
        out |= {"status": problem.status, "code": problem.code, "message": problem.message}
    return out


# text


def _lines(account: dict[str, Any]) -> list[str]:
    rows = []
    if "client" in account:
        if account["service"] is None:
            rows.append(("service", "none: the host is not in the catalogue"))
        else:
            rows.append(("service", f"{account['service']}, endpoint {account['endpoint']}, mode {account['mode']}"))
        tier = f", tier {account['tier']}" if account["tier"] is not None else ""
        rows.append(("caller", f"{account['client']}, user {account['user']}{tier}"))
    if account.get("model") is not None:
        rows.append(("model", account["model"]))
    if account.get("cost"):
        costs = ", ".join(f"{_number(amount)} {meter}" for meter, amount in account["cost"].items())
        without = "; what that costs in usd is not known: the model has no price" if account["unpriced"] else ""
        if account["told_late"]:
            without = f"; what that costs in usd is known when the reply tells its {account['told_late']}"
        rows.append(("cost", costs + (" (without --body no tokens are counted)" if account["uncounted"] else without)))
    if account["store"] == "memory":
        rows.append(("store", "memory: nothing is in use; --store shows what those who share one have used"))
    else:
        waiting = f", {account['waiting']} waiting" if "waiting" in account else ""
        rows.append(("store", f"Redis at {account['store']}{waiting}"))
    rows += [("limit", _limit_text(limit)) for limit in account.get("limits", ())]
    if account.get("key") is not None:
        if account["keys"] == "pool":
            rows.append(("key", f"{account['key']}, group {account['group']}"))
        else:
            rows.append(("key", "the caller's own; what it has used is not known here"))
    rows.append(("verdict", _verdict_text(account, account)))
    if "enforced" in account:
        rows.append(("enforced", _verdict_text(account["enforced"], account)))
    return [f"{name:9} {text}" for name, text in rows]


def _limit_text(limit: dict[str, Any]) -> str:
    ahead = f", {_number(limit['ahead'])} go first" if limit["ahead"] else ""
    if limit["fits_ms"] == 0:
        fits = "fits now"
    elif limit["fits_ms"] is not None:
        fits = f"fits in {_seconds(limit['fits_ms'])}{' by its pace' if limit['paced'] else ''}"
    else:
        fits = "never fits" if limit["takes"] > limit["amount"] else "fits when a call in flight ends"
    used = f"{_number(limit['used'])} of {_number(limit['amount'])} used"
    return f"{limit['limit']}: {used}, takes {_number(limit['takes'])}{ahead}, {fits}"


def _number(amount: float) -> str:
    """Never in the form 2.5e-06, which few read at a glance."""
    return f"{amount:.9f}".rstrip("0").rstrip(".") if abs(amount) < 0.001 else f"{amount:.15g}"


def _verdict_text(said: dict[str, Any], account: dict[str, Any]) -> str:
    verdict, wait = said["verdict"], said.get("wait_ms")
    if verdict == "pass":
        return "pass: no key is put in and nothing is counted"
    if verdict == "refuse":
        return f"refuse, {said['status']} {said['code']}: {said['message']}"
    if verdict == "go":
        why = {"observe": " (observed: counted, never held)", "off": " (off: nothing is counted)"}
        return "go now" + (why.get(account["mode"], "") if said is account else "")
    if said["rests_ms"]:
        what = f" while key {said['key']} rests"
    else:
        what = f" for {said['binds']}" if said["binds"] is not None else " for those that are due before it"
    if wait is None:
        return f"wait{what}, until a call in flight ends"
    return f"wait {_seconds(wait)}{what}"


def _seconds(ms: int) -> str:
    return f"{math.ceil(ms / 100) / 10:.1f} s"

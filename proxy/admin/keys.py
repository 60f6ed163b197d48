"""`/api/keys`: how the keys of the pools stand, and turning one off or on by hand.

Law: keys are named, never shown. What is said is what the store knows at that moment, not what this replica remembers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

import orjson
from aiohttp import web

from rules.plan import key_scope
from rules.policy import Key, Service

from ..gate import Gate
from ..keyring import Keyring
from ..store import StoreUnavailable


class KeyRoutes:
    """The handlers."""

    def __init__(self, keyring: Keyring, gate: Gate) -> None:
        self._keyring = keyring
        self._gate = gate

    def routes(self) -> list[web.AbstractRouteDef]:
        """For the admin port's application."""
        return [
            web.get("/api/keys", self._list),
            web.post("/api/keys/off", self._turning(on=False)),
            web.post("/api/keys/on", self._turning(on=True)),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        found = []
        try:
            for service in self._keyring.pools().values():
                await self._gate.look_at_rests(service.name)
                found += self._told(service)
        except StoreUnavailable as error:
            return _refused(503, str(error))
        return web.json_response({"keys": found, "degraded": self._gate.degraded})

    def _told(self, service: Service, only: str | None = None) -> list[dict[str, object]]:
        return [
            {"service": service.name, **asdict(status)}
            for status in self._keyring.statuses(service)
            if only is None or status.key == only
        ]

    def _turning(self, *, on: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def turn(request: web.Request) -> web.Response:
            try:
                asked = orjson.loads(await request.read())
            except orjson.JSONDecodeError:
                asked = None
            name = asked.get("key") if isinstance(asked, dict) else None
            of = asked.get("service") if isinstance(asked, dict) else None
            if not isinstance(name, str) or not isinstance(of, str | None):
                return _refused(400, 'say which: {"key": NAME, "service": SERVICE}; the service may be left out')
            matches = self._matches(name, of)
            if not matches:
                return _refused(404, "no pool has a key of this name")
            if len(matches) > 1:
                named = ", ".join(f"{key.id} of {service.name}" for service, key in matches)
                return _refused(409, f"several keys have this name: {named}")
            ((service, key),) = matches
            try:
                await self._gate.look_at_rests(service.name)
                # a key that is to serve must not rest with its group either
                for scope in self._keyring.scopes(service, key) if on else [key_scope(key.id)]:
                    await self._gate.turn(service.name, scope, on=on)
                await self._gate.look_at_rests(service.name)
            except StoreUnavailable as error:
                return _refused(503, str(error))
            return web.json_response({"keys": self._told(service, key.id), "degraded": self._gate.degraded})

        return turn

    def _matches(self, name: str, of: str | None) -> list[tuple[Service, Key]]:
        """Keys of that id; else of that name."""
        every = [(s, key) for s in self._keyring.pools().values() if of in (None, s.name) for key in s.keys]
        exact = [pair for pair in every if pair[1].id == name]
        return exact or [pair for pair in every if pair[1].id.rpartition("-")[0] == name]


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)

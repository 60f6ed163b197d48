"""Who may ask the admin port for more than health and metrics: everything under `/api/` (threats J2).

Law: a page in a browser can neither read nor change anything here, whatever name it reached us by; what changes
something needs the token where others than this machine could ask for it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from ..settings import is_loopback

_READS = ("GET", "HEAD")


def guard(token: str | None, own_host: str) -> Middleware:
    """Judges a request for `/api/` before its handler sees it. `token`: what Authorization must bear; None: nothing,
    and then only this machine may change anything. `own_host`: the name we listen on."""

    @web.middleware
    async def judge(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        found = _refusal(request, token, own_host) if request.path.startswith("/api/") else None
        if found is None:
            return await handler(request)
        status, reason = found
        return web.json_response({"error": reason}, status=status)

    return judge


def _refusal(request: web.Request, token: str | None, own_host: str) -> tuple[int, str] | None:
    """Status and reason; None: go on."""
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        return 403, "pages of a browser have no business here"
    if not _is_ours(request.headers.get("Host", ""), own_host):
        return 403, "ask by address, or by the name this Headgate listens on"
    changes = request.method not in _READS
    if token is not None:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), token.encode()):
            return 401, "show the token: Authorization: Bearer, and what HEADGATE_ADMIN_TOKEN says there"
    elif changes and not is_loopback(request.remote or ""):
        return 403, "where HEADGATE_ADMIN_TOKEN is not set, only the machine itself may change anything"
    if changes and request.content_type != "application/json":
        return 415, "send application/json"
    return None


def _is_ours(host: str, own_host: str) -> bool:
    """An address is nobody else's name; of names only our own will do, or another site's could lead here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == own_host.lower() or is_loopback(name) or bool(ipaddress.ip_address(name))
    except ValueError:
        return False

"""Who is calling: a token becomes a client, a user and a tier (design 4.1).

Tokens are compared by their SHA-256: the digest of what was presented is looked up, so the time taken says nothing
about the token itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from rules.policy import ClientToken, Policy

from .credentials import basic_pair
from .errors import Problem
from .head import NO_CONTROL, Control
from .websocket import SUBPROTOCOLS, subprotocols

ANONYMOUS = "anonymous"
MAX_USER = 256

# Where SDKs put the key they were given (design 4.1, provider-facts 1.2).
_KEY_FIELDS = frozenset((b"x-api-key", b"api-key", b"x-goog-api-key", b"xi-api-key"))
_SCHEMES = (b"bearer ", b"token ")
# Of a WebSocket that a browser opens: beside the subprotocol `realtime` (openai-node, realtime/websocket.ts).
_IN_SUBPROTOCOL = b"openai-insecure-api-key."
_MAY_EVERYTHING = frozenset(("user", "tier", "priority"))


@dataclass(frozen=True, slots=True)
class Identity:
    """The authenticated caller of one call."""

    client: str
    user: str
    tier: str | None
    priority: int
    weight: float = 1.0
    """Of the tier (limiter.md 9)."""
    token: bytes | None = None
    """The token that was recognised as ours: it must not go upstream in any place."""

    def __repr__(self) -> str:
        return f"<Identity {self.client}>"


def is_loopback(peer: str) -> bool:
    """Whether the other end of the connection is this machine."""
    return peer == "::1" or peer.startswith(("127.", "::ffff:127."))


def presented_keys(fields: Iterable[tuple[bytes, bytes]], query: str) -> list[bytes]:
    """The credentials a client put where it would put an API key, outermost first."""
    found = []
    for name, value in fields:
        lower = name.lower()
        if lower == b"authorization":
            head = value[:7].lower()
            for scheme in _SCHEMES:
                if head.startswith(scheme):
                    found.append(value[len(scheme) :].strip())
            if head.startswith(b"basic ") and (pair := basic_pair(value)) is not None:
                # Stripe's form: the key is the user name, the password empty (provider-facts 1.2)
                found += [part for part in pair if part]
        elif lower in _KEY_FIELDS:
            found.append(value.strip())
        elif lower == SUBPROTOCOLS:
            offered = subprotocols(value)
            found += [name.removeprefix(_IN_SUBPROTOCOL) for name in offered if name.startswith(_IN_SUBPROTOCOL)]
    if "key=" in query:
        found += [unquote_to_bytes(part[4:]) for part in query.split("&") if part.startswith("key=")]
    return found


def proxy_credentials(fields: Iterable[tuple[bytes, bytes]]) -> tuple[str, bytes] | None:
    """Name and token of Proxy-Authorization; None where there is none, or none that we can read: an unknown caller."""
    for name, value in fields:
        if len(name) == 19 and name.lower() == b"proxy-authorization" and (pair := basic_pair(value)) is not None:
            return pair[0].decode("ascii", "replace"), pair[1]
    return None


def from_web_page(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser sent this for a page: Origin (Fetch standard, any POST) or Sec-Fetch-Site (any request).

    A page may send to 127.0.0.1 without asking anybody. No SDK sends either field outside a browser.
    """
    return any(len(name) in (6, 14) and name.lower() in (b"origin", b"sec-fetch-site") for name, _ in fields)


class Doorman:
    """Knows the clients of one policy."""

    def __init__(self, policy: Policy) -> None:
        self._anonymous = policy.clients.anonymous
        self._by_digest = {client.token_sha256: client for client in policy.clients.tokens}
        self._tiers = policy.tiers

    def identify(
        self,
        *,
        peer: str,
        keys: Sequence[bytes],
        proxy: tuple[str, bytes] | None,
        control: Control = NO_CONTROL,
        through_proxy: bool,
        web_page: bool = False,
    ) -> Identity:
        """The caller. `through_proxy` says which status an unknown one gets: 407, or 401. `web_page`: a browser sends
        the call for some page, which must not spend the pool just because it is open on this machine.

        Raises Problem: client_unknown, proxy_auth_required, page_denied, control_denied.
        """
        local = is_loopback(peer)
        client, token = self._find(keys, proxy)
        if client is None:
            if not (self._anonymous == "everyone" or (self._anonymous == "loopback" and local)):
                if through_proxy:
                    raise Problem("proxy_auth_required", "send a client token as proxy credentials", close=True)
                raise Problem("client_unknown", "no client has this token")
            if web_page:
                raise Problem("page_denied", "a web page needs a client token of its own")
            # as long as X-Headgate-User may be: a name in a proxy URL can fill a whole field
            name = proxy[0][:MAX_USER] if proxy is not None and proxy[0] else peer
            user = control.user or name
            self._check_allowed(control, _MAY_EVERYTHING if local else frozenset(("user",)))
            tier = self._tier(control.tier)
            return Identity(ANONYMOUS, user, tier, control.priority or 0, self._weight(tier))
        return self._known(client, control, token)

    def named(self, name: str, control: Control) -> Identity | None:
        """The client of that name, as if it had shown its token; None: nobody is called so. Raises Problem:
        control_denied, bad_control_header."""
        client = next((client for client in self._by_digest.values() if client.name == name), None)
        return self._known(client, control, None) if client is not None else None

    def _known(self, client: ClientToken, control: Control, token: bytes | None) -> Identity:
        self._check_allowed(control, frozenset(client.may_set))
        tier = self._tier(control.tier) if control.tier is not None else client.tier
        user = control.user or client.user or client.name
        return Identity(client.name, user, tier, control.priority or 0, self._weight(tier), token)

    def _find(self, keys: Sequence[bytes], proxy: tuple[str, bytes] | None) -> tuple[ClientToken | None, bytes | None]:
        if not self._by_digest:
            return None, None
        if proxy is not None:
            client = self._by_digest.get(hashlib.sha256(proxy[1]).digest())
            # right token under another client's name: treated as wrong (threats E6)
            if client is not None and proxy[0] in ("", client.name):
                return client, proxy[1]
        for key in keys:
            client = self._by_digest.get(hashlib.sha256(key).digest())
            if client is not None:
                return client, key
        return None, None

    def _check_allowed(self, control: Control, may_set: frozenset[str]) -> None:
        if control is NO_CONTROL:
            return
        for name, value in (("user", control.user), ("tier", control.tier), ("priority", control.priority)):
            if value is not None and name not in may_set:
                raise Problem("control_denied", f"this client may not set X-Headgate-{name.capitalize()}")

    def _weight(self, tier: str | None) -> float:
        return self._tiers.get(tier, 1.0) if tier is not None else 1.0

    def _tier(self, name: str | None) -> str | None:
        if name is not None and name not in self._tiers:
            raise Problem("bad_control_header", "X-Headgate-Tier names no tier of the configuration")
        return name

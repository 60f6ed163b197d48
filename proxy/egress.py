"""Hosts outside the catalogue: which may be reached, and on which port.

Names and ports are decided here on the request's own authority; the address that is dialled is checked again in
`addresses` (threats C). Only the operator's explicit `egress.addresses` leads inside.
"""

from __future__ import annotations

from rules.policy import Egress as Rules

from .errors import Problem
from .head import Authority
from .upstream import Target


class Egress:
    """The egress rules of one policy."""

    def __init__(self, rules: Rules, *, loopback_only: bool) -> None:
        # a proxy that only this machine can reach gives nobody a way out he did not have (design 4.1)
        allow = rules.allow if rules.allow is not None else (("*",) if loopback_only else ())
        self._everything = "*" in allow
        self._names = frozenset(name.lower() for name in allow if not name.startswith("*"))
        self._suffixes = tuple(name[1:].lower() for name in allow if name.startswith("*."))
        self._ports = frozenset(rules.ports) | {port for _, port in rules.addresses}

    def target(self, authority: Authority, scheme: str) -> Target:
        """Where to dial. Raises Problem: host_denied, port_denied."""
        host = authority.host
        if not (self._everything or host in self._names or host.endswith(self._suffixes or ("\0",))):
            raise Problem(
                "host_denied", "this host is neither in the catalogue nor allowed by egress.allow", close=True
            )
        if authority.port not in self._ports:
            raise Problem("port_denied", "this port is not in egress.ports", close=True)
        return Target(scheme=scheme, host=host, port=authority.port, connect_to=None, ca=None, checked=True)

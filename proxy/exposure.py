"""Which policies may be in force on an address that others can reach (design 4.1). No I/O."""

from __future__ import annotations

from rules.policy import Policy

from .settings import Address


def objection(listen: Address, policy: Policy) -> str | None:
    """Why the policy may not come into force for whoever reaches `listen`, and what to do; None: it may."""
    everyone = policy.clients.anonymous == "everyone"
    if listen.loopback:
        return None
    if everyone and "*" in (policy.egress.allow or ()):
        return (
            f"{listen} can be reached from the network, and would lead everyone everywhere; name the hosts in"
            " egress: {allow: …}, or write clients: {anonymous: nobody}"
        )
    if policy.clients.tokens or everyone:
        return None
    return (
        f"{listen} can be reached from the network, and no clients are configured; give them tokens"
        " (clients: {tokens: …}), listen on 127.0.0.1, or write clients: {anonymous: everyone}"
    )

"""What one call carries through the corridor: the policy in force, whose service it is for, what was learned of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from rules.match import Matcher
from rules.meters.estimate import Estimate
from rules.policy import Endpoint, Policy, Service

from .call import Call
from .clients import ANONYMOUS, Doorman, Identity, from_web_page, presented_keys, proxy_credentials
from .credentials import signer
from .egress import Egress
from .errors import Problem
from .head import Authority, Head
from .log import Record

# 64 KiB are 60 us of BLAKE2b.
_HASHED_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy and what was built from it; swapped whole at reload, so that a call sees one policy at a time. A call
    that waits moves to the new one (`Exchange._plan`)."""

    policy: Policy
    matcher: Matcher
    doorman: Doorman
    egress: Egress


def in_force(policy: Policy, *, loopback_only: bool) -> InForce:
    """A policy with what calls ask of it. `loopback_only`: nobody but this machine reaches us."""
    return InForce(
        policy=policy,
        matcher=Matcher(policy),
        doorman=Doorman(policy),
        egress=Egress(policy.egress, loopback_only=loopback_only),
    )


def fingerprint(head: Head, body: bytes) -> str:
    """A hash of what a call asks for: 12 hex digits. The same request sent again has the same one.

    Of a large body the two ends and the length, because this runs on the loop.
    """
    hashed = hashlib.blake2b(digest_size=6)
    for part in (head.method.encode(), head.target.encode("ascii", "replace"), b"%d" % len(body)):
        hashed.update(part + b"\n")
    if len(body) <= 2 * _HASHED_BYTES:
        hashed.update(body)
    else:
        hashed.update(body[:_HASHED_BYTES] + body[-_HASHED_BYTES:])
    return hashed.hexdigest()


def service_of(head: Head, matcher: Matcher) -> Service | None:
    """The service a call is for; None: a host outside the catalogue. Raises Problem: service_unknown, port_denied."""
    if head.entrance == "reverse":
        service = matcher.by_name(head.service or "")
        if service is None:
            raise Problem("service_unknown", "the first path segment must name a service, as in /openai/v1/models")
        if service.upstream is None and service.hosts[0].startswith("*."):
            raise Problem("service_unknown", f"{service.name} has no host of its own: give it an upstream")
        return service
    assert head.authority is not None
    service = matcher.by_host(head.authority.host)
    if service is not None and head.authority.port not in (80, 443):
        raise Problem("port_denied", "a service is reached on ports 80 and 443 only", close=True)
    return service


def is_intercepted(authority: Authority, matcher: Matcher) -> bool:
    """Whether a tunnel there is decrypted: it leads to a service of ours."""
    return authority.port == 443 and matcher.by_host(authority.host) is not None


def identity_of(call: Call, rules: InForce) -> Identity:
    """Who is calling. Raises Problem as Doorman.identify does."""
    head = call.head
    proxy = proxy_credentials(call.proxy_fields if call.bound is not None else head.fields)
    unnamed = head.entrance == "connect" and proxy is None
    if unnamed and head.authority is not None and is_intercepted(head.authority, rules.matcher):
        # the decrypted calls carry a token of their own and are judged one by one
        return Identity(ANONYMOUS, call.peer, None, 0)
    return rules.doorman.identify(
        peer=call.peer,
        keys=presented_keys(head.fields, head.target.partition("?")[2]),
        proxy=proxy,
        control=head.control,
        through_proxy=head.entrance in ("forward", "connect"),
        # a page that goes through a proxy on purpose is the browser's own traffic
        web_page=head.entrance == "reverse" and from_web_page(head.fields),
    )


def host_of(service: Service, authority: Authority | None) -> str:
    """Where a call of the service goes. `authority`: whom the client asked for, if anybody."""
    if authority is not None:
        return authority.host
    return service.upstream.host if service.upstream is not None else service.hosts[0]


@dataclass(slots=True)
class Errand:
    """A call with its caller, its service and what was learned on the way."""

    call: Call
    record: Record
    rules: InForce
    identity: Identity
    service: Service
    endpoint: Endpoint
    authority: Authority | None
    """Whom the client asked for; None for a reverse call."""
    body: bytes | None = None
    """None: not read; it is streamed, and the call can be sent once only."""
    count: Estimate | None = None
    again: str = ""
    """What the call is known by when it comes back after a refusal (`fingerprint`); empty: nothing."""
    named_model: str | None = None
    """The model that the target of a WebSocket names."""
    asked_usage: bool = False
    """The body was edited: a stream will hold usage that the client did not ask for, and must not see."""

    @property
    def pooled(self) -> bool:
        """The call leaves with a key of the pool: there is one, and the call is not signed."""
        return self.service.pooled and signer(self.service.credential, self.call.head.fields) is None

    @property
    def model(self) -> str | None:
        """The model the body names, where the body was read, or a WebSocket's target."""
        return self.count.model if self.count is not None else self.named_model

    def follow(self, rules: InForce) -> None:
        """Another policy is in force: the call goes on by its service and endpoint of the same names.

        It stays with the old one where the new knows no such service, or no longer as the owner of the host that was
        asked for: a place that is not the service's gets no key of it.
        """
        if rules is self.rules:
            return
        name, asked, head = self.service.name, self.authority, self.call.head
        service = rules.matcher.by_host(asked.host) if asked is not None else rules.policy.services.get(name)
        if service is not None and service.name == name:
            self.rules, self.service = rules, service
            self.endpoint = rules.matcher.endpoint(service, head.method, head.target)

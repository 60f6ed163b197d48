"""What would happen to a call, without making it (limiter.md 11): steps 2 to 4 of the corridor, in the same rooms.

Law: nothing is judged here that another room judges, and nothing is charged, sent or remembered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rules.plan import plan
from rules.policy import Endpoint, ReplyTells, Service
from rules.verdict import Explained, Refuse

from .clients import Identity
from .counting import count_of
from .errand import InForce, fingerprint, host_of, service_of
from .gate import Gate
from .head import Head, read_head
from .measure import METERED_BYTES, facts_of, is_metered
from .settings import is_loopback

_PEER = "127.0.0.1"
"""Where a caller without a name is taken to call from: this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A call as a worker would make it."""

    method: str
    url: str
    """The provider's URL, the path of a reverse call (`/openai/v1/models`), or a reverse call's whole URL here."""
    body: bytes = b""
    model: str | None = None
    """What the body would name, where there is none."""
    client: str | None = None
    """A client of the configuration; None: a caller on this machine without a token."""
    user: str | None = None
    tier: str | None = None
    priority: str | None = None
    max_wait: str | None = None
    """As in the X-Headgate- field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would happen."""

    identity: Identity
    service: Service | None
    """None: the call is for another host, which it may reach; it gets no key, and nothing is counted."""
    endpoint: Endpoint | None = None
    model: str | None = None
    uncounted: bool = False
    """A body of this endpoint would be counted, and none was given."""
    costs: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unpriced: bool = False
    """What it would cost in money is not known."""
    told_late: ReplyTells | None = None
    """That, but the reply will tell: by its cost, or by its model."""
    said: Explained | None = None
    enforced: Explained | None = None
    """Of a service that is only observed: what it would say if it were enforced."""


@dataclass(frozen=True, slots=True)
class _Typed:
    """The head a worker's HTTP library would have sent."""

    method: str
    path: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    version: tuple[int, int] = (1, 1)
    upgrade: bool = False


async def ask(question: Question, rules: InForce, gate: Gate) -> Outlook:
    """Raises ValueError for a URL that is none or a client nobody knows, Problem with the answer such a call would get
    before it comes to the gate, and StoreUnavailable."""
    head = _head(question, rules)
    identity = _identify(question, head, rules)
    service = service_of(head, rules.matcher)
    if service is None:
        assert head.authority is not None
        rules.egress.target(head.authority, head.scheme)
        return Outlook(identity=identity, service=None)
    endpoint = rules.matcher.endpoint(service, head.method, head.target)
    model, count, body = None, None, question.body
    metered = is_metered(service, endpoint)
    if metered:
        if 0 < len(body) <= METERED_BYTES:
            count = count_of(body, head, service, endpoint)
        model = count.model if count is not None else question.model
    price = service.prices.of(service.deployments.get(model or "", model), host_of(service, head.authority))
    facts = facts_of(
        rules.matcher,
        head,
        identity,
        service,
        endpoint,
        model=model,
        price=price,
        count=count,
        length=len(body),
        again=fingerprint(head, body),
    )
    wish = plan(facts)
    enforced = None
    if isinstance(wish, Refuse):
        said = Explained(verdict="refuse", code=wish.code)
    else:
        said = await gate.explain(wish)
        if service.mode == "observe":
            enforced = await gate.explain(dataclasses.replace(wish, observe=False))
    return Outlook(
        identity=identity,
        service=service,
        endpoint=endpoint,
        model=model,
        uncounted=metered and not body,
        costs=facts.costs,
        unpriced=facts.unpriced,
        told_late=service.reply_tells if price is None and "usd" in facts.costs else None,
        said=said,
        enforced=enforced,
    )


def _head(question: Question, rules: InForce) -> Head:
    url = question.url
    if not url.startswith(("/", "http://", "https://")) or not url.isprintable() or " " in url:
        raise ValueError("URL must be the provider's, such as https://api.openai.com/v1/models, or /openai/v1/models")
    host = urlsplit(url).hostname
    if host is not None and not url.startswith("/") and is_loopback(host) and rules.matcher.by_host(host) is None:
        # a worker's base URL here: what stands behind the address
        url = "/" + url.split("/", 3)[3] if url.count("/") > 2 else "/"
    control = {
        b"X-Headgate-User": question.user,
        b"X-Headgate-Tier": question.tier,
        b"X-Headgate-Priority": question.priority,
        b"X-Headgate-Max-Wait": question.max_wait,
    }
    fields = [(name, value.encode()) for name, value in control.items() if value is not None]
    if url.startswith("/"):
        fields.append((b"Host", b"localhost"))
    return read_head(_Typed(question.method.upper(), url, tuple(fields)))


def _identify(question: Question, head: Head, rules: InForce) -> Identity:
    if question.client is None:
        return rules.doorman.identify(
            peer=_PEER, keys=(), proxy=None, control=head.control, through_proxy=head.entrance == "forward"
        )
    identity = rules.doorman.named(question.client, head.control)
    if identity is None:
        raise ValueError("--client: the configuration knows no client of this name")
    return identity

"""The providers of a test session: one CA, one TLS server for each, and OpenAI once more without TLS."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from . import anthropic, openai, reddit
from .standin import Answer, StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """`ca` is the PEM file of the authority that signed them all."""

    ca: Path
    openai: StandIn
    anthropic: StandIn
    reddit: StandIn
    plain_openai: StandIn
    plain_anthropic: StandIn

    def forget(self) -> None:
        """Start a test with nothing seen."""
        for standin in (self.openai, self.anthropic, self.reddit, self.plain_openai, self.plain_anthropic):
            standin.forget()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Providers]:
    """All providers, until the block ends."""
    authority = trustme.CA()
    ca = directory / "upstream-ca.pem"
    authority.cert_pem.write_to_path(str(ca))

    def secured(host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The loopback names are for clients that come directly, and through a blind tunnel.
        authority.issue_cert(host, "localhost", "127.0.0.1").configure_cert(context)
        return context

    with contextlib.ExitStack() as stack:

        def start(answer: Answer, host: str | None = None) -> StandIn:
            return stack.enter_context(StandIn(answer, context=secured(host) if host else None))

        yield Providers(
            ca=ca,
            openai=start(openai.answer, "api.openai.com"),
            anthropic=start(anthropic.answer, "api.anthropic.com"),
            reddit=start(reddit.answer, "oauth.reddit.com"),
            plain_openai=start(openai.answer),
            plain_anthropic=start(anthropic.answer),
        )

"""What can go wrong on the way to an upstream: one flat list, each with the code the client is answered with.

A fault says two things to the corridor: its `code` (design 4.2), and whether the upstream can have counted the call
(`counted`), which decides between refund and settlement (threats 4.5). Its text is ours: a peer's bytes, a host name
and a key never enter it.
"""

from __future__ import annotations

from typing import ClassVar

from .errors import Problem


class UpstreamProblem(Problem):
    """A call that got no whole answer from its upstream. Raised as one of the classes below."""

    word: ClassVar[str]
    text: ClassVar[str]

    counted: bool = False
    """True: the request may have been read, so the charge stands until something better is known."""

    def __init__(self) -> None:
        super().__init__(self.word, self.text)


class TooLate(Exception):
    """The call may no longer leave. Nothing of it was written, and the connection is kept for the next try."""


class AddressDenied(UpstreamProblem):
    """The address, or every address of the name, is outside the table of addresses.py."""

    word = "address_denied"
    text = "the upstream's address is not one that may be dialled"


class PortDenied(UpstreamProblem):
    """The port is neither one of the policy's nor in an allow rule."""

    word = "port_denied"
    text = "the upstream's port is not one that may be dialled"


class UpstreamFull(UpstreamProblem):
    """Our own bound on connections: every one stayed busy for as long as a call may wait for one."""

    word = "overloaded"
    text = "every connection to the upstream is busy"


class UpstreamRefused(UpstreamProblem):
    """No such name, no address, connection refused, network unreachable."""

    word = "upstream_refused"
    text = "the upstream could not be reached"


class UpstreamDnsTimeout(UpstreamProblem):
    """The name server did not answer, or said that it could not (SERVFAIL)."""

    word = "upstream_dns_timeout"
    text = "the upstream's name could not be resolved in time"


class UpstreamConnectTimeout(UpstreamProblem):
    """No TCP connection within the limit."""

    word = "upstream_connect_timeout"
    text = "the upstream did not accept the connection in time"


class UpstreamTls(UpstreamProblem):
    """The handshake failed, or the certificate is not one for this host: nothing was sent."""

    word = "upstream_tls"
    text = "no trusted TLS connection to the upstream"


class UpstreamBroke(UpstreamProblem):
    """The connection ended before the answer did.

    `reused`: the connection had served a call before, so the upstream may have closed it while the request was on its
    way. `sent`: bytes of the request were written. `answered`: the head of an answer had arrived. Nobody can tell an
    unread request from an executed one; nothing is sent a second time here (threats 2.3 row 1).
    """

    word = "upstream_broke"
    text = "the upstream closed the connection before the answer was complete"

    def __init__(self, *, reused: bool = False, sent: bool = True, answered: bool = False) -> None:
        super().__init__()
        self.reused = reused
        self.sent = sent
        self.answered = answered
        self.counted = sent


class UpstreamProtocol(UpstreamProblem):
    """The answer is not HTTP/1.1 we would pass on: framing, version, status, control bytes, size (threats 2.3)."""

    word = "upstream_protocol"
    text = "the upstream's answer is not valid HTTP"
    counted = True


class UpstreamStalled(UpstreamProblem):
    """The body of an answer stopped arriving (threats 4.3)."""

    word = "upstream_stalled"
    text = "the upstream's answer stopped arriving"
    counted = True


class UpstreamTimeout(UpstreamProblem):
    """No answer within the first-byte limit (threats 4.3)."""

    word = "upstream_timeout"
    text = "the upstream did not answer in time"
    counted = True

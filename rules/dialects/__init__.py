"""What the providers say about limits and keys, read into one form.

seen      what headers say about one limit; which headers each provider uses
ietf      the RateLimit fields of the IETF drafts, every version
meanings  what an error means: rules over status, codes, words and headers
speakers  the dialects by name: whose headers, whose rules, which scope rests
reading   a reply -> its meaning, how long it lasts, whom it concerns, and the limits it tells
"""

from .reading import Meaning, Reading, Scope, explains_success, in_stream, read, rests, stream_meaning
from .seen import Seen
from .speakers import DIALECTS

NAMES = tuple(DIALECTS)
"""`youtube` is `google` for a service without models. A name not listed is read as `generic`."""

__all__ = [
    "NAMES",
    "Meaning",
    "Reading",
    "Scope",
    "Seen",
    "explains_success",
    "in_stream",
    "read",
    "rests",
    "stream_meaning",
]

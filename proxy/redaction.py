"""A pooled key that an upstream echoes back must not reach the client it was never given to (threats F2).

Errors and redirects do that: providers quote the key they refuse, and a key that travels in the query stands in
Location. Law: lengths stay, so that the reply's framing does.
"""

from __future__ import annotations

from .headers import Fields


def masked(data: bytes, secret: bytes) -> bytes:
    """`data` with stars for every occurrence of `secret`."""
    return data.replace(secret, b"*" * len(secret)) if secret else data


def masked_fields(fields: Fields, secret: bytes) -> Fields:
    """The same for the values of a header list."""
    return [(name, masked(value, secret)) for name, value in fields]

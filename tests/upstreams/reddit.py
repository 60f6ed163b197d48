"""oauth.reddit.com as its clients see it: JSON with the three rate-limit headers (provider-facts 1.4)."""

from __future__ import annotations

import json

from .standin import Reply, Seen


def answer(seen: Seen) -> Reply:
    """A listing, whatever was asked."""
    del seen
    return Reply(
        headers=(
            ("Content-Type", "application/json; charset=UTF-8"),
            ("x-ratelimit-used", "2"),
            ("x-ratelimit-remaining", "998.0"),
            ("x-ratelimit-reset", "540"),
        ),
        body=json.dumps({"kind": "Listing", "data": {"children": []}}).encode(),
    )

"""The secrets of the tests, looked for in all that Headgate tells or keeps (threats F).

Law: every key, token and body that a test wants to stay secret holds the word `canary`, and nothing that is logged,
counted, stored or answered in our own words may hold it, in no case, nor in Base64 or hexadecimal. Whatever starts a
process, a corridor or a store for a test hands over here what came out of it; conftest.py says in the end how much.
"""

from __future__ import annotations

import base64
import re
from collections import Counter

WORD = b"canary"


def _in_base64(word: bytes) -> set[bytes]:
    """What of a word's Base64 does not depend on its neighbours, for each of the three places it can begin at."""
    found = set()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + word)
        whole = (before + len(word)) // 3 * 4
        found.add(text[(0, 2, 3)[before] : whole])
    return found


# The word as it is typed in tests, in small letters and in capitals.
_ENCODED = {form for word in (WORD, WORD.upper()) for form in (*_in_base64(word), word.hex().encode())}
_CANARY = re.compile(b"|".join([b"(?i:canary)", *map(re.escape, sorted(_ENCODED))]))


class Leak(AssertionError):
    """A secret stands where it must not. Says where, and what stands before it."""


class Watch:
    """Looks, and counts what it has looked at."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        """Bytes by what they were: log, metrics, store, answers."""
        self.leaks: list[str] = []
        """What was found: whoever looked may have been called by code that catches what it raises."""

    def look(self, where: str, told: bytes | str) -> None:
        """Raises Leak."""
        data = told.encode("utf-8", "surrogateescape") if isinstance(told, str) else told
        self.seen[where] += len(data)
        if (found := _CANARY.search(data)) is not None:
            before = data[max(0, found.start() - 120) : found.start()]
            self.leaks.append(f"a secret stands in the {where}, behind {before!r}")
            raise Leak(self.leaks[-1])

    def take(self) -> list[str]:
        """The leaks so far; forgets them."""
        leaks, self.leaks = self.leaks, []
        return leaks


WATCH = Watch()
"""Of this test session."""

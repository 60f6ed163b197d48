"""What a line and the store have to tell one another of keys and learned limits. No I/O.

Law: each is said until a tick that carried it was answered. Saying one twice is harmless: an end only moves later, and
what is turned or lifted twice is so once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rules.gate import resting


@dataclass(eq=False, slots=True)
class Word:
    """One operation."""

    operation: Sequence[bytes | int]
    heard: asyncio.Future[None] | None = None


class Words:
    """In the order in which they came about."""

    def __init__(self) -> None:
        self._unsaid: list[Word] = []
        self._owed: list[Word] = []
        self.version = 0
        """Of what `rests` says."""
        self.rests: tuple[resting.KeyRest, ...] = ()
        """What the store said last."""
        self.rests_ms = 0.0
        """When that was, by the gate's clock."""

    def __bool__(self) -> bool:
        return bool(self._unsaid)

    def say(self, operation: Sequence[bytes | int]) -> None:
        """With the next tick."""
        self._unsaid.append(Word(operation))

    def order(self, operation: Sequence[bytes | int], *, owed: bool) -> asyncio.Future[None]:
        """An operator's; done when the host in use has it. `owed`: the store is away, and is told when it is back."""
        word = Word(operation, asyncio.get_running_loop().create_future())
        self._unsaid.append(word)
        if owed:
            self._owed.append(Word(operation))
        assert word.heard is not None
        return word.heard

    def recall(self, now_ms: float, *, off: bool) -> None:
        """To a host that may not know what rests. `off`: nor what an operator turned off."""
        for rest in self.rests:
            if operation := resting.again(rest, now_ms - self.rests_ms, off=off):
                self.say(operation)

    def pay(self) -> None:
        """The store is back: what it missed is said to it."""
        self._unsaid += self._owed
        self._owed = []

    def take(self, most: int) -> list[Word]:
        """What the next tick carries."""
        taken, self._unsaid = self._unsaid[:most], self._unsaid[most:]
        return taken

    def again(self, words: list[Word]) -> None:
        """Nobody knows that these were heard."""
        self._unsaid = words + self._unsaid


def heard(words: list[Word]) -> None:
    """The tick that carried them was answered."""
    for word in words:
        if word.heard is not None and not word.heard.done():
            word.heard.set_result(None)

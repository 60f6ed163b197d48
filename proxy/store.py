"""What can become of the shared store, told without loading the library that speaks to it."""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The store cannot be used: a plain sentence that names it. `slow`: it did not answer in time, and may yet."""

    def __init__(self, text: str, *, slow: bool = False) -> None:
        super().__init__(text)
        self.slow = slow

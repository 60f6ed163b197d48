"""What can become of the shared store, told without loading the library that speaks to it.

Law: the faults are a closed set, for they are labels of a metric (threats 4.4). `script` is any answer that is none.
"""

from __future__ import annotations

from typing import Literal, get_args

Fault = Literal[
    "address",
    "auth",
    "busy",
    "clusterdown",
    "gone",
    "loading",
    "masterdown",
    "misconf",
    "moved",
    "noreplicas",
    "oom",
    "permission",
    "readonly",
    "script",
    "slow",
    "version",
    "wrongtype",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

_MAY_HAVE_RUN = frozenset[Fault]({"gone", "script", "slow", "wrongtype"})


class StoreUnavailable(Exception):
    """The store cannot be used: a plain sentence that names it, and which fault it is."""

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault

    @property
    def slow(self) -> bool:
        """It did not answer in time, and may yet."""
        return self.fault == "slow"

    @property
    def in_doubt(self) -> bool:
        """Nobody knows whether what was asked was done. Other faults are told before anything is done."""
        return self.fault in _MAY_HAVE_RUN

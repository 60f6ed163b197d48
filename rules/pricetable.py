"""The price table that is shipped: rules/prices.yaml, read once.

Law: every row says where its numbers come from and of when they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, cast

from .mistakes import Mistake
from .pricing import Price, Prices
from .yamlmarks import compose


@cache
def table() -> Mapping[str, Prices]:
    """Service -> its prices."""
    return MappingProxyType({service: _prices(told) for service, told in _read().items()})


@cache
def dated() -> Mapping[tuple[str, str], tuple[str, str]]:
    """(service, model) -> source and date of its row."""
    return MappingProxyType(
        {
            (service, model): (row["source"], row["date"])
            for service, told in _read().items()
            for model, row in told["models"].items()
        }
    )


def _read() -> dict[str, Any]:
    """The table, in which what costs the same as elsewhere is written out."""
    mistakes: list[Mistake] = []
    text = resources.files("rules").joinpath("prices.yaml").read_text(encoding="utf-8")
    told = cast(dict[str, Any], compose(text, "prices.yaml", mistakes).plainly())
    for service in told.values():
        if "as" in service:
            other = told[service["as"]]
            same = {model: {**row, **service["same"]} for model, row in other["models"].items() if "input" in row}
            service["tiers"] = other["tiers"]
            service["models"] = {**same, **service["models"]}
    return told


def _prices(told: Mapping[str, Any]) -> Prices:
    rows = []
    for model, row in told["models"].items():
        fields = {name: value for name, value in row.items() if name not in ("source", "date")}
        if "long" in fields:
            fields["long"] = tuple(fields["long"])
        rows.append((model, Price(**fields)))
    return Prices(
        rows=tuple(rows),
        tiers=MappingProxyType(dict(told.get("tiers", {}))),
        regions=tuple(told.get("regions", ())),
    )

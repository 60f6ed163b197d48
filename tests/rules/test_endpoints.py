"""Endpoints: in order, with a last one that matches everything."""

from __future__ import annotations

import pytest

from rules.mistakes import ConfigInvalid
from rules.policy import Endpoint

from .given import parsed


def _endpoints(endpoints: str) -> tuple[Endpoint, ...]:
    text = f"hosts: [mine.example]\nendpoints: {endpoints}\n"
    return parsed("", catalogue={"mine.yaml": text}).policy.services["mine"].endpoints


@pytest.mark.parametrize(
    ("endpoints", "names"),
    [
        ("{}", ["other"]),
        ("{a: {path: /a}}", ["a", "other"]),
        ("{a: {path: /**}}", ["a"]),
        ("{a: {path: /**, methods: GET}}", ["a", "other"]),
        ("{b: {path: /b}, a: {path: /a}, rest: {path: /**}}", ["b", "a", "rest"]),
    ],
)
def test_the_last_endpoint_matches_everything_whoever_wrote_the_list(endpoints: str, names: list[str]) -> None:
    """The order is the file's, and `other` is added where the last is choosy."""
    found = _endpoints(endpoints)
    assert [endpoint.name for endpoint in found] == names
    assert (found[-1].path, found[-1].methods) == ("/**", ())


def test_what_is_written_of_an_endpoint_is_in_it() -> None:
    """Methods, body, costs, limits of its own with a bucket of its own."""
    first, second, _ = _endpoints(
        "{a: {path: /a, methods: [GET, POST], body: embeddings, costs: {requests: 1, units: 5},"
        " service_limits: false, limits: [{units: 7, window: 1}]}, b: {path: /b, limits: [{units: 7, window: 1}]}}"
    )
    assert (first.methods, first.body, first.service_limits) == (("GET", "POST"), "embeddings", False)
    assert dict(first.costs) == {"requests": 1.0, "units": 5.0}
    assert first.limits[0].amount == second.limits[0].amount == 7
    assert first.limits[0].id != second.limits[0].id


def test_an_endpoint_of_the_catalogue_needs_a_path() -> None:
    """There is nothing below it that could have one."""
    with pytest.raises(ConfigInvalid, match=r"mine\.yaml:2:16: endpoints\.a: needs path"):
        _endpoints("{a: {methods: GET}}")

"""Hosts, names, paths and models: which service, which endpoint, which limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.match import MAX_KEPT, Matcher, applies
from rules.policy import Limit, Service

from .given import parsed

MINE = """
services:
  one:
    hosts: [a.example, "*.wide.example"]
    endpoints:
      read: {path: "/v1/files/*", methods: GET}
      whole: {path: /v1/files/special, methods: [GET, POST]}
      content: {path: "/v1/files/*/content"}
      below: {path: "/v1/tree/**"}
    limits:
      - {requests: 5, window: 60}
      - {requests: 5, window: 60, per: user}
      - {tokens: 5, window: 60, models: ["gpt-4o*", "o3"]}
      - {tokens: 9, window: 60, models: others}
  two:
    hosts: ["*.deep.wide.example"]
    aliases: [deux]
    endpoints:
      apart: {path: /apart, service_limits: false, limits: [{requests: 1, window: 1}]}
      beside: {path: /beside, limits: [{requests: 2, window: 1}]}
    limits: [{requests: 3, window: 1}]
"""


def _matcher() -> tuple[Matcher, Service, Service]:
    policy = parsed(MINE).policy
    return Matcher(policy), policy.services["one"], policy.services["two"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example", "one"),
        ("A.Example", "one"),
        ("b.wide.example", "one"),
        ("c.b.wide.example", "one"),
        ("wide.example", None),
        ("xwide.example", None),
        ("deep.wide.example", "one"),
        ("x.deep.wide.example", "two"),
        ("a.example.", None),
        ("a.example.evil.example", None),
        ("evil-a.example", None),
        ("", None),
        (".", None),
        ("." * 300, None),
        (".wide.example", None),
        ("api.openai.com", "openai"),
        ("EU.api.OpenAI.com", "openai"),
        ("\u212a.wide.example", None),
        ("api.openai.com\u3002", None),
    ],
)
def test_a_host_leads_to_its_service(host: str, name: str | None) -> None:
    """Exact names win over suffixes and longer suffixes over shorter, in ASCII and in any case."""
    found = _matcher()[0].by_host(host)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("segment", "name"),
    [("openai", "openai"), ("twitter", "x"), ("whisper", "openai"), ("deux", "two"), ("OpenAI", None), ("", None)],
)
def test_a_first_segment_names_a_service(segment: str, name: str | None) -> None:
    """A service answers to its name and to its other names, as they are written."""
    found = _matcher()[0].by_name(segment)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/files/abc", "read"),
        ("GET", "/v1/files/abc?x=/content", "read"),
        ("POST", "/v1/files/abc", "other"),
        ("GET", "/v1/files/", "other"),
        ("GET", "/v1/files/a/b", "other"),
        ("GET", "/v1/files/special", "read"),
        ("POST", "/v1/files/special", "whole"),
        ("PUT", "/v1/files/a/content", "content"),
        ("GET", "/v1/files/a/content/", "content"),
        ("GET", "/v1/tree/", "below"),
        ("GET", "/v1/tree/a//b", "below"),
        ("GET", "/v1/tree", "other"),
        ("GET", "/v1/%66iles/abc", "read"),
        ("GET", "/V1/files/abc", "read"),
        ("POST", "/v1/files%2Fspecial", "whole"),
        ("POST", "/v1//files///special", "whole"),
        ("POST", "/v1/files/special/", "whole"),
        ("POST", "/v1;a=b/files/special;c", "whole"),
        ("POST", "/v1/files/special%00.html", "whole"),
        ("POST", "//v1/files/Speci%61l%3bx", "whole"),
        ("POST", "/v1/files/special%252f", "other"),
        ("GET", "/v1/../v1/files/abc", "other"),
        ("GET", "/v1/files/a\nb", "read"),
        ("OPTIONS", "*", "other"),
        ("GET", "", "other"),
    ],
)
def test_the_first_endpoint_that_takes_method_and_path_is_it(method: str, path: str, name: str) -> None:
    """Paths are matched as they were sent, in the order of the list; a path that only the last one takes is looked at
    in its plain spelling too, so that no spelling of an endpoint is charged less (threats B8)."""
    matcher, one, _ = _matcher()
    assert matcher.endpoint(one, method, path).name == name


@given(st.text(max_size=50), st.text(max_size=200))
def test_any_method_and_path_has_an_endpoint(method: str, path: str) -> None:
    """No spelling goes uncounted."""
    matcher, one, _ = _MATCHER
    assert matcher.endpoint(one, method, path) in one.endpoints


_MATCHER = _matcher()


def test_a_long_path_is_matched_in_one_pass() -> None:
    """A megabyte of slashes has no pattern to run away in."""
    matcher, one, _ = _matcher()
    assert matcher.endpoint(one, "GET", "/v1/files" + "/" * 1_000_000 + "content").name == "read"


def test_limits_are_parted_by_key_and_chosen_by_model() -> None:
    """Limits of key or group stand apart from common ones; those of other models are left out."""
    matcher, one, _ = _matcher()
    endpoint = one.endpoints[-1]

    def amounts(model: str | None) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        common, of_key = matcher.limits_for(one, endpoint, model)
        return [(limit.meter, limit.amount) for limit in common], [(limit.meter, limit.amount) for limit in of_key]

    assert amounts("gpt-4o-mini") == ([("requests", 5)], [("requests", 5), ("tokens", 5)])
    assert amounts("o3") == ([("requests", 5)], [("requests", 5), ("tokens", 5)])
    assert amounts("o3-mini") == ([("requests", 5)], [("requests", 5), ("tokens", 9)])
    assert amounts(None) == ([("requests", 5)], [("requests", 5), ("tokens", 9)])


def test_an_endpoint_adds_its_limits_or_stands_apart() -> None:
    """Endpoint limits come beside the service's, unless `service_limits` is false."""
    matcher, _, two = _matcher()
    apart, beside, other = two.endpoints

    def amounts(index: int) -> list[int]:
        return [limit.amount for limit in matcher.limits_for(two, (apart, beside, other)[index], None)[1]]

    assert [amounts(index) for index in range(3)] == [[1], [2, 3], [3]]


def test_what_clients_choose_is_remembered_within_bounds() -> None:
    """Thousands of invented models leave a bounded table, and long ones none at all."""
    matcher, one, _ = _matcher()
    endpoint = one.endpoints[-1]
    for number in range(MAX_KEPT * 2 + 10):
        matcher.limits_for(one, endpoint, f"model-{number}")
    assert len(matcher._limits) <= MAX_KEPT
    before = len(matcher._limits)
    matcher.limits_for(one, endpoint, "m" * 100_000)
    assert len(matcher._limits) == before


@pytest.mark.parametrize(
    ("models", "model", "counted"),
    [
        ((), "any", True),
        ((), None, True),
        (("a*",), "abc", True),
        (("a*",), "ABC", False),
        (("a*",), None, False),
        (("!a*",), "abc", False),
        (("!a*",), "bcd", True),
        (("!a*",), None, True),
        (("a*", "!ab*"), "abc", False),
        (("a*", "!ab*"), "acc", True),
        (("a*", "!ab*"), "b", False),
        (("[a]",), "a", True),
    ],
)
def test_a_limit_counts_the_models_it_names(models: tuple[str, ...], model: str | None, counted: bool) -> None:
    """Patterns name models, `!` excludes, and a call without a model is counted where none is demanded."""
    limit = Limit(id="x", name="x", kind="window", meter="requests", amount=1, models=models)
    assert applies(limit, model) is counted

"""Single values: durations, hosts, addresses, URLs, paths."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rules.policy import Origin
from rules.spellings import address, duration, endpoint_path, host_pattern, is_host, is_name, origin, store


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("500ms", 500),
        ("60s", 60_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("1.5s", 1500),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_as_milliseconds(text: str, milliseconds: int) -> None:
    """A number and a unit of ms, s, m, h, d."""
    assert duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:8443", "10.0.0.1", 8443),
        ("redis:1", "redis", 1),
        ("[::1]:443", "::1", 443),
        ("a.b.c:65535", "a.b.c", 65535),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    """IPv6 stands in brackets."""
    assert address(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example", Origin(scheme="https", host="a.example", port=443)),
        ("http://A.example:8080/", Origin(scheme="http", host="a.example", port=8080)),
        ("https://a.example/v1/x/", Origin(scheme="https", host="a.example", port=443, path="/v1/x")),
        ("http://[::1]:80/v1", Origin(scheme="http", host="::1", port=80, path="/v1")),
    ],
)
def test_an_origin_is_a_url_taken_apart(text: str, expected: Origin) -> None:
    """Scheme, host, port with its default, and a path without a trailing slash."""
    assert origin(text) == expected


@pytest.mark.parametrize(
    ("reader", "texts"),
    [
        (duration, ["", "5", "5x", "-5s", "5 minutes", "1e3s", "400d", "s", "9999999999s", "5s "]),
        (address, ["", "a", "a:", "a:0", "a:65536", ":80", "::1:80", "[::1]", "a b:80", "a:8e1", "[x]:80", "a:٣"]),
        (
            origin,
            [
                *("", "a.example", "ftp://a", "https://", "https://u:p@a", "https://a?x", "https://a#x"),
                *("https://a:99999", "https://a b", "https://a/ b", "https://[::1", "https://@a", "https://a/x\r\ny"),
                *("https://é.example", "https://a\t.example"),
            ],
        ),
        (host_pattern, ["", "*", "*.", "a..b", "-a", "a/b", "a:80", "*.*.a", "a.*", "é.example", "a." * 150]),
        (endpoint_path, ["", "a", "/a/**/b", "/a b", "/a?b", "/a#b", "/*a", "/é"]),
        (store, ["", "redis", "redis://", "http://a", "memory2", "unix://", "redis://h:port"]),
    ],
)
def test_what_is_spelled_wrong_is_refused_without_quoting_it(reader: Callable[[str], object], texts: list[str]) -> None:
    """Every reader raises ValueError with a sentence that does not hold the value."""
    for text in texts:
        with pytest.raises(ValueError, match=r"must be|is longer") as refused:
            reader(text)
        assert "@" not in str(refused.value)
        assert "9999" not in str(refused.value)


def test_the_rest_is_accepted() -> None:
    """The forms that documents show."""
    assert host_pattern("*.Example.com") == "*.example.com"
    assert endpoint_path("/v1/files/*/content") == "/v1/files/*/content"
    assert endpoint_path("/**") == "/**"
    assert [store(text) for text in ("memory", "rediss://u:p@h:1/0", "unix:///run/redis.sock")]
    assert is_host("a_b.example")
    assert not is_host("a.example.")
    assert is_name("a.b-c_1")
    assert not is_name(".a")
    assert not is_name("a" * 65)

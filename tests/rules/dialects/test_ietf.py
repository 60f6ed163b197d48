"""rules/dialects/ietf.py: the RateLimit fields of every draft (provider-facts 1.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.dialects import Seen
from rules.dialects.ietf import read_fields

NOW = 1_790_000_000.0
Said = tuple[str, int | None, int | None, int | None, int | None]


def said(headers: dict[str, str]) -> list[Said]:
    """(meter, limit, remaining, reset in ms, window in ms)."""
    found = read_fields([(name.encode(), value.encode("latin-1")) for name, value in headers.items()], NOW)
    return [(one.meter, one.limit, one.remaining, one.reset_ms, one.window_ms) for one in found]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # 00 to 06
        (
            {"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "50"},
            [("requests", 100, 50, 50_000, None)],
        ),
        (
            {"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "5", "RateLimit-Reset": "1"},
            [("requests", 10, 5, 1000, 1000)],
        ),
        (
            {"RateLimit-Limit": "50", "RateLimit-Remaining": "5", "RateLimit-Policy": "10;w=1, 50;w=60"},
            [("requests", 50, 5, None, 60_000)],
        ),
        # 07
        (
            {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10"},
            [("requests", 100, 50, 5000, 10_000)],
        ),
        ({"RateLimit": "limit=100,remaining=0"}, [("requests", 100, 0, None, None)]),
        # 08 to 10
        (
            {
                "RateLimit": '"day";r=900;t=30, "burst";r=99;t=3',
                "RateLimit-Policy": '"burst";q=100;w=60,"day";q=1000;w=86400',
            },
            [("requests", 1000, 900, 30_000, 86_400_000), ("requests", 100, 99, 3000, 60_000)],
        ),
        ({"RateLimit": '"default";r=50;t=30'}, [("requests", None, 50, 30_000, None)]),
        ({"RateLimit": '"default";r=50'}, [("requests", None, 50, None, None)]),
        ({"RateLimit-Policy": '"default";q=100;w=60'}, [("requests", 100, None, None, 60_000)]),
        (
            {"RateLimit": '"c";r=3', "RateLimit-Policy": '"c";q=5;qu="concurrent-requests"'},
            [("concurrent", 5, 3, None, None)],
        ),
        ({"RateLimit": '"b";r=3', "RateLimit-Policy": '"b";q=5;w=1;qu="content-bytes"'}, []),
        ({"RateLimit": '"a";r=1;t=2', "RateLimit-Policy": '"a";q=5;w=9;pk=:QWxh:'}, [("requests", 5, 1, 2000, 9000)]),
        # Hugging Face's, which is no structured field
        (
            {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
            [("requests", 500, 0, 55_000, 300_000)],
        ),
        # garbage
        ({"RateLimit": "NaN"}, []),
        ({"RateLimit": '"a";r=-1;t=5'}, []),
        ({"RateLimit": '"a";r=5;t=-1'}, [("requests", None, 5, 0, None)]),
        ({"RateLimit": '"a";r=5;t=1000000000000'}, [("requests", None, 5, 0, None)]),
        ({"RateLimit-Limit": "1e9", "RateLimit-Remaining": "<html>"}, []),
        ({"RateLimit-Limit": "99999999999999999999"}, []),
        ({"RateLimit-Policy": '"a";q=5;w=0'}, [("requests", 5, None, None, None)]),
        ({"X-Other": "1"}, []),
    ],
)
def test_every_draft_is_read(headers: dict[str, str], expected: list[Said]) -> None:
    """Names, windows and units; what cannot be read is not there."""
    assert said(headers) == expected


@given(
    st.dictionaries(
        st.sampled_from(["RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Reset"]),
        st.text(alphabet='"abqrtw;=,:0123456789 -.', max_size=300),
    )
)
def test_nothing_raises(headers: dict[str, str]) -> None:
    """And no number is negative."""
    for one in said(headers):
        assert all(number is None or number >= 0 for number in one[1:])


def test_a_field_that_is_too_long_is_not_read() -> None:
    """The longest that are sent have under 200 characters."""
    assert read_fields([(b"RateLimit", b'"a";r=1' + b" " * 1024)], NOW) == ()
    assert isinstance(read_fields([(b"RateLimit", b'"a";r=1')], NOW)[0], Seen)

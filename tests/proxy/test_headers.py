"""What goes on to the next hop, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.headers import HOP_BY_HOP, PROTECTED, connection_options, end_to_end, is_twin, passed_through, value_of, via

KNOWN = sorted(HOP_BY_HOP | PROTECTED | {b"x-api-key", b"x-headgate-user", b"x-forwarded-for", b"via", b"cookie"})
NAMES = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN).map(bytes.upper),
    st.sampled_from(KNOWN).map(lambda name: name.replace(b"-", b"_")),
    st.from_regex(rb"[A-Za-z0-9_-]{1,12}", fullmatch=True),
)
FIELDS = st.lists(st.tuples(NAMES, st.one_of(NAMES, st.lists(NAMES).map(b", ".join), st.binary(max_size=12))))


@given(FIELDS)
def test_end_to_end_is_idempotent_and_only_drops(fields: list[tuple[bytes, bytes]]) -> None:
    """What is kept keeps its order, spelling and bytes, and is kept again; hop-by-hop and control names are gone."""
    kept = end_to_end(fields)
    rest = iter(fields)
    assert all(field in rest for field in kept)
    assert end_to_end(kept) == kept
    for name, _ in kept:
        lower = name.lower()
        assert lower not in HOP_BY_HOP
        assert not lower.replace(b"_", b"-").startswith((b"x-headgate-", b"x-forwarded-"))


@given(FIELDS)
def test_connection_cannot_take_away_a_protected_field(fields: list[tuple[bytes, bytes]]) -> None:
    """Host, framing and credential stay whatever Connection says (row 13); transfer-encoding is hop-by-hop anyway."""
    fixed = [(b"Host", b"a"), (b"Content-Length", b"0"), (b"Authorization", b"b")]
    kept = end_to_end([*fields, *fixed])
    assert [field for field in kept if field in fixed][-3:] == fixed


def test_connection_takes_away_what_it_names() -> None:
    """In any case, over several lines, before and behind the field it names."""
    fields = [
        (b"X-A", b"1"),
        (b"connection", b"x-a,, X-B "),
        (b"Connection", b"x-c"),
        (b"x-b", b"2"),
        (b"X-C", b"3"),
        (b"d", b"4"),
    ]
    assert end_to_end(fields, drop=(b"e",)) == [(b"d", b"4")]
    assert connection_options(b" Close,\tX-A ,,") == [b"close", b"x-a"]


@pytest.mark.parametrize(
    "name",
    [
        b"transfer_encoding",
        b"authorization_",
        b"x_forwarded_for",
        b"content_length",
        b"x_headgate_user",
        b"x_api_key",
        b"_host",
    ],
)
def test_twins(name: bytes) -> None:
    """The underscore spelling of a known name is dropped (row 14, threats E5)."""
    assert is_twin(name)
    assert end_to_end([(name.upper(), b"x")]) == []


@pytest.mark.parametrize("name", [b"x_request_id", b"openai_organization", b"_", b"x-api-key", b"user_agent"])
def test_other_underscores_stay(name: bytes) -> None:
    """A name that is nobody's twin passes."""
    assert not is_twin(name)
    assert end_to_end([(name, b"x")]) == [(name, b"x")]


@pytest.mark.parametrize(
    "name", [b"X-Forwarded-For", b"x-forwarded-host", b"Forwarded", b"X-Real-IP", b"X-Headgate-Reason"]
)
def test_where_a_call_came_from_is_not_told(name: bytes) -> None:
    """Forged or true, it does not go on (threats E7)."""
    assert end_to_end([(name, b"x")]) == []


def test_via_and_loops() -> None:
    """Our own name in any Via field is a loop; so are ten hops (threats B10)."""
    name, value = via((1, 1), b"headgate-1")
    assert (name, value) == (b"Via", b"1.1 headgate-1")
    assert passed_through([(b"vIa", b"1.0 x, " + value)], b"headgate-1")
    assert not passed_through([(b"Via", b"1.1 headgate-2"), (b"X", b"headgate-1")], b"headgate-1")
    assert not passed_through([(b"Via", b"1.1 x")] * 9, b"headgate-1")
    assert passed_through([(b"Via", b"1.1 x")] * 10, b"headgate-1")
    assert passed_through([(b"Via", b", ".join([b"1.1 x"] * 10))], b"headgate-1")


def test_value_of() -> None:
    """The first of a name, in any case."""
    fields = [(b"A", b"1"), (b"a", b"2")]
    assert value_of(fields, b"a") == b"1"
    assert value_of(fields, b"b") is None

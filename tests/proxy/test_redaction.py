"""proxy/redaction.py: lengths stay, the secret goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.redaction import masked, masked_fields


@given(st.lists(st.binary(max_size=20), min_size=1), st.binary(min_size=1, max_size=20).filter(lambda s: b"*" not in s))
def test_no_occurrence_is_left_and_no_length_changes(parts: list[bytes], secret: bytes) -> None:
    """Whatever stands around the secret, and however often it stands there."""
    data = secret.join(parts)
    shown = masked(data, secret)
    assert secret not in shown
    assert len(shown) == len(data)


def test_nothing_secret_leaves_the_data_as_it_is() -> None:
    """A service without a pool has no secret of ours to hide."""
    assert masked(b"as it is", b"") == b"as it is"


def test_field_values_are_masked_and_names_kept() -> None:
    """A redirect that carries the key in its query loses the key only."""
    fields = [(b"Location", b"https://h/a?key=sk-1&b=c"), (b"Server", b"x")]
    assert masked_fields(fields, b"sk-1") == [(b"Location", b"https://h/a?key=****&b=c"), (b"Server", b"x")]

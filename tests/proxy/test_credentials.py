"""Credentials in a request: found, taken out of every place, written into one."""

from __future__ import annotations

import base64
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials import (
    basic_pair,
    find,
    form_parameters,
    signer,
    take_out,
    take_out_of_form,
    take_out_token,
    write,
)
from rules.policy import Credential, CredentialPlace

HEADER = CredentialPlace(place="header", name="authorization", prefix="Bearer ")
OTHER = CredentialPlace(place="header", name="x-goog-api-key")
QUERY = CredentialPlace(place="query", name="key")
EVERY = Credential(write=HEADER, read=(HEADER, OTHER, QUERY))
TOKEN = b"canary-token"


def test_find() -> None:
    """The first place that holds one, prefix included; an empty place holds none."""
    assert find(EVERY, [(b"X-Goog-Api-Key", b"g"), (b"Authorization", b"Bearer a")], "/?key=q") == b"Bearer a"
    assert find(EVERY, [(b"Authorization", b""), (b"x-goog-API-key", b"g")], "/?key=q") == b"g"
    assert find(EVERY, [], "/?a=b&key=q") == b"key=q"
    assert find(EVERY, [], "/?k%65y=q") == b"k%65y=q"
    for target in ("/", "/?key=", "/?key", "/?monkey=q", "/?a=key=q", "/key=q"):
        assert find(EVERY, [], target) is None


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("/a?key=q", "/a"),
        ("/a?key=q&b=1&key=r", "/a?b=1"),
        ("/a?b=1&k%65y=q", "/a?b=1"),
        ("/a?key", "/a"),
        ("/a?KEY=q&monkey=q", "/a?KEY=q&monkey=q"),
        ("/a?b=%2f%20+&&c", "/a?b=%2f%20+&&c"),
        ("/a?", "/a?"),
    ],
)
def test_every_place_is_emptied(target: str, left: str) -> None:
    """All headers and parameters of the service go, encoded or not; the rest keeps its bytes."""
    fields = [(b"AUTHORIZATION", b"Bearer a"), (b"X", b"1"), (b"x-goog-api-key", b"g"), (b"Authorization", b"Basic b")]
    kept, after = take_out(EVERY, fields, target)
    assert kept == [(b"X", b"1")]
    assert after == left


OFFERED = CredentialPlace(place="header", name="sec-websocket-protocol", prefix="openai-insecure-api-key.")


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (b"realtime, openai-insecure-api-key.mine", b"realtime"),
        (b"openai-insecure-api-key.mine ,  realtime,v1", b"realtime, v1"),
        (b"realtime,v1", b"realtime,v1"),
        (b"openai-insecure-api-key.mine", None),
    ],
)
def test_of_the_subprotocols_only_the_key_is_taken(offered: bytes, left: bytes | None) -> None:
    """The others were offered to the upstream; a field of which nothing is left goes."""
    place = Credential(write=HEADER, read=(HEADER, OFFERED))
    fields = [(b"Sec-WebSocket-Protocol", offered)]
    assert take_out(place, fields, "/") == ([] if left is None else [(b"Sec-WebSocket-Protocol", left)], "/")
    assert take_out_token(b"mine", fields, "/") == take_out(place, fields, "/")
    found = find(place, fields, "/")
    assert found == (b"openai-insecure-api-key.mine" if b"mine" in offered else None)


def test_write_into_a_header() -> None:
    """Behind its prefix, at the end of the fields."""
    assert write(HEADER, "sk", [(b"X", b"1")], "/a?b") == ([(b"X", b"1"), (b"authorization", b"Bearer sk")], "/a?b")


@pytest.mark.parametrize(
    ("target", "written"), [("/a", "/a?key=sk"), ("/a?", "/a?key=sk"), ("/a?b=1", "/a?b=1&key=sk")]
)
def test_write_into_the_query(target: str, written: str) -> None:
    """Behind what stands there."""
    assert write(QUERY, "sk", [], target) == ([], written)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_a_secret_in_the_query_is_read_back_whole(secret: str) -> None:
    """Whatever characters a key has, the upstream reads that key and nothing else."""
    _, target = write(QUERY, secret, [], "/a?b=1")
    assert parse_qsl(target.partition("?")[2]) == [("b", "1"), ("key", secret)]


@given(
    st.sampled_from(["/a", "/a?b=1", "/a?key=x&b=1", "/a?k%65y=x"]),
    st.lists(st.sampled_from(["Authorization", "x-goog-api-key", "X"])),
)
def test_what_was_taken_out_is_not_found(target: str, names: list[str]) -> None:
    """No credential of the client's is left anywhere, and ours is the only one after it was written."""
    fields, target = take_out(EVERY, [(name.encode(), b"theirs") for name in names], target)
    assert find(EVERY, fields, target) is None
    fields, target = write(HEADER, "ours", fields, target)
    assert find(EVERY, fields, target) == b"Bearer ours"


OAUTH = b'OAuth oauth_consumer_key="ck", oauth_nonce="%b", oauth_signature="%b", oauth_token="tk"'


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b"token=xoxb-1", b""),
        (b"channel=C1&token=xoxb-1&text=token%3Dx", b"channel=C1&text=token%3Dx"),
        (b"t%6fken=xoxb-1&a=1&token&token=2", b"a=1"),
        (b"Token=1&tokens=2&a=token", b"Token=1&tokens=2&a=token"),
        (b"\xff\xfe&=&&a=%ff", b"\xff\xfe&=&&a=%ff"),
    ],
)
def test_a_credential_is_taken_out_of_a_form(body: bytes, left: bytes) -> None:
    """However the name is spelt; everything else stays byte for byte."""
    assert take_out_of_form(("token",), body) == left


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (b"application/x-www-form-urlencoded", ("token",)),
        (b"Application/X-WWW-Form-Urlencoded; charset=utf-8", ("token",)),
        (b"application/json", ()),
        (b"multipart/form-data; boundary=x", ()),
    ],
)
def test_only_a_form_has_parameters(kind: bytes, parameters: tuple[str, ...]) -> None:
    """By its Content-Type, and where the service takes credentials there."""
    fields = [(b"content-type", kind)]
    assert form_parameters(Credential(write=HEADER, read=(HEADER,), form=("token",)), fields) == parameters
    assert form_parameters(EVERY, fields) == ()


def test_a_signed_call_is_known_by_who_signed_it() -> None:
    """The same in each of his calls, another for another token; nothing of the signature is in it."""
    signed = Credential(write=HEADER, read=(HEADER,), signed=("oauth",))
    one = signer(signed, [(b"Authorization", OAUTH % (b"n1", b"s1"))])
    assert one == signer(signed, [(b"authorization", OAUTH % (b"n2", b"s2"))])
    assert one == b'oauth oauth_consumer_key="ck oauth_token="tk'
    other = OAUTH.replace(b"tk", b"t2") % (b"n", b"s")
    assert signer(signed, [(b"Authorization", other)]) not in (None, one)
    assert signer(signed, [(b"Authorization", b"OAuth")]) == b"oauth "


def test_what_is_not_signed_has_no_signer() -> None:
    """A bearer token, another field, and a service that knows no signatures."""
    signed = Credential(write=HEADER, read=(HEADER,), signed=("oauth",))
    assert signer(signed, [(b"Authorization", b"Bearer x")]) is None
    assert signer(signed, [(b"X-Other", OAUTH % (b"n", b"s"))]) is None
    assert signer(EVERY, [(b"Authorization", OAUTH % (b"n", b"s"))]) is None


@pytest.mark.parametrize(
    "field",
    [
        (b"Authorization", b"Bearer " + TOKEN),
        (b"Authorization", b"Basic " + base64.b64encode(TOKEN + b":")),
        (b"authorization", b"basic  " + base64.b64encode(b"x:" + TOKEN)),
        (b"X-Api-Key", TOKEN),
        (b"Cookie", b"a=1; t=" + TOKEN),
    ],
)
def test_our_token_is_taken_out_of_any_field(field: tuple[bytes, bytes]) -> None:
    """Plain or in Basic, whatever the field is called; others stay."""
    other = (b"Authorization", b"Basic " + base64.b64encode(b"name:their own"))
    assert take_out_token(TOKEN, [(b"X", b"1"), field, other], "/a") == ([(b"X", b"1"), other], "/a")


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("/a?key=canary-token", "/a"),
        ("/a?b=1&key=canary-token&c", "/a?b=1&c"),
        ("/a?b=1&key=c%61nary%2Dtoken", "/a?b=1"),
        ("/a?b=1&&c=%zz", "/a?b=1&&c=%zz"),
        ("/a?", "/a?"),
    ],
)
def test_our_token_is_taken_out_of_the_query(target: str, left: str) -> None:
    """Encoded or not; a query without it keeps its bytes."""
    assert take_out_token(TOKEN, [], target) == ([], left)


@given(st.binary(), st.binary())
def test_basic_pairs(name: bytes, password: bytes) -> None:
    """The name ends at the first colon; whatever is no Basic is None."""
    pair = basic_pair(b"Basic " + base64.b64encode(name + b":" + password))
    assert pair is not None
    assert b":".join(pair) == name + b":" + password
    assert b":" not in pair[0]
    assert basic_pair(name + password) is None or (name + password).lower().startswith(b"basic ")

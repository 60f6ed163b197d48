"""Who is calling (design 4.1): tokens in every place, anonymous callers, and what they may say of themselves."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients import Doorman, Identity, from_web_page, is_loopback, presented_keys, proxy_credentials
from proxy.errors import Problem
from proxy.head import NO_CONTROL, Control
from rules.policy import Clients, ClientToken, Policy

TOKEN = b"canary-token"
HERE, THERE = "127.0.0.1", "192.0.2.7"


def basic(name: str, token: str) -> bytes:
    """Basic credentials as a field value."""
    return b"Basic " + base64.b64encode(f"{name}:{token}".encode())


def doorman(anonymous: Literal["loopback", "everyone", "nobody"] = "nobody", *may_set: str) -> Doorman:
    """One client, ann, of tier gold."""
    client = ClientToken(
        name="ann", token_sha256=hashlib.sha256(TOKEN).digest(), user="ann-user", tier="gold", may_set=may_set
    )
    clients = Clients(anonymous=anonymous, tokens=(client,))
    return Doorman(Policy(services={}, clients=clients, tiers={"gold": 4.0, "free": 1.0}))


def who(
    door: Doorman,
    *fields: tuple[bytes, bytes],
    query: str = "",
    peer: str = THERE,
    control: Control = NO_CONTROL,
    through_proxy: bool = False,
) -> Identity:
    """The caller of a request with these fields."""
    return door.identify(
        peer=peer,
        keys=presented_keys(fields, query),
        proxy=proxy_credentials(fields),
        control=control,
        through_proxy=through_proxy,
    )


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ((b"authorization", b"Bearer " + TOKEN), ""),
        ((b"Authorization", b"bearer  " + TOKEN), ""),
        ((b"Authorization", b"token " + TOKEN), ""),
        ((b"Authorization", basic(TOKEN.decode(), "")), ""),
        ((b"Authorization", basic("", TOKEN.decode())), ""),
        ((b"X-API-Key", TOKEN), ""),
        ((b"api-key", TOKEN), ""),
        ((b"x-goog-api-key", TOKEN), ""),
        ((b"xi-api-key", TOKEN), ""),
        ((b"x", b""), "a=b&key=canary-token&c"),
        ((b"x", b""), "key=canary%2Dtoken"),
        ((b"Proxy-Authorization", basic("ann", TOKEN.decode())), ""),
        ((b"proxy-authorization", basic("", TOKEN.decode())), ""),
    ],
)
def test_a_token_is_known_in_every_place(field: tuple[bytes, bytes], query: str) -> None:
    """Wherever SDKs put a key, and as proxy credentials, it names its client, user and tier."""
    identity = who(doorman(), field, query=query)
    assert (identity.client, identity.user, identity.tier, identity.token) == ("ann", "ann-user", "gold", TOKEN)
    assert "canary" not in repr(identity)


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b""),
        (b"Authorization", b"Bearer wrong"),
        (b"Authorization", b"Bearer"),
        (b"Authorization", b"Bearer " + TOKEN + b"x"),
        (b"Authorization", b"Basic %%%"),
        (b"Authorization", TOKEN),
        (b"Proxy-Authorization", basic("bob", TOKEN.decode())),
        (b"Proxy-Authorization", basic("ann", "wrong")),
        (b"Proxy-Authorization", b"Negotiate abc"),
        (b"Proxy-Authorization", b"Basic " + base64.b64encode(b"no-colon")),
    ],
)
def test_nobody_else_is_let_in(field: tuple[bytes, bytes]) -> None:
    """No token, a wrong one, or a right one under another name: 401, or 407 through the proxy (threats E6)."""
    with pytest.raises(Problem) as asked:
        who(doorman(), field, peer=HERE)
    assert (asked.value.code, asked.value.status, asked.value.close) == ("client_unknown", 401, False)
    with pytest.raises(Problem) as asked:
        who(doorman(), field, peer=HERE, through_proxy=True)
    assert (asked.value.code, asked.value.status, asked.value.close) == ("proxy_auth_required", 407, True)
    assert (b"Proxy-Authenticate", b'Basic realm="headgate"') in asked.value.headers()


def test_loopback_lets_this_machine_in_and_no_other() -> None:
    """Unknown tokens are anonymous callers there, known ones are known everywhere."""
    door = doorman("loopback")
    wrong = (b"Authorization", b"Bearer wrong")
    for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert (who(door, wrong, peer=peer).client, who(door, wrong, peer=peer).user) == ("anonymous", peer)
    for peer in (THERE, "::2", "::ffff:10.0.0.1", "", "128.0.0.1", "localhost"):
        assert not is_loopback(peer)
        with pytest.raises(Problem, match="client_unknown"):
            who(door, wrong, peer=peer)
    assert who(door, (b"api-key", TOKEN)).client == "ann"


def test_the_user_of_an_anonymous_caller() -> None:
    """X-Headgate-User, else the name in its proxy credentials, else its address; it holds no token of ours."""
    door = doorman("everyone")
    named = (b"Proxy-Authorization", basic("bob", "whatever"))
    assert who(door, named, control=Control(user="carl")).user == "carl"
    assert who(door, named).user == "bob"
    assert who(door, (b"Proxy-Authorization", basic("", "whatever"))).user == THERE
    assert who(door).user == THERE
    assert who(door, named).token is None


def test_what_an_anonymous_caller_may_set() -> None:
    """From this machine everything; from elsewhere its user only."""
    door = doorman("everyone")
    control = Control(user="u", tier="free", priority=3)
    identity = who(door, peer=HERE, control=control)
    assert (identity.user, identity.tier, identity.priority) == ("u", "free", 3)
    for one in (Control(tier="free"), Control(priority=0)):
        with pytest.raises(Problem, match="control_denied"):
            who(door, control=one)


@pytest.mark.parametrize("name", ["user", "tier", "priority"])
def test_a_client_sets_what_it_may_set(name: str) -> None:
    """Each of the three by its own word, 403 without it; the longest wait is everybody's to say."""
    control = {"user": Control(user="u"), "tier": Control(tier="free"), "priority": Control(priority=3)}[name]
    ann = (b"api-key", TOKEN)
    identity = who(doorman("nobody", name), ann, control=control)
    told = {"user": identity.user, "tier": identity.tier, "priority": identity.priority}
    assert told[name] == {"user": "u", "tier": "free", "priority": 3}[name]
    others = {"user", "tier", "priority"} - {name}
    with pytest.raises(Problem) as denied:
        who(doorman("everyone", *others), ann, peer=HERE, control=control)
    assert (denied.value.code, denied.value.status) == ("control_denied", 403)
    assert who(doorman(), ann, control=Control(max_wait_ms=0)).client == "ann"


def test_a_tier_that_does_not_exist_is_400() -> None:
    """For clients and for anonymous callers alike."""
    for door, fields in ((doorman("nobody", "tier"), [(b"api-key", TOKEN)]), (doorman("everyone"), [])):
        with pytest.raises(Problem) as unknown:
            who(door, *fields, peer=HERE, control=Control(tier="platinum"))
        assert (unknown.value.code, unknown.value.status) == ("bad_control_header", 400)


@given(
    st.lists(st.tuples(st.sampled_from([b"Authorization", b"x-api-key", b"Proxy-Authorization"]), st.binary())),
    st.text(),
)
def test_any_bytes_are_a_stranger(fields: list[tuple[bytes, bytes]], query: str) -> None:
    """Whatever stands where a token should, nothing but an answer of ours comes of it."""
    with pytest.raises(Problem, match="client_unknown"):
        who(doorman(), *fields, query=query.encode("ascii", "replace").decode())


def test_a_web_page_is_no_anonymous_caller_but_may_have_a_token() -> None:
    """A page open on this machine reaches 127.0.0.1: without a token it spends nothing."""
    door = doorman("loopback")
    for field in (b"Origin", b"Sec-Fetch-Site"):
        assert from_web_page([(b"Host", b"127.0.0.1"), (field, b"https://page.example")])
    assert not from_web_page([(b"Sec-Fetch-Mode", b"cors"), (b"Accept", b"*/*")]), "Node's fetch is no page"
    with pytest.raises(Problem) as refused:
        door.identify(peer=HERE, keys=[], proxy=None, through_proxy=False, web_page=True)
    assert refused.value.code == "page_denied"
    assert door.identify(peer=HERE, keys=[TOKEN], proxy=None, through_proxy=False, web_page=True).client == "ann"


def test_a_name_in_proxy_credentials_is_cut_to_the_length_of_a_user() -> None:
    """It becomes the user, and users are remembered."""
    found = doorman("loopback").identify(peer=HERE, keys=[], proxy=("n" * 9000, b""), through_proxy=True)
    assert found.user == "n" * 256

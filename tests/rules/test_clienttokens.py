"""Clients: lists and directories to hashes."""

from __future__ import annotations

import hashlib

import pytest

from rules.mistakes import ConfigInvalid
from rules.policy import Clients

from .given import parsed

DIGEST = hashlib.sha256(b"tok").hexdigest()


def _clients(text: str, files: dict[str, str] | None = None, **environ: str) -> Clients:
    tiers = "tiers: {free: {weight: 1}}\n"
    return parsed(f"{tiers}clients: {text}", environ=environ, files=files, catalogue={}).policy.clients


def test_a_list_gives_clients_with_what_they_may_do() -> None:
    """Tokens from variables and files, or as a hash; user, tier and rights beside."""
    clients = _clients(
        "{tokens: [{name: a, env: T, user: batch, tier: free, may_set: [tier, user]},"
        f" {{name: b, file: f}}, {{name: c, sha256: {DIGEST.upper()}}}]}}",
        {"f": "other\n"},
        T="mine",
    ).tokens
    assert [(client.name, client.token_sha256.hex()) for client in clients] == [
        ("a", hashlib.sha256(b"mine").hexdigest()),
        ("b", hashlib.sha256(b"other").hexdigest()),
        ("c", DIGEST),
    ]
    assert (clients[0].user, clients[0].tier, clients[0].may_set) == ("batch", "free", ("tier", "user"))
    assert (clients[1].user, clients[1].tier, clients[1].may_set) == (None, None, ())


@pytest.mark.parametrize(
    "text",
    ["tok", "tok\n", "token: tok\n", f"sha256: {DIGEST}\n", "{token: tok}", '{"token": "tok"}', "---\ntoken: tok"],
)
def test_a_clients_file_is_its_token_or_a_mapping(text: str) -> None:
    """One file a client, named by the file, its ending left out; the token alone will do."""
    for name in ("crawler", "crawler.yaml"):
        clients = _clients("{tokens: {dir: d}}", {f"d/{name}": text}).tokens
        assert [(client.name, client.token_sha256.hex()) for client in clients] == [("crawler", DIGEST)]


def test_a_clients_file_may_say_user_tier_and_rights() -> None:
    """The mapping holds what the list would."""
    text = "token: tok\nuser: batch\ntier: free\nmay_set: [priority]\n"
    client = _clients("{tokens: {dir: d}}", {"d/a": text}).tokens[0]
    assert (client.user, client.tier, client.may_set) == ("batch", "free", ("priority",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "d/a:1:1: needs exactly one of token or sha256"),
        ("two words", "d/a:1:1: must be a mapping"),
        ("token: two words", "d/a:1:8: token: the token is empty or holds characters"),
        ("token: tok\ntier: fre", "d/a:2:7: tier: is no tier of this configuration (did you mean 'free'?)"),
        ("token: [", "d/a:1:9: is not YAML"),
        ("sha256: abc", "d/a:1:9: sha256: must be 64 hexadecimal digits"),
        ("token: tok\nsha256: " + DIGEST, "d/a:1:1: needs exactly one of token or sha256"),
    ],
)
def test_a_mistake_in_a_clients_file_names_that_file(text: str, complaint: str) -> None:
    """The place is in the client's own file, and the token is not told."""
    with pytest.raises(ConfigInvalid) as refused:
        _clients("{tokens: {dir: d}}", {"d/a": text})
    assert str(refused.value).startswith(complaint)
    assert "tok\n" not in str(refused.value)


def test_the_hash_does_not_show() -> None:
    """A client prints without its token's hash."""
    assert DIGEST not in repr(_clients("{tokens: {dir: d}}", {"d/a": "tok"}))


def test_tokens_as_words_that_look_like_numbers_are_tokens() -> None:
    """A token alone in its file is taken letter by letter, whatever YAML would read in it."""
    for token in ("123456", "true", "a:b", "0x10", "~"):
        clients = _clients("{tokens: {dir: d}}", {"d/a": token}).tokens
        assert clients[0].token_sha256 == hashlib.sha256(token.encode()).digest()

"""Flags and environment -> Settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from proxy.settings import (
    ADMIN,
    LISTEN,
    Address,
    Ceilings,
    Timeouts,
    default_state_dir,
    is_loopback,
    parse_address,
    read,
)

HOME = {"HOME": "/home/ada"}


def test_nothing_said_is_the_default() -> None:
    """Without flags and variables Headgate listens on loopback, and leaves store, file and log format to the policy."""
    settings = read(HOME)
    assert (settings.listen, settings.admin) == (LISTEN, ADMIN) == (("127.0.0.1", 8080), ("127.0.0.1", 9091))
    assert (settings.config, settings.store, settings.log_format, settings.url) == (None, None, None, None)
    assert (settings.fallback, settings.drain) == (False, 30.0)
    assert settings.state_dir == Path("/home/ada/.local/state/headgate")


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    """Each setting follows flag > environment > default (design 4.4)."""
    environ = {
        **HOME,
        "HEADGATE_LISTEN": "0.0.0.0:1",
        "HEADGATE_ADMIN": ":2",
        "HEADGATE_CONFIG": "env.yaml",
        "HEADGATE_STORE": "redis://env",
        "HEADGATE_STATE_DIR": "/env",
        "HEADGATE_LOG_FORMAT": "json",
        "HEADGATE_FALLBACK": "true",
        "HEADGATE_DRAIN": "5s",
        "HEADGATE_URL": "http://env",
    }
    said = read(environ)
    assert (said.listen, said.admin, said.config) == (("0.0.0.0", 1), ("", 2), Path("env.yaml"))
    assert (said.store, said.state_dir, said.log_format) == ("redis://env", Path("/env"), "json")
    assert (said.fallback, said.drain, said.url) == (True, 5.0, "http://env")
    flagged = read(
        environ,
        listen="[::1]:3",
        admin="localhost:4",
        config=Path("flag.yaml"),
        store="memory",
        state_dir=Path("/flag"),
        log_format="console",
        fallback=False,
        drain=0.0,
        url="http://flag",
    )
    assert (flagged.listen, flagged.admin, flagged.config) == (("::1", 3), ("localhost", 4), Path("flag.yaml"))
    assert (flagged.store, flagged.state_dir, flagged.log_format) == ("memory", Path("/flag"), "console")
    assert (flagged.fallback, flagged.drain, flagged.url) == (False, 0.0, "http://flag")


def test_an_empty_variable_is_not_set() -> None:
    """A variable set to nothing, as compose files do, counts as absent."""
    assert read({**HOME, "HEADGATE_LISTEN": "", "HEADGATE_STORE": "", "HEADGATE_FALLBACK": ""}).listen == LISTEN


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("HEADGATE_LISTEN", "8080", r"HEADGATE_LISTEN: '8080' is not HOST:PORT"),
        ("HEADGATE_ADMIN", "a:b", r"HEADGATE_ADMIN: 'a:b' is not HOST:PORT"),
        ("HEADGATE_FALLBACK", "maybe", r"HEADGATE_FALLBACK: 'maybe' is neither true nor false"),
        ("HEADGATE_DRAIN", "-1", r"HEADGATE_DRAIN: '-1' is not a number of seconds"),
        ("HEADGATE_DRAIN", "nan", r"HEADGATE_DRAIN: 'nan' is not a number of seconds"),
        ("HEADGATE_LOG_FORMAT", "xml", r"HEADGATE_LOG_FORMAT: 'xml' is none of auto, json, console"),
    ],
)
def test_a_mistake_names_the_variable_and_the_form(variable: str, value: str, complaint: str) -> None:
    """A value that cannot be read is a ValueError that says where it stands and what it should look like."""
    with pytest.raises(ValueError, match=complaint):
        read({**HOME, variable: value})


def test_a_mistake_in_a_flag_names_the_flag() -> None:
    """The complaint about a flag names the flag, not the variable."""
    with pytest.raises(ValueError, match=r"^--log-format: 'xml'"):
        read(HOME, log_format="xml")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        (":8080", ("", 8080)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:1", ("::", 1)),
        ("proxy.internal:80", ("proxy.internal", 80)),
    ],
)
def test_addresses_read_and_print_alike(text: str, address: tuple[str, int]) -> None:
    """Every accepted form parses to host and port, and prints as it was written."""
    assert parse_address(text) == address
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "a", "a:", ":", ":65536", ":-1", ":+1", ":٣", "::1:80", "[::1]", "[::1:80", "[1.2.3.4]:80"),
        *("a b:80", "http://a:80", "a/b:80", "a:80 ", "u@a:80", "[fe80::1%]:80"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A missing or odd port, a bare IPv6 address, a URL or a user in front are ValueErrors."""
    with pytest.raises(ValueError):
        parse_address(text)


def test_the_url_of_every_interface_is_loopback() -> None:
    """What is printed for a worker on this machine can be dialled, whatever is listened on."""
    assert [parse_address(text).url for text in (":1", "0.0.0.0:1", "[::]:1", "[::1]:1", "a:1")] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://[::1]:1",
        "http://a:1",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    """Loopback is 127/8, ::1, the mapped form that the standard library misses, and the name."""
    assert is_loopback(host)
    assert Address(host, 1).loopback


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example.com", "127.1"])
def test_not_loopback(host: str) -> None:
    """Every interface, other addresses, and names that only look local are not loopback."""
    assert not is_loopback(host)


def test_the_state_directory_follows_xdg() -> None:
    """An absolute XDG_STATE_HOME is used, a relative one ignored, and without a home there is the system's place."""
    assert default_state_dir({**HOME, "XDG_STATE_HOME": "/xdg"}) == Path("/xdg/headgate")
    assert default_state_dir({**HOME, "XDG_STATE_HOME": "xdg"}) == Path("/home/ada/.local/state/headgate")
    assert default_state_dir({"HOME": "nowhere"}) == Path("/var/lib/headgate")


def test_settings_cannot_change_and_do_not_print_the_environment() -> None:
    """Settings are frozen, and their repr holds no variable of the environment."""
    settings = read({**HOME, "OPENAI_API_KEY": "CANARY"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.drain = 1.0  # type: ignore[misc]
    assert "CANARY" not in repr(settings)
    assert settings.environ["OPENAI_API_KEY"] == "CANARY"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("HEADGATE_TIMEOUT_HEAD", "2.5s", 2.5),
        ("HEADGATE_TIMEOUT_STORE_TRY", "0.05", 0.05),
        ("HEADGATE_MAX_CONNECTIONS", "12", 12),
        ("HEADGATE_MAX_BODY_BYTES", "3KiB", 3072),
        ("HEADGATE_MAX_MEMORY", "2GiB", 2 << 30),
        ("HEADGATE_MAX_TUNNELS", "0", 0),
        ("HEADGATE_MAX_HELD", "", 10_000),
    ],
)
def test_every_bound_and_time_has_a_variable(variable: str, text: str, value: float) -> None:
    """It changes its own number, and leaves the others at their defaults."""
    told = read({**HOME, variable: text})
    group, _, name = variable.removeprefix("HEADGATE_").lower().partition("_")
    changed, default = (told.timeouts, Timeouts()) if group == "timeout" else (told.ceilings, Ceilings())
    assert getattr(changed, name) == value
    assert dataclasses.replace(changed, **{name: getattr(default, name)}) == default


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("HEADGATE_TIMEOUT_HEAD", "0"),
        ("HEADGATE_TIMEOUT_HEAD", "-1"),
        ("HEADGATE_TIMEOUT_HEAD", "soon"),
        ("HEADGATE_TIMEOUT_TLS", "1e9"),
        ("HEADGATE_MAX_HELD", "-1"),
        ("HEADGATE_MAX_HELD", "1.5"),
        ("HEADGATE_MAX_MEMORY", "2GB"),
        ("HEADGATE_MAX_MEMORY", "1" * 13),
    ],
)
def test_a_bound_that_is_none_is_refused_by_its_name(variable: str, text: str) -> None:
    """The variable stands in the message, and what it should look like."""
    with pytest.raises(ValueError, match=f"^{variable}: ") as refused:
        read({**HOME, variable: text})
    assert "such as" in str(refused.value) or "no time" in str(refused.value)

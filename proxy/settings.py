"""Flags and environment -> one frozen Settings. The only reader of the environment.

Law: flag > environment > file > default (design 4.4). The file is not read here: `store`, `config` and `log_format`
are None when neither flag nor environment says anything, and whoever has the policy asks it next. Kubernetes writes
HEADGATE_PORT, HEADGATE_SERVICE_HOST and their like for a Service of our name, so no setting is called so, and an
unknown HEADGATE_ variable is no mistake.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from rules import spellings

_T = TypeVar("_T")

LogFormat = Literal["auto", "json", "console"]
LOG_FORMATS: tuple[LogFormat, ...] = ("auto", "json", "console")
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


class Address(NamedTuple):
    """Where to listen. `host` is empty for every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """How a program on this machine reaches it."""
        anywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
        return f"http://{Address(anywhere.get(self.host, self.host), self.port)}"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


# Design 4.1 and 4.5.
LISTEN = Address("127.0.0.1", 8080)
ADMIN = Address("127.0.0.1", 9091)
# The grace a pod has by default (Kubernetes, terminationGracePeriodSeconds).
DRAIN = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds after which a call ends in its own code; the start values of threats 4.3."""

    head: float = 10.0
    body_idle: float = 15.0
    body_total: float = 600.0
    dns: float = 3.0
    connect: float = 5.0
    tls: float = 10.0
    """Towards upstreams, and a worker's handshake inside CONNECT (threats D9)."""
    first_byte: float = 300.0
    upstream_idle: float = 120.0
    keep_alive: float = 60.0
    pool_keep_alive: float = 15.0
    tunnel_idle: float = 300.0
    tunnel_life: float = 3600.0
    store_try: float = 0.075
    """One try of a tick: half the 150 ms that threats 4.3 gives a tick."""
    write_idle: float = 120.0
    """A client that does not take its answer: as long as an upstream may be silent."""
    admin: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What is bounded, so that no caller can use up the process (threats 4.2). Full: 503 `overloaded`."""

    connections: int = 20_000
    """Twice the 10,000 held calls of design 5; 9.3 KiB each without a body (threats 4.2)."""
    connections_per_client: int = 10_000
    """One worker's address may hold the design's whole 10,000: a single machine is the usual case."""
    upstream_connections: int = 10_000
    """To upstreams, in use at once, and as many to one of them: every held call (design 5) takes one when it goes, and
    a caller that does not read its answer keeps it for as long as it may."""
    held: int = 10_000
    """Calls that wait, of all services: design 5."""
    held_per_client: int = 10_000
    """One worker may be the only one; among several the line is fair by user, whoever holds how many."""
    held_body_bytes: int = 256 * 1024 * 1024
    """As much again as the 250 MiB of design 5 for 10,000 held calls without bodies."""
    body_bytes: int = 1 << 30
    """Of one request: twice the largest that a catalogue service takes (512 MB of images, provider-facts 2.5)."""
    body_rate: int = 1024
    """Bytes a second that a body must come with on average: threats 4.3. A floor, counted among the ceilings."""
    tunnels: int = 1_000
    """Blind tunnels live up to an hour and take two sockets each; a tenth of the held calls."""
    websockets: int = 1_000
    """They live as long as tunnels, and take as much."""
    minted_hosts: int = 1_000
    """Contexts of `certs.leaf.Minter`, 20 KiB each."""
    memory: int = 0
    """Bytes the process may use: at 80 % no call is held any more, at 90 % no connection taken (threats 4.2). 0: as
    many as its control group may, and where that has no bound, no such steps."""


_N = TypeVar("_N", Timeouts, Ceilings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one process was told. Durations in seconds."""

    listen: Address = LISTEN
    admin: Address = ADMIN
    config: Path | None = None
    """None: looked for in the places of design 4.3."""
    store: str | None = None
    """`memory` or a Redis URL; None: the file's `store`, and its default."""
    state_dir: Path
    log_format: LogFormat | None = None
    """One of LOG_FORMATS; None: the file's."""
    fallback: bool = False
    """Serve on the embedded gate when the store cannot be reached at start."""
    drain: float = DRAIN
    """From SIGTERM to the exit."""
    url: str | None = None
    """The Headgate that `env` and `run` speak of (HEADGATE_URL)."""
    admin_token: str | None = field(default=None, repr=False)
    """What must be shown under `/api/` of the admin port (HEADGATE_ADMIN_TOKEN)."""
    timeouts: Timeouts = Timeouts()
    ceilings: Ceilings = Ceilings()
    environ: Mapping[str, str] = field(repr=False)
    """The environment itself: for interpolation in the policy, keys, and a child's variables."""


def read(
    environ: Mapping[str, str] | None = None,
    *,
    listen: str | None = None,
    admin: str | None = None,
    config: Path | None = None,
    store: str | None = None,
    state_dir: Path | None = None,
    log_format: str | None = None,
    fallback: bool | None = None,
    drain: float | None = None,
    url: str | None = None,
) -> Settings:
    """Lay the flags (None: not given) over `environ` (None: this process's) over the defaults.

    Raises ValueError with the name of the flag or variable and what it should look like; a value is quoted only where
    it can hold no secret.
    """
    environ = os.environ if environ is None else environ

    def chosen(name: str, flag: str | None, parse: Callable[[str], _T]) -> _T | None:
        variable = f"HEADGATE_{name.upper()}"
        source, text = (f"--{name.replace('_', '-')}", flag) if flag is not None else (variable, environ.get(variable))
        if text is None or text == "":
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    config_path = chosen("config", _text(config), Path)
    switched = fallback if fallback is not None else chosen("fallback", None, _parse_switch)
    seconds = chosen("drain", None if drain is None else str(drain), _parse_seconds)
    return Settings(
        listen=chosen("listen", listen, parse_address) or LISTEN,
        admin=chosen("admin", admin, parse_address) or ADMIN,
        config=config_path,
        store=chosen("store", store, spellings.store),
        state_dir=chosen("state_dir", _text(state_dir), Path) or default_state_dir(environ),
        log_format=chosen("log_format", log_format, _parse_log_format),
        fallback=bool(switched),
        drain=DRAIN if seconds is None else seconds,
        url=chosen("url", url, str),
        admin_token=chosen("admin_token", None, str),
        timeouts=_numbers(Timeouts, "HEADGATE_TIMEOUT_", environ, _parse_timeout),
        ceilings=_numbers(Ceilings, "HEADGATE_MAX_", environ, _parse_amount),
        environ=environ,
    )


def _numbers(of: type[_N], prefix: str, environ: Mapping[str, str], parse: Callable[[str], float]) -> _N:
    """The numbers of a group, each with a variable of its name."""
    told: dict[str, Any] = {}
    for one in fields(of):
        variable = prefix + one.name.upper()
        if text := environ.get(variable):
            try:
                told[one.name] = parse(text)
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from None
    return replace(of(), **told)


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[::1]:PORT`, or `:PORT` for every interface. Port 0: any free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080")
    if host.startswith("[") and host.endswith("]"):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{text!r} has no IPv6 address in its brackets") from None
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [::1]:8080")
    elif host and not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError(f"{text!r} has no host name or address before its port")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach, or be, this address: 127/8, ::1, their mapped form, or `localhost`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback  # is_loopback of the mapped form says False (threats 1.3)
    return address.is_loopback


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/headgate`, else `~/.local/state/headgate`, else (nobody's home) `/var/lib/headgate`."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():  # "All paths must be absolute; relative ones are ignored": XDG base directories
        return state / "headgate"
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    return home / ".local/state/headgate" if home.is_absolute() else Path("/var/lib/headgate")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _parse_switch(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _parse_seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?s?", text):
        raise ValueError(f"{text!r} is not a number of seconds, such as 30 or 30s")
    return float(text.removesuffix("s"))


def _parse_timeout(text: str) -> float:
    if (seconds := _parse_seconds(text)) <= 0:
        raise ValueError(f"{text!r} gives no time at all")
    return seconds


def _parse_amount(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,12})(KiB|MiB|GiB)?", text)
    if found is None:
        raise ValueError(f"{text!r} is not a whole number, such as 1000 or 256MiB")
    return int(found[1]) << {None: 0, "KiB": 10, "MiB": 20, "GiB": 30}[found[2]]


def _parse_log_format(text: str) -> LogFormat:
    found = next((known for known in LOG_FORMATS if known == text), None)
    if found is None:
        raise ValueError(f"{text!r} is none of {', '.join(LOG_FORMATS)}")
    return found

"""The gate's script on Redis or Valkey, as a library of functions: the only importer of redis.

Law: redis-py's own retries and long time-outs are off (threats 4.4: they hang for a minute and run a script twice);
only the gate's actor retries, with the same sequence number. What goes wrong leaves here as StoreUnavailable, whose
text names the address and never a password, a command or a peer's bytes.

A tick does not go through redis-py's client: checking a connection out of its pool, asking it for health, packing and
three time-outs cost more than the script. redis-py makes the connections (addresses, TLS, credentials) and parses the
answers; a connection carries one tick at a time and is kept while it has had no fault.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rules.gate import LIBRARY_PREFIX, Library, redis_library

from .patience import Patience
from .store import Fault, StoreUnavailable

TRY_TIMEOUT = 0.075
"""Seconds for one try of a tick, this loop's own standstills apart; two of them are the 150 ms of limiter.md 5."""

CONNECT_TIMEOUT = 2.0
"""Seconds for the first words with a server at start, or when probing one that was away."""

LEAST_VERSION = 7
"""Functions, and their refusal on memory exhaustion, came with Redis 7 (threats 4.4)."""

_NO_FUNCTION = "Function not found"
"""How Redis and Valkey begin to say that the library is gone: after a restart without data, or FUNCTION FLUSH."""


_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], Fault, str], ...] = (
    ((exceptions.AuthenticationError, exceptions.AuthorizationError), "auth", "it refuses our credentials"),
    ((exceptions.NoPermissionError,), "permission", "it refuses our credentials a command that Headgate needs"),
    ((exceptions.BusyLoadingError,), "loading", "it is loading its data"),
    ((exceptions.ReadOnlyError,), "readonly", "it is a replica that accepts no writes"),
    ((exceptions.OutOfMemoryError,), "oom", "it is out of memory"),
    ((exceptions.MasterDownError,), "masterdown", "it is a replica that has lost its primary"),
    ((exceptions.ClusterDownError,), "clusterdown", "its cluster is down"),
    ((exceptions.AskError, exceptions.TryAgainError), "moved", "another node of its cluster has this service"),
    ((TimeoutError, exceptions.TimeoutError), "slow", "it does not answer in time"),
    ((exceptions.ConnectionError, OSError), "gone", "no connection"),
)
_BY_WORD: dict[str, tuple[Fault, str]] = {
    "BUSY": ("busy", "it is busy running somebody's script"),
    "MISCONF": ("misconf", "it accepts no writes, because it cannot save to its disk"),
    "NOREPLICAS": ("noreplicas", "it accepts no writes, because it has too few replicas"),
    "WRONGTYPE": ("wrongtype", "a key of Headgate's holds something else; it must be Headgate's own"),
}
"""Errors that redis-py has no class for, by the first word of what the server says."""


def _diagnosis(error: BaseException) -> tuple[Fault, str]:
    """What is wrong, and in our own words: the library's text may quote the peer."""
    for types, fault, words in _BY_TYPE:
        if isinstance(error, types):
            return fault, words
    return _BY_WORD.get(str(error).partition(" ")[0]) or (
        "script",
        f"it answers with an error ({type(error).__name__})",
    )


def _bulk(value: bytes) -> bytes:
    """An argument as the protocol writes it (RESP2, bulk string)."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _command(*words: bytes) -> bytes:
    """A whole command as the protocol writes it."""
    return b"*%d\r\n" % len(words) + b"".join(_bulk(word) for word in words)


class RedisHost:
    """Ticks and nudges over one Redis."""

    def __init__(self, url: str, *, library: Library | None = None, try_timeout: float = TRY_TIMEOUT) -> None:
        """`url`: redis://, rediss:// or unix://. Raises StoreUnavailable when it is none. `library`: a test's build."""
        self._url = url
        self._library = library or redis_library()
        self._try_timeout = try_timeout
        self._listener = self._make(url, None)
        self._fcall = _bulk(b"FCALL") + _bulk(self._library.name.encode()) + _bulk(b"1")
        self._load = _command(b"FUNCTION", b"LOAD", b"REPLACE", self._library.source.encode())
        # its connections have no time-out of their own: `tick` has one for all its steps
        self._ticks: Any = self._make(url, None).connection_pool
        self._idle: list[AbstractConnection] = []
        self.faults: Counter[Fault] = Counter()
        """What went wrong so far, each try by itself."""
        self.address = self._address()
        self.places: frozenset[tuple[str, int]] = frozenset()
        """Where the server listens, as its name was resolved at the last `connect`: nobody else may be led there."""

    @staticmethod
    def _make(url: str, timeout: float | None) -> redis.asyncio.Redis:
        # a socket file knows no such thing
        more = {} if url.startswith("unix://") else {"socket_keepalive": True}
        try:
            return redis.asyncio.Redis.from_url(
                url,
                decode_responses=False,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                socket_timeout=timeout,
                socket_connect_timeout=CONNECT_TIMEOUT if timeout is None else timeout,
                protocol=2,
                **more,
            )
        except (ValueError, exceptions.RedisError):
            raise StoreUnavailable("store: not a redis://, rediss:// or unix:// address", "address") from None

    def _address(self) -> str:
        kwargs = self._ticks.connection_kwargs
        if "path" in kwargs:
            return str(kwargs["path"])
        return f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        fault, words = _diagnosis(error)
        self.faults[fault] += 1
        return StoreUnavailable(f"Redis at {self.address} cannot be used: {words}", fault)

    async def connect(self) -> None:
        """Check the server, load our library and remove those of other releases. Raises StoreUnavailable.

        A replica of another release that still runs loads its own again with its next tick.

        On a client of its own: a tick that fails meanwhile closes what ticks share, and may not close this.
        """
        await self._resolve()
        client = self._make(self._url, CONNECT_TIMEOUT)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                info: dict[str, Any] = await client.info("server")
                version = str(info.get("redis_version", "0"))
                if int(version.split(".")[0]) < LEAST_VERSION:
                    raise StoreUnavailable(
                        f"Redis at {self.address} is version {version}; Headgate needs {LEAST_VERSION} or newer",
                        "version",
                    )
                await client.function_load(self._library.source, replace=True)
                for found in await client.function_list(library=f"{LIBRARY_PREFIX}*"):
                    name = dict(zip(found[::2], found[1::2], strict=True))[b"library_name"].decode()
                    if name != self._library.name:
                        await client.function_delete(name)
        except (exceptions.RedisError, OSError, TimeoutError, ValueError) as error:
            raise self._unavailable(error) from None
        finally:
            await self._close_quietly(client)

    async def _resolve(self) -> None:
        kwargs = self._ticks.connection_kwargs
        if "path" in kwargs:
            return
        host, port = kwargs.get("host", "localhost"), int(kwargs.get("port", 6379))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError):
            return  # connecting fails too, and says so; what was known stays reserved
        self.places = frozenset((str(entry[4][0]).partition("%")[0], port) for entry in found)

    async def tick(self, key: bytes, args: Sequence[bytes | int]) -> bytes:
        """Run one tick. Raises StoreUnavailable."""
        try:
            async with Patience(self._try_timeout):
                packed = [b"*%d\r\n" % (len(args) + 4), self._fcall, _bulk(key)]
                packed += [_bulk(b"%d" % arg if isinstance(arg, int) else arg) for arg in args]
                said = b"".join(packed)
                try:
                    return await self._ask(said)
                except exceptions.ResponseError as error:
                    if not str(error).startswith(_NO_FUNCTION):
                        raise
                    await self._ask(self._load)
                    return await self._ask(said)
        # a ValueError is redis-py's own, over words of the server that are not what they should be
        except (exceptions.RedisError, OSError, TimeoutError, ValueError) as error:
            await self._forget_connections()
            raise self._unavailable(error) from None

    async def _ask(self, packed: bytes) -> bytes:
        """One command on a connection of its own."""
        idle = self._idle
        connection: AbstractConnection = idle.pop() if idle else self._ticks.make_connection()
        reusable = False
        try:
            await connection.send_packed_command((packed,), check_health=False)
            answer = await connection.read_response()
            if not isinstance(answer, bytes):
                raise exceptions.InvalidResponse
            reusable = True
            return answer
        except exceptions.ResponseError:
            reusable = True
            raise
        finally:
            # another list stands there: a failure elsewhere has made this connection suspect
            if reusable and idle is self._idle:
                idle.append(connection)
            else:
                await connection.disconnect(nowait=True)

    async def _forget_connections(self) -> None:
        """After a failure nothing may be read from an old connection, and a name may now mean another server."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def listen(self, replica: str, on_nudge: Callable[[bytes], None]) -> None:
        """Call `on_nudge(prefix of the service)` for each grant that another replica's tick made for us.

        Returns when the connection is lost; nudges are hints, a heartbeat finds what they would have told.
        """
        pubsub = self._listener.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(f"rl:nudge:{replica}")
            async for message in pubsub.listen():
                if message["type"] == "message":
                    on_nudge(message["data"])
        except (exceptions.RedisError, OSError, TimeoutError):
            return
        finally:
            await self._close_quietly(pubsub)

    @staticmethod
    async def _close_quietly(what: Any) -> None:
        try:
            await what.aclose()
        except (exceptions.RedisError, OSError):
            return

    async def close(self) -> None:
        """Close every connection."""
        await self._forget_connections()
        await self._close_quietly(self._listener)

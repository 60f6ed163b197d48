"""From a host and a port to a connected socket: resolve, filter, connect.

The law: an address is checked twice, when the resolver answers and on the final socket address, because IP literals
never pass a resolver and a second answer may differ from the first (threats 1.3). Names are asked with a trailing dot,
so that no search list of the machine can turn them into other names (C13).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import aiohappyeyeballs

from .addresses import Address, AddressPolicy, HostInvalid, parse_host
from .faults import AddressDenied, PortDenied, UpstreamConnectTimeout, UpstreamDnsTimeout, UpstreamRefused
from .tasks import spawn

Lookup = Callable[[str], Awaitable[list[str]]]
"""A name as the resolver gets it -> addresses as text. Raises socket.gaierror."""

# aiohttp's own defaults for its cache of names (TCPConnector, ttl_dns_cache and dns_cache_max_size).
CACHE_TTL_S = 10.0
CACHE_NAMES = 1000

# RFC 8305 section 5: the recommended delay between connection attempts.
HAPPY_EYEBALLS_DELAY_S = 0.25

# getaddrinfo blocks its thread for as long as the system's resolver likes; these are ours, so that a dead name server
# cannot starve the threads that read files.
RESOLVER_THREADS = 8

# What `localhost` and all below it mean, whatever a name server says (RFC 6761 section 6.3). Asked with its trailing
# dot, a hosts file would not know it.
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_RETRYABLE = (socket.EAI_AGAIN,)  # the name server did not answer, or said SERVFAIL


@dataclass(frozen=True, slots=True)
class Place:
    """What is dialled. `checked` is False for a place the operator named: only what is reserved for ourselves is closed
    to it."""

    host: str
    port: int
    checked: bool


class SystemLookup:
    """The system's getaddrinfo in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="headgate-dns")

    async def __call__(self, name: str) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _getaddrinfo, name)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _getaddrinfo(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for family, _, _, _, sockaddr in found if family in (socket.AF_INET, socket.AF_INET6)]


class Dialer:
    """Opens connected sockets to allowed addresses.

    `addresses` may be replaced at any time: a reloaded policy holds from the next dial on, cached names included.
    """

    def __init__(
        self, addresses: AddressPolicy, *, dns_s: float, connect_s: float, lookup: Lookup | None = None
    ) -> None:
        self.addresses = addresses
        self._dns_s = dns_s
        self._connect_s = connect_s
        self._system = SystemLookup()
        self._lookup = lookup or self._system
        self._cache: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()
        self._pending: dict[str, asyncio.Task[list[str] | int]] = {}

    async def dial(self, place: Place) -> socket.socket:
        """A connected, non-blocking TCP socket.

        Raises AddressDenied, PortDenied, UpstreamRefused, UpstreamDnsTimeout, UpstreamConnectTimeout.
        """
        found = self._allowed(await self._addresses_of(place), place)
        infos = [_info(address, place.port) for address in found]
        denied: list[AddressDenied | PortDenied] = []

        def make(info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
            family, kind, protocol, _, sockaddr = info
            try:
                self._check(ip_address(sockaddr[0]), place)
            except (AddressDenied, PortDenied) as fault:
                denied.append(fault)
                # an OSError, so that the race goes on to the next address
                raise OSError(errno.EACCES, "denied") from None
            return socket.socket(family, kind, protocol)

        try:
            async with asyncio.timeout(self._connect_s):
                return await aiohappyeyeballs.start_connection(
                    infos, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S, socket_factory=make
                )
        except (OSError, RuntimeError) as error:
            # TimeoutError is an OSError; uvloop raises RuntimeError where asyncio raises OSError
            if denied:
                raise denied[0] from None
            if isinstance(error, TimeoutError):
                raise UpstreamConnectTimeout from None
            raise UpstreamRefused from None

    async def close(self) -> None:
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        self._system.close()

    def _check(self, address: Address, place: Place) -> None:
        policy = self.addresses
        (policy.check if place.checked else policy.check_named)(address, place.port)

    def _allowed(self, found: list[Address], place: Place) -> list[Address]:
        kept, refused = [], None
        for address in found:
            try:
                self._check(address, place)
            except (AddressDenied, PortDenied) as fault:
                refused = fault
            else:
                kept.append(address)
        if not kept:
            raise refused or AddressDenied()
        return kept

    async def _addresses_of(self, place: Place) -> list[Address]:
        literal = _literal(place)
        if literal is not None:
            return [literal]
        host = place.host.removesuffix(".").lower()
        if host == "localhost" or host.endswith(".localhost"):
            return list(_LOOPBACK)
        name = f"{host}." if place.checked else place.host
        return [ip_address(text) for text in await self._resolve(name)]

    async def _resolve(self, name: str) -> list[str]:
        now = asyncio.get_running_loop().time()
        cached = self._cache.get(name)
        if cached is not None and cached[0] > now:
            self._cache.move_to_end(name)
            return cached[1]
        task = self._pending.get(name)
        if task is None:
            task = self._pending[name] = spawn(self._ask(name), name="dns")
            task.add_done_callback(lambda _: self._pending.pop(name, None))
        try:
            async with asyncio.timeout(self._dns_s):
                # a caller that leaves must not take the answer from the others
                answer = await asyncio.shield(task)
        except TimeoutError:
            raise UpstreamDnsTimeout from None
        if isinstance(answer, int):
            raise UpstreamDnsTimeout if answer in _RETRYABLE else UpstreamRefused
        return answer

    async def _ask(self, name: str) -> list[str] | int:
        """Addresses, or the resolver's error number: nobody may be waiting any more when it comes."""
        try:
            answer = list(dict.fromkeys(await self._lookup(name)))
        except socket.gaierror as error:
            return error.errno or socket.EAI_FAIL
        except (OSError, UnicodeError):
            return socket.EAI_FAIL
        if not answer:
            return socket.EAI_NONAME
        self._cache[name] = (asyncio.get_running_loop().time() + CACHE_TTL_S, answer)
        self._cache.move_to_end(name)
        while len(self._cache) > CACHE_NAMES:
            self._cache.popitem(last=False)
        return answer


def _literal(place: Place) -> Address | None:
    """The address a host spells, None for a name. A checked host must be spelled as parse_host demands."""
    if ":" not in place.host:
        try:
            return parse_host(place.host).address
        except HostInvalid:
            if place.checked:
                raise AddressDenied from None
            return None
    try:
        return IPv6Address(place.host)
    except ValueError:
        raise AddressDenied from None


def _info(address: Address, port: int) -> aiohappyeyeballs.AddrInfoType:
    text = str(address)
    if address.version == 6:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, port)

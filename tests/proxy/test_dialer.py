"""From name to socket: which names are asked, which answers are dialled, and how long anything may take."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.addresses import AddressPolicy
from proxy.dialer import CACHE_NAMES, Dialer, Place, SystemLookup
from proxy.faults import (
    AddressDenied,
    PortDenied,
    UpstreamConnectTimeout,
    UpstreamDnsTimeout,
    UpstreamProblem,
    UpstreamRefused,
)
from tests.raw_server import answering, ok, raw_server


class Names:
    """A resolver with written answers: the n-th question gets the n-th, the last one again and again."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, OSError):
            raise answer
        return answer


Make = Callable[..., Dialer]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Builds dialers, closes them."""
    made: list[Dialer] = []

    def build(names: Names | None, policy: AddressPolicy | None = None, **seconds: float) -> Dialer:
        limits = {"dns_s": 3.0, "connect_s": 5.0, **seconds}
        made.append(
            Dialer(policy or AddressPolicy(), lookup=names, dns_s=limits["dns_s"], connect_s=limits["connect_s"])
        )
        return made[-1]

    yield build
    for dialer in made:
        await dialer.close()


def loopback(port: int) -> AddressPolicy:
    """127.0.0.1 may be dialled on this port, and nothing else inside."""
    return AddressPolicy(allow=[("127.0.0.1/32", port)])


async def test_only_allowed_answers_are_dialled(make: Make) -> None:
    """Of a mixed answer only what may be dialled is dialled (C6)."""
    async with raw_server(answering(ok())) as server:
        names = Names(["10.0.0.1", "127.0.0.2", "127.0.0.1", "::1"])
        dialer = make(names, loopback(server.port))
        with await dialer.dial(Place("api.test", server.port, True)) as sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)
            assert sock.getblocking() is False


@pytest.mark.parametrize(
    "answer",
    [
        ["10.0.0.1"],
        ["127.0.0.1", "::1"],
        ["169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["fe80::1%lo"],
        ["::ffff:10.0.0.1"],
    ],
    ids=str,
)
async def test_no_allowed_answer(answer: list[str], make: Make) -> None:
    """A name all of whose addresses are inside is address_denied (C8, C14)."""
    with pytest.raises(AddressDenied):
        await make(Names(answer)).dial(Place("api.test", 443, True))


async def test_rebinding(make: Make) -> None:
    """However often a name changes its mind, and whatever it says second, loopback is never dialled (C7)."""
    async with raw_server(answering(ok())) as server:
        # the port is one that may be dialled: only the address stands between the name and our server
        policy = AddressPolicy(ports=(server.port,))
        for turn in range(1000):
            names = Names(["8.8.8.8"], ["127.0.0.1"])
            dialer = make(names, policy, connect_s=0.001)
            await names("warm up")
            code = None
            try:
                (await dialer.dial(Place(f"a{turn}.test", server.port, True))).close()
            except UpstreamProblem as problem:
                code = problem.code
            assert code == "address_denied"
        assert not server.connections


class Fickle(AddressPolicy):
    """Lets an address through the first time only: the policy was replaced between filter and connect."""

    seen = 0

    def check(self, address: object, port: int) -> None:
        self.seen += 1
        if self.seen > 1:
            raise AddressDenied


async def test_socket_is_checked_too(make: Make) -> None:
    """The second check, on the final socket address, stands on its own."""
    async with raw_server(answering(ok())) as server:
        for answer in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
            policy = Fickle()
            policy.seen = 1 - len(answer)
            with pytest.raises(AddressDenied):
                await make(Names(answer), policy).dial(Place("api.test", server.port, True))
        assert not server.connections


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0", "::"])
async def test_literals_are_checked(host: str, make: Make) -> None:
    """An address in the target is checked like a resolved one, and no resolver is asked."""
    names = Names(["8.8.8.8"])
    with pytest.raises(AddressDenied):
        await make(names).dial(Place(host, 443, True))
    assert not names.asked


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0", "①②⑦.⓪.⓪.①", "a\0b", "a b", "fe80::1%lo"]
)
async def test_strange_spellings_reach_no_resolver(host: str, make: Make) -> None:
    """A host that parse_host refuses is refused here once more (C4)."""
    names = Names(["8.8.8.8"])
    with pytest.raises(AddressDenied):
        await make(names).dial(Place(host, 443, True))
    assert not names.asked


async def test_ports(make: Make) -> None:
    """A port outside the policy is port_denied (C10)."""
    with pytest.raises(PortDenied):
        await make(Names(["8.8.8.8"])).dial(Place("api.test", 6379, True))


async def test_no_search_list(make: Make) -> None:
    """A checked name is asked with a trailing dot, so no search list applies; the operator's as written (C13)."""
    names = Names(["127.0.0.1"])
    async with raw_server(answering(ok())) as server:
        dialer = make(names, loopback(server.port))
        (await dialer.dial(Place("redis", server.port, True))).close()
        (await dialer.dial(Place("redis", server.port, False))).close()
    assert names.asked == ["redis.", "redis"]


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LocalHost", "a.localhost"])
async def test_localhost_is_loopback_and_nobody_is_asked(host: str, make: Make) -> None:
    """Whatever a name server would say: denied like 127.0.0.1, and reached where 127.0.0.1 is (RFC 6761)."""
    async with raw_server(answering(ok())) as server:
        names = Names(["8.8.8.8"])
        (await make(names, loopback(server.port)).dial(Place(host, server.port, True))).close()
        (await make(names).dial(Place(host, server.port, False))).close()
        with pytest.raises(AddressDenied):
            await make(names).dial(Place(host, 443, True))
        assert not names.asked
    assert len(server.connections) == 2


async def test_operators_place_is_dialled_as_it_is(make: Make) -> None:
    """An unchecked place may be anywhere: the operator named it."""
    async with raw_server(answering(ok())) as server:
        (await make(Names()).dial(Place("127.0.0.1", server.port, False))).close()


async def test_names_are_asked_once(make: Make) -> None:
    """An answer is kept for a while, and callers at the same time share one question."""
    async with raw_server(answering(ok())) as server:
        names = Names(["127.0.0.1"])
        dialer = make(names, loopback(server.port))
        place = Place("api.test", server.port, True)
        for sock in await asyncio.gather(*[dialer.dial(place) for _ in range(5)]):
            sock.close()
        (await dialer.dial(place)).close()
        assert names.asked == ["api.test."]


async def test_cached_names_follow_a_new_policy(make: Make) -> None:
    """A policy that was replaced holds for names that were resolved under the old one."""
    async with raw_server(answering(ok())) as server:
        dialer = make(Names(["127.0.0.1"]), loopback(server.port))
        place = Place("api.test", server.port, True)
        (await dialer.dial(place)).close()
        dialer.addresses = AddressPolicy(ports=(server.port,))
        with pytest.raises(AddressDenied):
            await dialer.dial(place)


async def test_cache_is_bounded(make: Make) -> None:
    """The cache forgets the oldest names, so nobody can fill the memory with them."""
    dialer = make(Names(["10.0.0.1"]))
    for number in range(CACHE_NAMES + 50):
        with pytest.raises(AddressDenied):
            await dialer.dial(Place(f"n{number}.test", 443, True))
    assert len(dialer._cache) == CACHE_NAMES


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (socket.EAI_NONAME, UpstreamRefused),
        (socket.EAI_NODATA, UpstreamRefused),
        (socket.EAI_FAIL, UpstreamRefused),
        (socket.EAI_AGAIN, UpstreamDnsTimeout),
    ],
)
async def test_resolver_errors(number: int, problem: type[UpstreamProblem], make: Make) -> None:
    """NXDOMAIN is refused, a name server that does not answer is a time-out; neither is remembered (H12)."""
    names = Names(socket.gaierror(number, "sk-SECRET"))
    dialer = make(names)
    for _ in range(2):
        with pytest.raises(problem) as caught:
            await dialer.dial(Place("api.test", 443, True))
        assert "SECRET" not in repr(caught.value)
    assert len(names.asked) == 2


async def test_empty_answer(make: Make) -> None:
    """A name without addresses is refused."""
    with pytest.raises(UpstreamRefused):
        await make(Names([])).dial(Place("api.test", 443, True))


async def test_dns_timeout(make: Make) -> None:
    """A resolver that takes too long is upstream_dns_timeout for each caller; its late answer serves the next."""
    go = asyncio.Event()

    class Slow(Names):
        async def __call__(self, name: str) -> list[str]:
            await go.wait()
            return await super().__call__(name)

    names = Slow(["10.0.0.1"])
    dialer = make(names, dns_s=0.02)
    for _ in range(2):
        with pytest.raises(UpstreamDnsTimeout):
            await dialer.dial(Place("api.test", 443, True))
    go.set()
    with pytest.raises(AddressDenied):
        await dialer.dial(Place("api.test", 443, True))
    assert names.asked == ["api.test."]


async def test_cancelled_caller_leaves_the_question_to_others(make: Make) -> None:
    """A caller that leaves does not take the answer from those who share its question."""
    go = asyncio.Event()

    class Slow(Names):
        async def __call__(self, name: str) -> list[str]:
            await go.wait()
            return await super().__call__(name)

    dialer = make(Slow(["10.0.0.1"]))
    one = asyncio.ensure_future(dialer.dial(Place("api.test", 443, True)))
    other = asyncio.ensure_future(dialer.dial(Place("api.test", 443, True)))
    await asyncio.get_running_loop().run_in_executor(None, int)
    one.cancel()
    go.set()
    with pytest.raises(AddressDenied):
        await other
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_connect_timeout(make: Make) -> None:
    """A server whose line is full accepts nobody: upstream_connect_timeout."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        try:
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            with pytest.raises(UpstreamConnectTimeout):
                await make(None, connect_s=0.05).dial(Place("127.0.0.1", port, False))
        finally:
            for filler in fillers:
                filler.close()


async def test_second_address_is_tried(make: Make) -> None:
    """When one address refuses, the next is tried."""
    async with raw_server(answering(ok())) as server:
        policy = AddressPolicy(allow=[("127.0.0.0/8", server.port)])
        dialer = make(Names(["127.9.9.9", "127.0.0.1"]), policy)
        with await dialer.dial(Place("api.test", server.port, True)) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


async def test_system_lookup() -> None:
    """The system's resolver knows localhost, and what it does not know it says."""
    lookup = SystemLookup()
    assert "127.0.0.1" in await lookup("localhost")
    with pytest.raises(socket.gaierror):
        await lookup("no such name")
    lookup.close()

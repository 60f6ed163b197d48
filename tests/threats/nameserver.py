"""A name server on loopback whose answers change from question to question, and the question a resolver would ask it.

Law: what a name means is decided anew for every packet, with a time to live of 0, as a hostile server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_address

_A, _AAAA, _IN = 1, 28, 1
_QUESTION = 0x0100  # recursion desired
_ANSWER = 0x8180  # a response, recursion available
_TO_THE_NAME = b"\xc0\x0c"  # a pointer to the question's name (RFC 1035 section 4.1.4)

Answers = Callable[[str, int], Sequence[str]]
"""The name as it was asked, and the how-manieth question about it, from 0 -> addresses."""


class NameServer(asyncio.DatagramProtocol):
    """Answers A and AAAA questions; keeps the names it was asked for, in order."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._times: dict[tuple[str, int], int] = {}
        self._ids = itertools.count(1)
        self.asked: list[str] = []
        self.looked_up: list[str] = []
        """Names as `lookup` was given them."""
        self.port = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # the selector loop's is no subclass
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        question = data[12:]
        name = _read_name(question)
        kind = struct.unpack_from("!H", question, len(name) + 1)[0]
        turn = self._times.get((name, kind), 0)
        self._times[name, kind] = turn + 1
        self.asked.append(name)
        version = 4 if kind == _A else 6
        found = [ip_address(text) for text in self._answers(name, turn)]
        records = [
            _TO_THE_NAME + struct.pack("!HHIH", kind, _IN, 0, len(one.packed)) + one.packed
            for one in found
            if one.version == version
        ]
        head = data[:2] + struct.pack("!HHHHH", _ANSWER, 1, len(records), 0, 0)
        self.transport.sendto(head + question + b"".join(records), addr)

    async def lookup(self, name: str) -> list[str]:
        """What a resolver without a cache and without a search list makes of a name: both kinds, asked by packet."""
        loop = asyncio.get_running_loop()
        self.looked_up.append(name)
        found = []
        for kind in (_A, _AAAA):
            labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split("."))
            asked = struct.pack("!HHHHHH", next(self._ids) & 0xFFFF, _QUESTION, 1, 0, 0, 0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(("127.0.0.1", self.port))
                await loop.sock_sendall(sock, asked + labels + struct.pack("!BHH", 0, kind, _IN))
                found += _addresses(await loop.sock_recv(sock, 4096))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found


def _read_name(question: bytes) -> str:
    labels, at = [], 0
    while size := question[at]:
        labels.append(question[at + 1 : at + 1 + size].decode())
        at += size + 1
    return ".".join(labels) + "."


def _addresses(packet: bytes) -> list[str]:
    at, found = 12 + len(_read_name(packet[12:])) + 1 + 4, []
    for _ in range(struct.unpack_from("!H", packet, 6)[0]):
        size = struct.unpack_from("!H", packet, at + 10)[0]
        found.append(str(ip_address(packet[at + 12 : at + 12 + size])))
        at += 12 + size
    return found


@contextlib.asynccontextmanager
async def name_server(answers: Answers, at: tuple[str, int] = ("127.0.0.1", 0)) -> AsyncIterator[NameServer]:
    """Serve until the block ends."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(answers), local_addr=at)
    try:
        yield server
    finally:
        transport.close()

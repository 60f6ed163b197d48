"""proxy/outgoing.py: where a call goes, under which Host, and with which fields."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from tests.raw_server import answering, ok, raw_server

from .corridor import KEYS, PATH, TOKEN, Corridor, corridor, service

OK = ok(b"{}")


def lines_of(request: bytes) -> list[bytes]:
    """Request line and fields."""
    return request.partition(b"\r\n\r\n")[0].split(b"\r\n")


def values(request: bytes, name: bytes) -> list[bytes]:
    """Every value of a field."""
    return [line.partition(b": ")[2] for line in lines_of(request)[1:] if line.lower().startswith(name + b": ")]


async def raw(front: Corridor, head: bytes) -> bytes:
    """Send these bytes, read until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(head)
    got = await reader.read()
    writer.close()
    return got


async def test_the_operator_s_base_url_gives_host_port_and_prefix() -> None:
    """`upstream: http://host:port/prefix`: the target goes behind the prefix, Host says host and port."""
    async with raw_server(answering(OK)) as upstream:
        config = service(upstream).replace(f":{upstream.port}'", f":{upstream.port}/some/prefix'")
        async with corridor(config) as front:
            assert (await front.ask(PATH + "?a=%2f&b")).status == 200
    (request,) = upstream.requests
    assert lines_of(request)[0] == b"POST /some/prefix/v1/chat/completions?a=%2f&b HTTP/1.1"
    assert values(request, b"host") == [b"127.0.0.1:%d" % upstream.port]


async def test_a_key_never_travels_in_clear_text_to_a_host_of_the_catalogue() -> None:
    """A forward call in plain http to api.openai.com goes out over TLS, under that name, to the place of connect_to."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.openai.com").configure_cert(context)
    names: list[str | None] = []

    def note_name(sock: ssl.SSLObject, name: str | None, used: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = note_name
    async with raw_server(answering(OK), tls=context) as upstream:
        config = (
            "services: {openai: {keys: {env: KEY_A}, upstream_ca: roots.pem, "
            f"connect_to: '127.0.0.1:{upstream.port}'}}}}"
        )
        files = {"roots.pem": authority.cert_pem.bytes().decode()}
        async with corridor(config, files=files) as front:
            got = await raw(
                front,
                b"GET http://api.openai.com/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n"
                b"Authorization: Bearer theirs\r\nConnection: close\r\n\r\n",
            )
    assert got.startswith(b"HTTP/1.1 200 ")
    (request,) = upstream.requests
    assert names == ["api.openai.com"]
    assert values(request, b"host") == [b"api.openai.com"]
    assert values(request, b"authorization") == [f"Bearer {KEYS['KEY_A']}".encode()]


async def test_fields_keep_order_spelling_and_bytes_and_lose_what_is_ours() -> None:
    """Hop-by-hop, control and framing fields go; everything else passes as it was written, once."""
    async with raw_server(answering(OK)) as upstream, corridor(service(upstream)) as front:
        await raw(
            front,
            b"POST /openai/v1/files HTTP/1.1\r\nHost: h\r\nX-B: 2\r\nx-a:  1 \r\nX-B: 3\r\nTE: trailers\r\n"
            b"Keep-Alive: 5\r\nX-Headgate-User: ann\r\nExpect: 100-continue\r\nProxy-Authorization: Basic eA==\r\n"
            b"Connection: close, X-Drop\r\nX-Drop: 1\r\nAuthorization_: x\r\nContent-Length: 2\r\n\r\n{}",
        )
    (request,) = upstream.requests
    assert lines_of(request) == [
        b"POST /v1/files HTTP/1.1",
        b"Host: 127.0.0.1:%d" % upstream.port,
        b"X-B: 2",
        b"x-a: 1",
        b"X-B: 3",
        b"authorization: Bearer %b" % KEYS["KEY_A"].encode(),
        b"Via: 1.1 headgate-test",
        b"Content-Length: 2",
    ]


@pytest.mark.parametrize(
    ("sent", "goes"),
    [
        (b"gzip, br, zstd", b"gzip"),
        (b"br;q=1, deflate;q=0.5, gzip;q=0", b"deflate;q=0.5, gzip;q=0"),
        (b"br", b"identity"),
        (b"*", b"identity"),
        (b"identity", b"identity"),
    ],
)
async def test_a_metered_reply_is_asked_for_in_a_coding_that_usage_can_be_read_from(sent: bytes, goes: bytes) -> None:
    """What the client cannot read is never added."""
    async with raw_server(answering(OK)) as upstream, corridor(service(upstream)) as front:
        for path in (b"/openai/v1/chat/completions", b"/openai/v1/files"):
            await raw(
                front,
                b"POST %b HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %b\r\nConnection: close\r\n" % (path, sent)
                + b"Content-Length: 2\r\n\r\n{}",
            )
    metered, unmetered = upstream.requests
    assert values(metered, b"accept-encoding") == [goes]
    assert values(unmetered, b"accept-encoding") == [sent]


async def test_no_coding_is_asked_for_where_the_client_asked_for_none() -> None:
    """Without the field the upstream decides, as it would without us."""
    async with raw_server(answering(OK)) as upstream, corridor(service(upstream)) as front:
        await raw(front, b"GET /openai/v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert values(upstream.requests[0], b"accept-encoding") == []


async def test_our_own_token_leaves_every_place_where_the_caller_s_key_would_stay() -> None:
    """Without a pool other credentials pass; a client token does not, wherever it stood."""
    config = service(1, keys="") + "clients: {tokens: [{name: ann, env: TOKEN_ANN}]}\n"
    async with raw_server(answering(OK)) as upstream:
        config = config.replace("127.0.0.1:1'", f"127.0.0.1:{upstream.port}'")
        async with corridor(config) as front:
            reply = await front.ask("/openai/v1/files?a=1&key=" + TOKEN, b"{}", x_api_key=TOKEN, x_other="stays")
    assert reply.status == 200
    (request,) = upstream.requests
    assert TOKEN.encode() not in request
    assert lines_of(request)[0] == b"POST /v1/files?a=1 HTTP/1.1"
    assert values(request, b"x-other") == [b"stays"]


@pytest.mark.parametrize("target", [b'/openai/v1/a?b="c"', b"/openai/v1/{a}|^`", b"/openai//v1", b"/openai/v1/%zz?%"])
async def test_odd_targets_go_out_byte_for_byte_or_are_refused(target: bytes) -> None:
    """Never normalised, and never an error of ours."""
    async with raw_server(answering(OK)) as upstream, corridor(service(upstream)) as front:
        got = await raw(front, b"GET %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target)
    status = int(got.split(b" ")[1])
    assert status in (200, 400)
    if status == 200:
        assert lines_of(upstream.requests[0])[0] == b"GET %b HTTP/1.1" % target.removeprefix(b"/openai")

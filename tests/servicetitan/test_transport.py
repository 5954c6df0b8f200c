"""Answers that break off, drip, bulge or lie: each ends in time, within its cap, and as the right error (F11)."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
import tracemalloc
import zlib

import pytest
from aiohttp import web

from jobsync.errors import MalformedAnswer, UpstreamUnavailable
from jobsync.servicetitan.auth import Token
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS
from jobsync.servicetitan.transport import Limits
from tests.servicetitan.conftest import MakeClient
from tests.servicetitan.stand_in import RawAnswer, StandIn, page_body, serve_bytes

pytestmark = pytest.mark.anyio

JOBS = STREAMS["jobs"]
DEADLINE = 0.3
BODY = json.dumps(page_body({"id": 1, "summary": "x" * 200})).encode()


class FixedToken:
    """A store whose token never has to be fetched: these servers only ever give their one bad answer."""

    async def get(self, fetch: object, *, rejected: str | None = None) -> str:
        return Token("token", 900).value


async def fail_with(answer: RawAnswer, make_client: MakeClient) -> UpstreamUnavailable | MalformedAnswer:
    async with serve_bytes(answer) as url:
        client = make_client(url, tokens=FixedToken(), limits=Limits(total_seconds=DEADLINE))
        started = time.monotonic()
        with pytest.raises((UpstreamUnavailable, MalformedAnswer)) as raised:
            await client.list_page(JOBS)
        assert time.monotonic() - started < DEADLINE + 1
        return raised.value


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *lines, "", ""]).encode()


async def test_half_a_body_of_known_length_is_cut_off(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"Content-Length: {len(BODY)}") + BODY[: len(BODY) // 2])
        await writer.drain()

    error = await fail_with(answer, make_client)
    assert (type(error), error.code) == (MalformedAnswer, "truncated")


async def test_half_a_chunked_body_is_cut_off(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("Transfer-Encoding: chunked") + b"40\r\n" + BODY[:64] + b"\r\n")
        await writer.drain()

    error = await fail_with(answer, make_client)
    assert (type(error), error.code) == (MalformedAnswer, "truncated")


async def test_half_a_body_of_unknown_length_is_malformed(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("Connection: close") + BODY[:-1])
        await writer.drain()

    assert isinstance(await fail_with(answer, make_client), MalformedAnswer)


async def test_a_content_length_that_is_too_small_is_malformed(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"Content-Length: {len(BODY) - 10}") + BODY)
        await writer.drain()

    assert isinstance(await fail_with(answer, make_client), MalformedAnswer)


async def test_a_reset_in_the_middle_asks_for_a_smaller_page(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"Content-Length: {len(BODY)}") + BODY[:20])
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    error = await fail_with(answer, make_client)
    # The bytes before a reset may be lost with it: then nothing was answered at all.
    assert error.code in ("page_timeout", "truncated")


async def test_a_connection_closed_without_an_answer_asks_for_a_smaller_page(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    error = await fail_with(answer, make_client)
    assert (type(error), error.code) == (UpstreamUnavailable, "page_timeout")


async def test_silence_ends_at_the_deadline(make_client: MakeClient) -> None:
    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    error = await fail_with(answer, make_client)
    assert (type(error), error.code) == (UpstreamUnavailable, "page_timeout")


async def test_a_body_that_drips_ends_at_the_deadline(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"Content-Length: {len(BODY)}"))
        for byte in BODY:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)  # the fault itself: one byte at a time

    error = await fail_with(answer, make_client)
    assert (type(error), error.code) == (UpstreamUnavailable, "page_timeout")


async def test_a_body_without_end_stops_at_the_cap(make_client: MakeClient) -> None:
    sent = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head("Connection: close") + b'{"hasMore":false,"data":[')
        while sent < 64_000_000:
            writer.write(b" " * 65_536)
            sent += 65_536
            await writer.drain()

    async with serve_bytes(answer) as url:
        client = make_client(url, tokens=FixedToken(), limits=Limits(body_bytes=1_000_000))
        with pytest.raises(MalformedAnswer) as raised:
            await client.list_page(JOBS)
    assert raised.value.code == "page_too_large"
    assert sent < 20_000_000


async def test_an_answer_that_is_not_http_is_an_error_of_ours(make_client: MakeClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()

    assert isinstance(await fail_with(answer, make_client), MalformedAnswer)


async def test_a_gzip_bomb_is_counted_unpacked_and_never_held(titan: StandIn, client: ServiceTitanClient) -> None:
    # 200 MB of blanks pack into 200 kB.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * 1_000_000) for _ in range(200)) + packer.flush()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    titan.answers = [answer]
    client._limits = Limits(body_bytes=5_000_000)
    await client._tokens.get(client._fetch_token)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedAnswer) as raised:
            await client.list_page(JOBS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.code == "page_too_large"
    assert peak < 30_000_000


@pytest.mark.parametrize("cut", [0, 10])
async def test_gzip_is_read_and_broken_gzip_is_malformed(titan: StandIn, client: ServiceTitanClient, cut: int) -> None:
    packed = gzip.compress(BODY)

    async def answer(request: web.Request) -> web.Response:
        body = packed[: len(packed) - cut]
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    titan.answers = [answer]
    if not cut:
        page = await client.list_page(JOBS)
        assert page.size == len(BODY)
    else:
        with pytest.raises(MalformedAnswer):
            await client.list_page(JOBS)


async def test_text_that_claims_to_be_gzip_is_malformed(titan: StandIn, client: ServiceTitanClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=BODY, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    titan.answers = [answer]
    with pytest.raises(MalformedAnswer):
        await client.list_page(JOBS)


async def test_nobody_listening_is_transient_and_no_reason_for_smaller_pages(make_client: MakeClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    client = make_client(url, tokens=FixedToken())

    with pytest.raises(UpstreamUnavailable) as raised:
        await client.list_page(JOBS)
    assert raised.value.code == "upstream_unavailable"


async def test_a_host_name_that_cannot_exist_is_an_error_of_ours(make_client: MakeClient) -> None:
    # A label of 64 letters fails before any name server is asked.
    client = make_client(f"http://{'a' * 64}.test", tokens=FixedToken())

    with pytest.raises(UpstreamUnavailable):
        await client.list_page(JOBS)


async def test_a_connection_that_is_never_accepted_ends_at_the_connect_deadline(make_client: MakeClient) -> None:
    # A full backlog: the kernel leaves further connections unanswered.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
            waiting.append(other)
        client = make_client(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            tokens=FixedToken(),
            limits=Limits(connect_seconds=0.2, total_seconds=5),
        )
        started = time.monotonic()
        try:
            with pytest.raises(UpstreamUnavailable) as raised:
                await client.list_page(JOBS)
        finally:
            for other in waiting:
                other.close()
    assert time.monotonic() - started < 1.2
    assert raised.value.code == "upstream_unavailable"


async def test_plain_http_where_tls_is_expected_is_transient(titan: StandIn, make_client: MakeClient) -> None:
    client = make_client(titan.url.replace("http:", "https:"), tokens=FixedToken())

    with pytest.raises(UpstreamUnavailable) as raised:
        await client.list_page(JOBS)
    assert "TLS" in raised.value.message
    assert titan.asked == []


async def test_a_failed_request_is_counted_without_a_status(make_client: MakeClient) -> None:
    counted: list[tuple[str, int | None]] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serve_bytes(answer) as url:
        client = make_client(url, tokens=FixedToken(), on_request=lambda kind, status: counted.append((kind, status)))
        with pytest.raises(UpstreamUnavailable):
            await client.list_page(JOBS)
    assert counted == [("list", None)]


async def test_no_cookie_is_kept_and_none_is_sent(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, page_body(), {"Set-Cookie": "session=abc"}), (200, page_body())]

    await client.list_page(JOBS)
    await client.list_page(JOBS)

    assert "Cookie" not in titan.asked[1].headers

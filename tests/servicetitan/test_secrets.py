"""No secret and nobody's data gets into an error, its causes, a traceback or a log, whatever is answered."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Iterator

import pytest
from aiohttp import web

from jobsync.errors import JobSyncError
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS
from jobsync.servicetitan.transport import Limits
from tests.servicetitan.conftest import MakeClient
from tests.servicetitan.stand_in import StandIn, serve_bytes

pytestmark = pytest.mark.anyio

PII = "canary Anna Example, canary@example.com, 212-555-0123"
ECHO = json.dumps(
    {
        "title": PII,
        "traceId": f"canary trace {PII}",
        "error": "canary error",
        "error_description": "canary-client-secret",
        "errors": {"canary field": [PII], "from": ["canary-cursor"]},
        "data": [{"name": PII}],
    }
).encode()


def leaks(error: BaseException) -> Iterator[str]:
    """Yield every text in which an error could show up in a log."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield from (str(one), repr(one), repr(getattr(one, "details", "")), repr(getattr(one, "hint", "")))
        queue += [one.__cause__, one.__context__]
    yield "".join(traceback.format_exception_only(error))


async def check(client: ServiceTitanClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asks = [
        lambda: client.export_page(STREAMS["jobs"], "canary-cursor"),
        lambda: client.list_page(STREAMS["customers"], modified_from="2026-01-01T00:00:00Z"),
        lambda: client.by_ids(STREAMS["customer_contacts"], [5]),
    ]
    for ask in asks:
        with pytest.raises(JobSyncError) as raised:
            await ask()
        for text in leaks(raised.value):
            assert "canary" not in text
            assert "127.0.0.1" not in text
            assert "555-0123" not in text
            assert "token-" not in text
    assert "canary" not in caplog.text
    assert "canary" not in repr(client)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 504])
async def test_no_refusal_repeats_what_was_sent_or_answered(
    titan: StandIn, client: ServiceTitanClient, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    titan.answers = [(status, ECHO, {"Location": "https://example.com/canary", "Retry-After": "canary"})]
    await check(client, caplog)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
async def test_no_refused_sign_in_repeats_the_credentials(
    titan: StandIn, client: ServiceTitanClient, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    titan.tokens = [(status, ECHO)]
    await check(client, caplog)


async def test_records_that_were_not_asked_for_are_not_repeated(
    titan: StandIn, client: ServiceTitanClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if "export" in request.path:
            return web.Response(status=500)
        return web.Response(
            body=b'{"hasMore":false,"page":7,"data":[{"id":1,"customerId":6,"value":"%s"}]}' % PII.encode(),
            content_type="application/json",
        )

    titan.answers = [answer]
    await check(client, caplog)


@pytest.mark.parametrize("fault", ["close", "half", "noise", "silence"])
async def test_no_broken_connection_shows_an_address(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if fault == "half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + ECHO)
        elif fault == "noise":
            writer.write(b"canary noise\r\n\r\n")
        elif fault == "silence":
            await reader.read()
        await writer.drain()

    async with serve_bytes(answer) as url:
        await check(make_client(url, limits=Limits(connect_seconds=1, total_seconds=0.1)), caplog)


async def test_nobody_listening_shows_no_address(make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return None

    async with serve_bytes(answer) as url:
        pass
    await check(make_client(url), caplog)

"""One POST to a hook, over real sockets: every kind of answer and silence gets its word, and nothing raises."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.outcomes import Answer, Outcome
from jobsync.gohighlevel.webhook import post_webhook
from tests.gohighlevel.stand_in import Names, Site, answer, free_port, listen_for_canary, serve, serve_bytes

pytestmark = pytest.mark.anyio

QUEUED = {"status": "Success: request sent to trigger execution server", "id": "Ab3dEf6hIj9lMn2pQr5t"}
TEST = {"status": "Success: test request received"}
BODY = msgspec.json.encode({"job_id": "J-1", "phone": "+15125550123", "email": "ada@example.com", "Name": "Ada"})


async def post(site: Site, body: bytes = BODY, **options: Any) -> Answer:
    guard = Guard(["127.0.0.1"])
    async with make_session(guard) as session:
        return await post_webhook(session, site.hook, body, guard=guard, **options)


async def test_an_answer_with_an_execution_id_is_accepted():
    async with serve(answer(QUEUED)) as site:
        came = await post(site)
    assert (came.outcome, came.status, came.execution_id, came.error) == ("accepted", 200, "Ab3dEf6hIj9lMn2pQr5t", None)
    assert "Success: request sent" in came.answer_text and came.duration_ms > 0
    asked = site.asked[0]
    assert asked.method == "POST" and asked.body == BODY and asked.path == site.hook.removeprefix(site.url)
    assert asked.headers["Content-Type"] == "application/json"


async def test_the_test_answer_is_no_delivery():
    async with serve(answer(TEST)) as site:
        came = await post(site)
    assert came.outcome is Outcome.TEST_ONLY and came.execution_id is None and "not saved" in (came.error or "")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"status": "ok"}),
        (200, {"id": ""}),
        (200, {"id": "   "}),
        (200, {"id": 5}),
        (200, {"id": None}),
        (201, {}),
        (202, "queued"),
        (204, b""),
        (200, "<html>thanks</html>"),
        (200, b"\xff\xfe"),
        (200, "[]"),
        (200, "[" * 5000),
        (200, '{"id": "abc"'),
        (299, {}),
    ],
)
async def test_any_other_2xx_counts_as_accepted_without_an_id(status, body):
    async with serve(answer(body, status)) as site:
        came = await post(site)
    assert (came.outcome, came.status, came.error) == (Outcome.ACCEPTED_WITHOUT_ID, status, None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (302, "rejected"), (304, "rejected"), (400, "rejected"), (401, "unauthorized"), (402, "rejected"),
        (403, "unauthorized"), (404, "gone"), (405, "rejected"), (408, "ambiguous"), (409, "rejected"), (410, "gone"),
        (413, "rejected"), (414, "rejected"), (415, "rejected"), (422, "rejected"), (429, "rate_limited"),
        (500, "ambiguous"), (502, "ambiguous"), (503, "ambiguous"), (504, "ambiguous"), (524, "ambiguous"),
    ],
)  # fmt: skip
async def test_each_status_has_its_outcome(status, outcome):
    async with serve(answer({"message": "no"}, status)) as site:
        came = await post(site)
    assert (came.outcome, came.status, came.execution_id) == (outcome, status, None)
    assert came.error is not None and str(status) in came.error


async def test_an_id_in_a_refusal_is_not_an_execution():
    async with serve(answer(QUEUED, 500)) as site:
        assert (await post(site)).execution_id is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "9999999999"}, 86_400.0),
        ({"Date": "Mon, 02 Mar 2026 10:00:00 GMT", "Retry-After": "Mon, 02 Mar 2026 10:01:30 GMT"}, 90.0),
        ({"Date": "Mon, 02 Mar 2026 10:00:00 GMT", "Retry-After": "Mon, 02 Mar 2026 09:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"X-RateLimit-Interval-Milliseconds": "10000"}, 10.0),
        ({"Retry-After": "x", "X-RateLimit-Interval-Milliseconds": "10000"}, 10.0),
        ({}, None),
    ],
)
async def test_how_long_to_wait_is_read_from_a_429(headers, seconds):
    async with serve(answer({}, 429, **{name.replace("-", "_"): value for name, value in headers.items()})) as site:
        assert (await post(site)).retry_after == seconds


async def test_a_refused_connection_sent_nothing():
    site = Site([], port=await free_port())
    came = await post(site)
    assert came.outcome is Outcome.UNSENT and came.status is None and "nothing was sent" in (came.error or "")


async def test_an_unknown_host_name_sent_nothing():
    guard = Guard(["hooks.test"])
    async with make_session(guard, resolver=Names([])) as session:
        came = await post_webhook(session, "https://hooks.test/hooks/x", BODY, guard=guard)
    assert came.outcome is Outcome.UNSENT and "name cannot be resolved" in (came.error or "")


async def test_a_failed_tls_handshake_sent_nothing():
    async with serve(answer(QUEUED)) as plain:
        guard = Guard(["127.0.0.1"])
        async with make_session(guard) as session:
            came = await post_webhook(session, plain.hook.replace("http:", "https:"), BODY, guard=guard)
    assert came.outcome is Outcome.UNSENT and plain.asked == []


async def test_a_connection_closed_before_tls_is_up_sent_nothing():
    async with listen_for_canary() as closes:
        guard = Guard(["127.0.0.1"])
        async with make_session(guard) as session:
            came = await post_webhook(session, f"https://127.0.0.1:{closes.port}/hooks/x", BODY, guard=guard)
    assert came.outcome is Outcome.UNSENT and closes.connections == 1


async def test_waiting_for_a_free_connection_until_time_is_up_sent_nothing():
    async with serve_bytes(b"", hold=True) as busy:
        guard = Guard(["127.0.0.1"])
        async with make_session(guard, limit=1) as session:
            first, second = await _post_two(session, busy, guard)
    assert sorted([first.outcome, second.outcome]) == [Outcome.AMBIGUOUS, Outcome.UNSENT]
    assert len(busy.asked) == 1


async def test_no_answer_in_time_is_ambiguous():
    async with serve_bytes(b"", hold=True) as site:
        came = await post(site, timeout_total=0.2)
    assert came.outcome is Outcome.AMBIGUOUS and "no answer in time" in (came.error or "") and came.duration_ms < 1200


@pytest.mark.parametrize(
    ("raw", "reset"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 20", False),
        (b"\x00\x01\x02\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX:", True),
    ],
)
async def test_a_connection_that_breaks_after_the_request_is_ambiguous(raw, reset):
    async with serve_bytes(raw, reset=reset) as site:
        came = await post(site)
    assert came.outcome is Outcome.AMBIGUOUS and came.status is None and len(site.asked) == 1


async def test_a_session_without_the_trace_is_judged_ambiguous_once_connected():
    guard = Guard(["127.0.0.1"])
    async with serve_bytes(b"") as site, aiohttp.ClientSession() as session:
        came = await post_webhook(session, site.hook, BODY, guard=guard)
        assert came.outcome is Outcome.AMBIGUOUS
        site.port = await free_port()
        assert (await post_webhook(session, site.hook, BODY, guard=guard)).outcome is Outcome.UNSENT


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"status":"Success: request sent to trigger execution server","id":"Ab3dEf', Outcome.ACCEPTED_WITHOUT_ID),
        (b'{"status":"Success: test request received"', Outcome.TEST_ONLY),
        (b'{"id":"Ab3dEf"}', Outcome.ACCEPTED),
    ],
)
async def test_a_200_whose_body_breaks_off_counts_by_what_came(body, outcome):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    async with serve_bytes(head + body) as site:
        came = await post(site)
    assert (came.outcome, came.status) == (outcome, 200)


async def test_an_answer_in_pieces_is_read_to_its_end():
    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in msgspec.json.encode(QUEUED):
            await response.write(bytes([byte]))
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    came = await post(Site([], port=runner.addresses[0][1]))
    await runner.cleanup()
    assert came.outcome is Outcome.ACCEPTED


async def test_an_endless_body_ends_at_the_cap():
    async with serve_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000, hold=True) as site:
        came = await post(site, timeout_total=5)
    assert came.outcome is Outcome.ACCEPTED_WITHOUT_ID and len(came.answer_text) == 2048 and came.duration_ms < 2000


async def test_a_packed_bomb_does_no_harm():
    bomb = gzip.compress(b"0" * 50_000_000)
    async with serve(answer(bomb, Content_Encoding="gzip")) as site:
        came = await post(site)
    assert site.asked[0].headers["Accept-Encoding"] == "identity"
    assert came.outcome is Outcome.ACCEPTED_WITHOUT_ID and len(came.answer_text) <= 2048


async def test_what_is_kept_of_an_answer_is_short_and_printable():
    async with serve(answer({"message": "a\x00b\x1b[31mc\u202e" + "z" * 9000}, 400)) as site:
        came = await post(site)
    assert len(came.answer_text) <= 2048 and came.answer_text.replace("\n", "").isprintable()


async def test_64_posts_at_once_share_one_session():
    async with serve(answer(QUEUED)) as site:
        guard = Guard(["127.0.0.1"])
        async with make_session(guard) as session:
            came = await asyncio.gather(*(post_webhook(session, site.hook, BODY, guard=guard) for _ in range(200)))
    assert {each.outcome for each in came} == {Outcome.ACCEPTED} and len(site.asked) == 200


async def _post_two(session: aiohttp.ClientSession, site: Site, guard: Guard) -> list[Answer]:
    posts = [post_webhook(session, site.hook, BODY, guard=guard, timeout_total=0.3) for _ in range(2)]
    return await asyncio.gather(*posts)

"""What happens is watched as it happens, and nothing is missed in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.engine.tokens import create_token, revoke_token
from jobsync.web.api import events
from tests.web.conftest import Api, pass_time

pytestmark = pytest.mark.anyio

STREAM = {"Accept": "text/event-stream"}


async def read_messages(answer: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next messages of a stream, as a browser sees them."""
    found: list[dict[str, Any]] = []
    message: dict[str, str] = {}
    async with asyncio.timeout(20):
        while len(found) < count:
            line = (await answer.content.readline()).decode().rstrip("\n")
            if line.startswith(("id: ", "event: ", "data: ")):
                name, _, value = line.partition(": ")
                message[name] = value
            elif not line and message:
                found.append({**message, "data": json.loads(message["data"])})
                message = {}
    return found


async def test_a_stream_tells_of_pauses_and_runs_and_goes_on_where_it_broke_off(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0.05)
    async with admin.http.get(admin.url + "/admin/events", headers={**admin.headers, **STREAM}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        await admin.post("/admin/pause", {"reason": "maintenance"})
        await admin.post(
            "/db/sync-logs", {"syncType": "n8n_push", "status": "completed", "errorMessage": "Ana Example"}
        )
        paused, run = await read_messages(answer, 2)
    assert (paused["event"], paused["data"]["content"]["action"]) == ("audit", "paused")
    assert (run["event"], run["data"]["content"]["sync_type"]) == ("run", "n8n_push")
    assert "Ana" not in str(run)
    await admin.post("/admin/resume")
    await admin.post("/admin/pause")
    resumed = {**admin.headers, **STREAM, "Last-Event-ID": run["id"]}
    async with admin.http.get(admin.url + "/admin/events", headers=resumed) as answer:
        actions = [message["data"]["content"]["action"] for message in await read_messages(answer, 2)]
    assert actions == ["resumed", "paused"]


async def test_what_commits_late_is_not_left_out(admin: Api, dsn: str) -> None:
    place = (await admin.get("/admin/events")).body["next"]
    with psycopg.connect(dsn) as slow:
        slow.execute("select jobsync.write_audit('default', 'slow', 'came_first', null)")
        await admin.post("/admin/pause")
        # The pause has the higher number and is committed: told now, the slow one would be passed over for ever.
        assert (await admin.get("/admin/events", params={"after": place})).body["events"] == []
    told = (await admin.get("/admin/events", params={"after": place})).body
    assert [event["content"]["action"] for event in told["events"]] == ["came_first", "paused"]
    assert (await admin.get("/admin/events", params={"after": told["next"]})).body == {
        "events": [],
        "next": told["next"],
    }


async def test_pages_of_events_follow_each_other(admin: Api) -> None:
    place = (await admin.get("/admin/events")).body["next"]
    for number in range(5):
        await admin.post("/admin/pause", {"reason": str(number)})
    reasons = []
    while page := (await admin.get("/admin/events", params={"after": place, "limit": 2})).body:
        if not page["events"]:
            break
        reasons += [event["content"]["details"]["reason"] for event in page["events"]]
        place = page["next"]
    assert reasons == ["0", "1", "2", "3", "4"]


async def test_a_stream_ends_with_its_token_and_with_the_service(
    admin: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0.05)
    made = await create_token(database, "default", "watcher", ["admin"], actor="tests")
    ours = {"X-API-Key": made["token"], **STREAM}
    async with (
        admin.http.get(admin.url + "/admin/events", headers=ours) as revoked,
        admin.http.get(admin.url + "/admin/events", headers={**admin.headers, **STREAM}) as stopped,
    ):
        await revoke_token(database, "default", made["id"], actor="tests")
        pass_time(admin)
        async with asyncio.timeout(10):
            await revoked.content.read()
            admin.app.state.stop.set()
            await stopped.content.read()
    assert admin.app.state.watchers == set()


async def test_only_so_many_watch_at_once_and_a_wrong_place_is_refused(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WATCHERS", 0)
    assert (await admin.get("/admin/events", headers=STREAM)).status == 503
    # A number that begins with a zero would be read as octal: as another place, or as none.
    for wrong in ("x", "1", "-1-1", "1-" + "9" * 19, "0017-1", "09-1", "17-01"):
        refused = await admin.get("/admin/events", params={"after": wrong})
        assert (refused.status, "after" in str(refused.body)) == (400, True), wrong
        assert (await admin.get("/admin/events", headers={"Last-Event-ID": wrong})).status == 400

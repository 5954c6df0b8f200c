"""A stand-in of both upstreams that knows only the least: it must be enough for every job to arrive once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.upstreams import call_jobsync, finish, start_jobsync

pytestmark = pytest.mark.anyio

STARTED = datetime(2026, 1, 5, 8, tzinfo=UTC)
PHONES = ("(619) 555-0100", "619-555-0101", "6195550102")


@dataclass
class StandIn:
    """Lists only: no export feeds, no sort, no total, ids honoured. Its hook answers like a published workflow."""

    jobs: int = 130
    asked: Counter[str] = field(default_factory=Counter)
    posts: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def rows(self, kind: str) -> list[dict[str, Any]]:
        people = range(1, 41)
        if kind == "jobs":
            return [self.job(number) for number in range(1, self.jobs + 1)]
        if kind == "customers":
            return [{"id": one, "name": f"Pat Example {one}", "active": True, **stamps(one)} for one in people]
        if kind == "locations":
            address = {"street": "1 Test St", "city": "San Diego", "state": "CA", "zip": "92101", "country": "USA"}
            return [{"id": 500 + one, "customerId": one, "address": address, **stamps(one)} for one in people]
        if kind == "customers/contacts":
            return [{**contact(one), "customerId": one} for one in people]
        if kind == "locations/contacts":
            return [{**contact(one + 100), "locationId": 500 + one} for one in people]
        if kind == "business-units":
            return [{"id": 11, "name": "Pools", "active": True, **stamps(1)}]
        if kind == "job-types":
            return [{"id": 21, "name": "Repair", "active": True, **stamps(1)}]
        return []

    def job(self, number: int) -> dict[str, Any]:
        return {
            "id": 9000 + number,
            "jobNumber": f"J{number}",
            "customerId": 1 + number % 40,
            "locationId": 501 + number % 40,
            "businessUnitId": 11,
            "jobTypeId": 21,
            "jobStatus": "Scheduled",
            "summary": "Pump is loud",
            **stamps(number),
        }


def stamps(number: int) -> dict[str, str]:
    # Seconds without a fraction, not in the order of the ids: nothing may count on either.
    moment = STARTED + timedelta(minutes=number * 37 % 4001)
    return {"createdOn": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "modifiedOn": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}


def contact(number: int) -> dict[str, Any]:
    return {"id": 70_000 + number, "type": "Phone", "value": PHONES[number % 3], "memo": None, **stamps(number)}


async def answer_token(request: web.Request) -> web.Response:
    form = await request.post()
    if (form.get("client_id"), form.get("client_secret"), form.get("grant_type")) != ("c", "s", "client_credentials"):
        return web.json_response({"error": "invalid_client"}, status=400)
    return web.json_response({"access_token": "t0ken", "expires_in": 900, "token_type": "Bearer"})


async def answer_list(request: web.Request) -> web.Response:
    stand_in = request.app[STAND_IN]
    kind = request.match_info["kind"]
    if request.headers.get("Authorization") != "Bearer t0ken" or request.headers.get("ST-App-Key") != "k":
        return web.json_response({"title": "Unauthorized"}, status=401)
    stand_in.asked[kind] += 1
    rows = stand_in.rows(kind)
    if kind.startswith("export") or not rows:
        return web.json_response({"title": "Not found"}, status=404)
    query = request.query
    for name, key in (("ids", "id"), ("customerIds", "customerId"), ("locationIds", "locationId")):
        if name in query:
            wanted = {int(one) for one in query[name].split(",")}
            rows = [row for row in rows if row[key] in wanted]
    if "modifiedOnOrAfter" in query:
        rows = [row for row in rows if moment_of(row["modifiedOn"]) >= moment_of(query["modifiedOnOrAfter"])]
    if "modifiedBefore" in query:
        rows = [row for row in rows if moment_of(row["modifiedOn"]) < moment_of(query["modifiedBefore"])]
    page, size = int(query.get("page", 1)), min(int(query.get("pageSize", 50)), 5000)
    shown = rows[(page - 1) * size : page * size]
    return web.json_response(
        {"page": page, "pageSize": size, "hasMore": page * size < len(rows), "totalCount": None, "data": shown}
    )


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def answer_hook(request: web.Request) -> web.Response:
    posts = request.app[STAND_IN].posts
    posts.append(await request.json())
    return web.json_response({"status": "Success: request sent to trigger execution server", "id": f"x{len(posts)}"})


STAND_IN = web.AppKey("stand_in", StandIn)


@asynccontextmanager
async def serve_stand_in(stand_in: StandIn) -> AsyncIterator[StandIn]:
    app = web.Application()
    app[STAND_IN] = stand_in
    app.router.add_post("/connect/token", answer_token)
    app.router.add_get("/{module}/v2/tenant/42/{kind:.+}", answer_list)
    app.router.add_post("/hooks/{place}/webhook-trigger/{uuid}", answer_hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()


async def test_an_independent_stand_in_of_both_upstreams_is_enough(empty_dsn: str, tmp_path: Path) -> None:
    async with serve_stand_in(StandIn()) as stand_in:
        environment = {
            "DATABASE_URL": empty_dsn,
            "SERVICE_TITAN_TENANT_ID": "42",
            "SERVICE_TITAN_CLIENT_ID": "c",
            "SERVICE_TITAN_CLIENT_SECRET": "s",
            "SERVICE_TITAN_APP_KEY": "k",
            "SERVICE_TITAN_API_URL": stand_in.url,
            "SERVICE_TITAN_AUTH_URL": stand_in.url,
            "JOBSYNC_ALLOW_HOSTS": "127.0.0.1",
            "JOBSYNC_MODE": "live",
            "JOBSYNC_DELIVER_FROM": "2000-01-01T00:00:00Z",
            "JOBSYNC_GHL_PACE": "0",
            "JOBSYNC_DATA_DIR": tmp_path,
            "LOG_LEVEL": "ERROR",
        }
        hook = f"{stand_in.url}/hooks/place/webhook-trigger/abc"
        routed = await call_jobsync(tmp_path, environment, "units", "set", "11", "--webhook", hook)
        assert (routed.code, routed.err) == (0, ""), routed.err
        ran = await finish(await start_jobsync(tmp_path, environment, "sync", "--json"))
        assert ran.code == 0, ran.err
        assert (ran.json["pulled"], ran.json["delivered"], ran.json["failed"]) == (130, 130, 0)
        assert Counter(post["st_job_id"] for post in stand_in.posts) == dict.fromkeys(range(9001, 9131), 1)
        first = next(post for post in stand_in.posts if post["st_job_id"] == 9001)
        assert first["job_id"] == "J1"
        assert (first["street"], first["opportunity_name"]) == ("1 Test St", "Job Type: Repair")
        assert first["phone"].startswith("+1619555010")
        again = await call_jobsync(tmp_path, environment, "sync", "--json")
        assert again.code == 0, again.err
        assert (again.json["stored"], again.json["delivered"]) == (0, 0)
        assert len(stand_in.posts) == 130

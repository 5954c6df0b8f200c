"""The API over real HTTP: started on a free port of loopback, called as n8n, curl and scripts call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from fastapi import FastAPI

from jobsync.config import Settings, read_settings
from jobsync.db.pool import Database
from jobsync.engine.tokens import create_token
from jobsync.simulators import servicetitan
from jobsync.web.app import create_app
from jobsync.web.binding import open_socket
from jobsync.web.calls import GuardedRoute
from jobsync.web.dashboard.visits import PageRoute
from jobsync.web.rate import CallRate
from jobsync.web.server import serve

ALL_SCOPES = ("read", "sync:write", "state:write", "replay", "admin")


@dataclass(frozen=True)
class Answer:
    """What came back: the body decoded where it is JSON."""

    status: int
    headers: Any
    text: str
    body: Any


@dataclass(frozen=True)
class Api:
    """A running service and a way to call it. `headers` go with every call."""

    url: str
    port: int
    http: aiohttp.ClientSession
    database: Database
    headers: dict[str, str]
    app: FastAPI

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Calls the service; `json`, `data`, `headers`, `params` as aiohttp takes them."""
        headers = {**self.headers, **options.pop("headers", {})}
        async with self.http.request(
            method, self.url + path, headers=headers, allow_redirects=False, **options
        ) as answer:
            text = await answer.text()
            body = await answer.json() if answer.content_type == "application/json" and text else None
            return Answer(answer.status, answer.headers, text, body)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("PUT", path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("PATCH", path, json=json, **options)


StartApi = Callable[..., Awaitable[Api]]


def make_settings(folder: Path, **values: str) -> Settings:
    """Settings as they come from an environment that holds exactly these."""
    return read_settings(environ={"JOBSYNC_DATA_DIR": str(folder), **values}, directory=folder)


def list_routes() -> list[GuardedRoute]:
    """Every route of the API, from its router."""
    found = create_app(read_settings(environ={}, directory=Path("nowhere")), None).routes
    assert all(isinstance(route, GuardedRoute | PageRoute) for route in found)
    return [route for route in found if isinstance(route, GuardedRoute)]


def list_pages() -> list[PageRoute]:
    """Every page of the dashboard, from its router."""
    found = create_app(read_settings(environ={}, directory=Path("nowhere")), None).routes
    return [route for route in found if isinstance(route, PageRoute)]


@pytest.fixture
async def start_api(database: Database, tmp_path: Path) -> AsyncIterator[StartApi]:
    """Starts services; `environ` are the variables they are started with."""
    async with AsyncExitStack() as stack:

        async def start(
            environ: dict[str, str] | None = None,
            *,
            headers: dict[str, str] | None = None,
            start_sync: Callable[[str], Awaitable[UUID]] | None = None,
            database: Database = database,
            rate: CallRate | None = None,
            **options: Any,
        ) -> Api:
            # Tests ask faster than people may; the limit has stories of its own.
            rate = rate or CallRate(0)
            sock = open_socket("127.0.0.1", 0)
            port = sock.getsockname()[1]
            stop = asyncio.Event()
            app = create_app(
                make_settings(tmp_path, **(environ or {})), database, start_sync=start_sync, rate=rate, **options
            )
            task = asyncio.ensure_future(serve(app, sock, stop))

            async def end() -> None:
                stop.set()
                await task

            stack.push_async_callback(end)
            http = await stack.enter_async_context(aiohttp.ClientSession())
            return Api(f"http://127.0.0.1:{port}", port, http, database, headers or {}, app)

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    """A service without API_KEY, called from its own machine."""
    return await start_api()


@pytest.fixture
async def admin(start_api: StartApi, database: Database) -> Api:
    """A service called with a token that has every scope."""
    made = await create_token(database, "default", "tests", ALL_SCOPES, actor="tests")
    return await start_api(headers={"X-API-Key": made["token"]})


def a_job(job_id: int = 700412, **values: Any) -> dict[str, Any]:
    """A job as n8n's merge node builds it."""
    return {
        "id": job_id,
        "jobNumber": str(job_id),
        "customerId": 88001,
        "locationId": 99001,
        "businessUnitId": 1314,
        "jobTypeId": 55,
        "jobTypeName": "Pump repair",
        "jobStatus": "Scheduled",
        "priority": "Normal",
        "summary": "Replace pump motor",
        "createdOn": "2026-01-30T15:04:05.1234567Z",
        "modifiedOn": "2026-01-30T15:04:05.1234567Z",
        "total": 1234.5,
        **values,
    }


def a_customer(customer_id: int = 88001, **values: Any) -> dict[str, Any]:
    """A customer in the guide's form."""
    return {
        "customerId": customer_id,
        "locationId": 99001,
        "firstName": "Ana",
        "lastName": "Example",
        "email": "ana@example.com",
        "phone": "555-0100",
        "address": {"street": "1 Main St", "city": "Phoenix", "state": "AZ", "zip": "85001", "county": "Maricopa"},
        **values,
    }


def pass_time(api: Api, seconds: float = 5) -> None:
    """The gate's clock goes on: what it remembers of tokens is asked for anew."""
    gate = api.app.state.web.gate
    later = gate.clock() + seconds
    gate.clock = lambda: later


def connected_to(titan: servicetitan.Served) -> dict[str, str]:
    """The variables that connect a service to a simulated ServiceTitan."""
    account = titan.simulator.account()
    return {
        "SERVICE_TITAN_TENANT_ID": str(account.tenant),
        "SERVICE_TITAN_CLIENT_ID": account.client_id,
        "SERVICE_TITAN_CLIENT_SECRET": account.client_secret,
        "SERVICE_TITAN_APP_KEY": account.app_key,
        "SERVICE_TITAN_API_URL": titan.url,
        "SERVICE_TITAN_AUTH_URL": titan.url,
    }

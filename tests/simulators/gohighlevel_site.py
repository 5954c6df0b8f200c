"""One simulated GoHighLevel on a socket, and a plain HTTP caller beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from jobsync.simulators.gohighlevel import Furnished, GoHighLevelSimulator, MovableClock, furnish, serve

NOON = "2026-03-02T12:00:00+00:00"
ANN = {"firstName": "Ann", "lastName": "Example", "email": "ann@example.com", "phone": "+16025550101"}


@dataclass(frozen=True)
class Reply:
    """Status, headers (lower-case names) and JSON body of an answer."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Site:
    """The simulator, what it was furnished with, and how to call it."""

    simulator: GoHighLevelSimulator
    office: Furnished
    session: aiohttp.ClientSession
    url: str

    @property
    def place(self) -> str:
        """The location's id."""
        return self.office.location.id

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        version: str | None = "2021-07-28",
        **query: Any,
    ) -> Reply:
        """An API call with the office's token."""
        headers = {"Authorization": f"Bearer {token or self.office.token}"}
        if version is not None:
            headers["Version"] = version
        params = {name: str(value) for name, value in query.items()}
        async with self.session.request(
            method, self.url + path, json=body, params=params, headers=headers, allow_redirects=False
        ) as answer:
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, lower, await answer.json(content_type=None) if await answer.read() else None)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """The control API's JSON."""
        async with self.session.request(method, f"{self.url}/_control{path}", json=body) as answer:
            return await answer.json()

    async def contact(self, **wanted: Any) -> str:
        """The id of a new contact."""
        made = await self.call("POST", "/contacts/upsert", {"locationId": self.place, **ANN, **wanted})
        assert made.status == 200, made.body
        return made.body["contact"]["id"]

    def field(self, key: str) -> str:
        """The id of a custom field by its key."""
        found = self.office.location.find_field(key)
        assert found is not None
        return found["id"]

    def card(self, contact_id: str, job: str = "9001", pipeline: int = 0, **wanted: Any) -> dict[str, Any]:
        """The body of an opportunity that carries a job's id."""
        chosen = self.office.location.pipelines[pipeline]
        return {
            "pipelineId": chosen["id"],
            "pipelineStageId": chosen["stages"][0]["id"],
            "locationId": self.place,
            "contactId": contact_id,
            "name": f"ST #{job} pump",
            "status": "open",
            "customFields": [{"id": self.field("opportunity.st_job_id"), "field_value": job}],
            **wanted,
        }

    async def opportunity(self, contact_id: str, job: str = "9001", **wanted: Any) -> str:
        """The id of a new opportunity."""
        made = await self.call("POST", "/opportunities/", self.card(contact_id, job, **wanted))
        assert made.status == 201, made.body
        return made.body["opportunity"]["id"]


@asynccontextmanager
async def open_site(**switches: Any) -> AsyncIterator[Site]:
    """A furnished simulator at noon on a clock that stands still, until a test moves it."""
    simulator = GoHighLevelSimulator(seed=7, clock=MovableClock(NOON, running=False))
    simulator.switches.turn(**switches)
    office = furnish(simulator)
    async with await serve(simulator) as served, aiohttp.ClientSession() as session:
        yield Site(simulator, office, session, served.url)

"""Smoke: one invented job from a page of ServiceTitan's form to a hook, through everything that real jobs go through.

It lives in a tenant of its own that no schedule knows, under ids that ServiceTitan never gives, and is removed at the
end, also after a failure. The hook is a stand-in that the caller runs: nothing reaches GoHighLevel. Real data is neither
read nor changed; what an interrupted run left behind goes with the next one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jobsync.engine.context import Engine
from jobsync.engine.deliver import DrainReport, drain_destination
from jobsync.engine.route import route_unit
from jobsync.engine.send_test import FIRST_ID, TEST_EMAIL, TEST_NUMBER
from jobsync.engine.senders import open_sender
from jobsync.engine.sending import count_planned
from jobsync.engine.store import Counts, store
from jobsync.errors import JobSyncError
from jobsync.servicetitan.pages import parse_page
from jobsync.servicetitan.streams import STREAMS

PHONE = "(602) 555-0100"


@dataclass
class Step:
    """One step: what was done, whether it held, and how long it took."""

    name: str
    what: str
    ok: bool
    seconds: float


@dataclass
class SmokeReport:
    """All steps so far; `removed`: rows that were taken away again, None: they could not be."""

    steps: list[Step] = field(default_factory=list)
    removed: int | None = None

    @property
    def ok(self) -> bool:
        """True when every step held and nothing was left behind."""
        return self.removed is not None and all(step.ok for step in self.steps)


class _NotHeld(Exception):
    """A step did not hold; the next ones would only say the same again."""


async def run_smoke(
    engine: Engine, hook_url: str, received: Callable[[int], int], *, tell: Callable[[Step], None] = lambda step: None
) -> SmokeReport:
    """Runs the test. `hook_url`: the stand-in's; `received`: how many posts of a job it got; `tell` hears of each step.

    Never raises for a step that does not hold: the report says which and why.
    """
    tenant = f"smoke-{secrets.token_hex(6)}"
    engine = _may_call(engine, hook_url)
    report = SmokeReport()
    job = FIRST_ID + secrets.randbelow(10**12)
    records = _invent(job)
    try:
        async with _step(report, tell, "database", "a tenant of its own was made") as step:
            await _open(engine, tenant)
        async with _step(report, tell, "store", "") as step:
            counts = Counts()
            for stream, record in records:
                await _store(engine, tenant, stream, record, counts)
            step.what = f"{counts.stored} records stored, none to be sent before its unit has a route"
            _hold(counts.stored == len(records) and counts.planned == 0, "the invented records were not all stored")
        async with _step(report, tell, "route", "") as step:
            routed = await route_unit(engine, tenant, job, actor="smoke", webhook_url=hook_url)
            planned = await count_planned(engine, tenant)
            step.what = f"its unit goes to {routed['destination_masked']}, the job is planned"
            _hold(planned["planned"] == 1, "the job is not planned to be sent")
        async with _step(report, tell, "deliver", "") as step:
            sent = await _drain(engine, tenant, routed["destination_id"])
            step.what = f"{sent.delivered} sent, the stand-in got {received(job)}"
            _hold(
                sent.delivered == 1 and received(job) == 1,
                sent.first_error or f"{sent.delivered} were sent and {received(job)} arrived",
            )
        async with _step(report, tell, "once", "") as step:
            again = Counts()
            for stream, record in records:
                await _store(engine, tenant, stream, record, again)
            await _drain(engine, tenant, routed["destination_id"])
            step.what = f"the same pages again: {again.unchanged} unchanged, nothing was sent a second time"
            _hold(again.stored == 0 and received(job) == 1, "the same page led to another send")
    except _NotHeld:
        pass
    finally:
        async with _step(report, tell, "remove", "") as step:
            report.removed = await _remove(engine, tenant)
            step.what = f"{report.removed} rows removed, nothing of it is left"
    return report


@asynccontextmanager
async def _step(report: SmokeReport, tell: Callable[[Step], None], name: str, what: str) -> AsyncIterator[Step]:
    step = Step(name, what, True, 0.0)
    started = time.monotonic()
    broke = True
    try:
        yield step
        broke = False
    except _NotHeld as error:
        step.ok, step.what = False, str(error)
        raise
    except JobSyncError as error:
        step.ok, step.what = False, error.message
        raise _NotHeld from error
    finally:
        step.ok = step.ok and not broke
        step.seconds = round(time.monotonic() - started, 3)
        report.steps.append(step)
        tell(step)


def _hold(held: bool, otherwise: str) -> None:
    if not held:
        raise _NotHeld(otherwise)


def _may_call(engine: Engine, hook_url: str) -> Engine:
    host = urlsplit(hook_url).hostname or ""
    # Unpaced: one request, to this machine.
    settings = engine.settings.model_copy(
        update={"allow_hosts": (*engine.settings.allow_hosts, host), "ghl_pace": 0.0, "ghl_api_key": None}
    )
    return replace(engine, settings=settings)


async def _open(engine: Engine, tenant: str) -> None:
    async with engine.database.transaction(None) as session:
        await session.run("open_smoke", {"tenant": tenant})


async def _remove(engine: Engine, tenant: str) -> int:
    async with engine.database.transaction(None) as session:
        return await session.value("remove_smoke", {"tenant": tenant})


async def _drain(engine: Engine, tenant: str, destination: Any) -> DrainReport:
    return await drain_destination(engine, lambda row: open_sender(engine, tenant, row), tenant, destination)


async def _store(engine: Engine, tenant: str, stream: str, record: dict[str, Any], counts: Counts) -> None:
    body = msgspec.json.encode({"page": 1, "pageSize": 50, "totalCount": 1, "hasMore": False, "data": [record]})
    owners = [record[name] for name in ("customerId", "locationId") if stream.endswith("_contacts") and name in record]
    # Without moving a position: the published watermark is the real tenant's.
    await store(engine, tenant, STREAMS[stream], parse_page(body, "list"), counts, owners=owners or None)


def _invent(job: int) -> list[tuple[str, dict[str, Any]]]:
    """The records of one job, each in ServiceTitan's form; all ids are the job's own."""
    at = "2026-01-05T16:00:00Z"
    address = {"street": "1 Test Lane", "city": "Springfield", "state": "AZ", "zip": "85001", "country": "USA"}
    person = {"id": job, "active": True, "name": "JobSync Smoke", "address": address, "createdOn": at, "modifiedOn": at}
    contact = {"id": job, "memo": None, "modifiedOn": at}
    return [
        ("business_units", {"id": job, "active": True, "name": "JobSync smoke test", "modifiedOn": at}),
        ("customers", {**person, "type": "Residential", "mergedToId": None}),
        ("locations", {**person, "customerId": job, "mergedToId": None}),
        ("customer_contacts", {**contact, "customerId": job, "type": "MobilePhone", "value": PHONE}),
        ("location_contacts", {**contact, "locationId": job, "type": "Email", "value": TEST_EMAIL}),
        (
            "jobs",
            {
                "id": job,
                "jobNumber": TEST_NUMBER,
                "customerId": job,
                "locationId": job,
                "jobStatus": "Scheduled",
                "businessUnitId": job,
                "jobTypeId": 1,
                "priority": "Normal",
                "summary": "This is a smoke test of JobSync. Nobody booked it.",
                "createdOn": at,
                "modifiedOn": at,
                "tagTypeIds": [],
                "total": 0,
            },
        ),
    ]

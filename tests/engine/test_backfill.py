"""Backfill brings all of the past, holds it back from delivery, goes on exactly where it stood, and lets live pulls go first."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobsync.engine.backfill import (
    cancel_backfill,
    choose_entities,
    count_old_jobs,
    deliver_backfilled,
    open_backfill,
    read_backfill,
    resume_backfill,
    run_backfill,
)
from jobsync.errors import InvalidInput, LockHeld
from jobsync.simulators.servicetitan.instants import write_instant
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
TABLES = {
    "customers": "select count(*) from customers",
    "locations": "select count(*) from jobsync.locations",
    "customers/contacts": "select count(*) from jobsync.contacts where owner_kind = 'customer'",
    "locations/contacts": "select count(*) from jobsync.contacts where owner_kind = 'location'",
    "jobs": "select count(*) from jobs",
}
PATHS = {
    "jobs": "jpm/jobs",
    "customers": "crm/customers",
    "locations": "crm/locations",
    "customers/contacts": "crm/customers/contacts",
    "locations/contacts": "crm/locations/contacts",
}


async def begin(stage: Stage, **how: Any) -> UUID:
    return await open_backfill(stage.engine, TENANT, **{"since": BEGINNING, "actor": "test", **how})


async def finish_it(stage: Stage, run: UUID, *, seconds: float = 60) -> dict[str, Any]:
    while await run_backfill(stage.engine, TENANT, run, seconds=seconds):
        pass
    found = await read_backfill(stage.engine, TENANT, run)
    assert found is not None
    return found


def expected(stage: Stage, table: str) -> int:
    """Rows that ServiceTitan's lists show: contacts that were removed are in no list."""
    rows = list(stage.titan.dataset().tables[table])
    return sum(row.active for row in rows) if table.endswith("contacts") else len(rows)


async def test_everything_that_servicetitan_lists_is_stored_and_each_page_is_asked_for_once(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=230) as stage:
        run = await begin(stage, page_size=40)
        found = await finish_it(stage, run)
        assert found["state"] == "completed", found
        for table, count in TABLES.items():
            assert stage.value(count) == expected(stage, table), table
        by_name = {stream["stream"]: stream for stream in found["streams"]}
        assert by_name["jobs"]["total"] == by_name["jobs"]["pulled"] >= 230
        assert all(stream["status"] == "completed" for stream in found["streams"])
        log = stage.rows("select * from sync_logs where sync_type = 'backfill'")[0]
        assert (log["status"], log["records_failed"]) == ("completed", 0)
        assert log["metadata"]["streams"]["jobs"]["pulled"] >= 230
        requests = {name: stage.data_requests()[path] for name, path in PATHS.items()}
        assert requests["jobs"] <= -(-230 // 39) + 2
        assert requests["customers/contacts"] <= 3 * -(-expected(stage, "customers/contacts") // 40)


async def test_what_a_backfill_brings_is_held_whatever_its_route_and_sends_nothing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        url = await stage.route_all()
        await finish_it(stage, await begin(stage))
        stored = stage.value("select count(*) from jobs")
        assert stored > 30
        assert stage.value("select count(*) from jobs where ghl_sync_reason = 'backfilled'") == stored
        assert stage.value("select count(*) from jobsync.outbox") == 0
        assert stage.value("select count(*) from jobsync.wanted") == 0, "nobody waits for the parents of what is held"
        await stage.route(1314, url, events="all")
        stage.run("update business_units set sync_to_ghl = false; update business_units set sync_to_ghl = true")
        assert (await stage.sync(pull=False))["delivered"] == 0
        assert stage.posts() == {}


async def test_the_live_pull_delivers_what_it_would_have_delivered_without_the_backfill(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        await finish_it(stage, await begin(stage))
        await stage.sync()
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        assert stage.value("select count(*) from jobs where ghl_sync_reason = 'backfilled'") == 0


async def test_a_backfill_leaves_alone_what_the_live_pull_brought(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        planned = stage.value("select count(*) from jobsync.outbox")
        found = await finish_it(stage, await begin(stage))
        assert {stream["stream"]: stream["stored"] for stream in found["streams"]}["jobs"] == 0
        assert stage.value("select count(*) from jobsync.outbox") == planned == 40
        assert (await stage.sync(pull=False))["delivered"] == 40


async def test_deliver_plans_the_old_jobs_of_the_time_once_even_those_from_before_the_start(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, more={"JOBSYNC_DELIVER_FROM": "2999-01-01T00:00:00Z"}) as stage:
        await stage.route_all(units=(1314,))
        run = await begin(stage)
        await finish_it(stage, run)
        here = stage.value("select count(*) from jobs where business_unit_id = 1314")
        assert await count_old_jobs(stage.engine, TENANT, run) == {"jobs": here, "webhook_executions": here}
        assert await deliver_backfilled(stage.engine, TENANT, run, actor="test") == here
        assert await deliver_backfilled(stage.engine, TENANT, run, actor="test") == 0
        report = await stage.sync()
        assert report["delivered"] == here > 0
        assert set(stage.posts()) <= set(stage.jobs_of(1314))
        assert set(stage.posts().values()) == {1}
        assert stage.value("select count(*) from jobsync.audit where action = 'backfill_delivered'") == 2


async def test_a_slice_ends_after_a_page_and_the_next_one_goes_on_there(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=120) as stage:
        run = await begin(stage, entities=["jobs"], page_size=25)
        slices, positions = 1, []
        while await run_backfill(stage.engine, TENANT, run, seconds=0):
            found = await read_backfill(stage.engine, TENANT, run)
            assert found is not None
            positions.append(found["streams"][0]["position"])
            slices += 1
        assert positions == sorted(set(positions))
        assert stage.value("select count(*) from jobs") == 120
        assert stage.data_requests()["jpm/jobs"] == slices, "no page is asked for twice"


async def test_a_cancelled_backfill_stores_nothing_more_and_lets_another_begin(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        run = await begin(stage, entities=["jobs"], page_size=20)
        with pytest.raises(LockHeld):
            await begin(stage)
        assert await run_backfill(stage.engine, TENANT, run, seconds=0)
        stage.titan.before_answer = lambda _: stage.run("update jobsync.backfills set state = 'cancelled'")
        assert not await run_backfill(stage.engine, TENANT, run)
        stage.titan.before_answer = None
        assert stage.value("select count(*) from jobs") == 20
        assert not await cancel_backfill(stage.engine, TENANT, run)
        assert not await resume_backfill(stage.engine, TENANT, run)
        again = await begin(stage, entities=["jobs"])
        assert await cancel_backfill(stage.engine, TENANT, again)
        log = stage.rows("select status, error_message from sync_logs where id = %s", again)[0]
        assert (log["status"], log["error_message"]) == ("failed", "cancelled")


async def test_what_stops_a_backfill_is_told_and_it_goes_on_where_it_stood(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        run = await begin(stage, entities=["jobs"], page_size=20)
        assert await run_backfill(stage.engine, TENANT, run, seconds=0)
        stage.titan.faults.plan("status", "jpm/jobs", status=403, count=None)
        found = await finish_it(stage, run)
        assert (found["state"], found["code"], found["exit_code"]) == ("failed", "access_denied", 6)
        assert stage.value("select status from sync_logs where id = %s", run) == "failed"
        stage.titan.faults.clear()
        assert await resume_backfill(stage.engine, TENANT, run)
        assert (await finish_it(stage, run))["state"] == "completed"
        assert stage.value("select count(*) from jobs") == 60
        log = stage.rows("select status, error_message, records_processed from sync_logs where id = %s", run)[0]
        assert (log["status"], log["error_message"]) == ("completed", None)


async def test_streams_that_jobs_do_not_need_are_left_out_where_the_app_may_not_read_them(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        stage.titan.faults.plan("status", "accounting/*", status=403, count=None)
        found = await finish_it(stage, await begin(stage))
        assert found["state"] == "completed"
        assert {s["stream"]: s["status"] for s in found["streams"]}["invoices"] == "not granted"


async def test_only_the_time_that_was_asked_for_is_read(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        times = sorted(row.modified for row in stage.titan.dataset().tables["jobs"])
        since, until = (datetime.fromisoformat(write_instant(times[at])).replace(microsecond=0) for at in (15, 45))
        await finish_it(stage, await begin(stage, since=since, until=until, entities=["jobs"]))
        counted = stage.value("select count(*) from jobs where modified_on >= %s and modified_on < %s", since, until)
        assert counted == stage.value("select count(*) from jobs")
        assert abs(counted - 30) <= 2


async def test_entities_are_named_one_by_one_or_as_contacts_and_wrong_names_are_told() -> None:
    assert choose_entities(["jobs", "contacts"]) == ("customer_contacts", "location_contacts", "jobs")
    with pytest.raises(InvalidInput, match="no history of payrolls"):
        choose_entities(["payrolls"])


@pytest.mark.parametrize("how", [{"since": datetime(2999, 1, 1)}, {"until": datetime(1999, 1, 1)}], ids=str)  # noqa: DTZ001
async def test_a_time_that_is_empty_or_to_come_is_refused(dsn: str, tmp_path: Path, how: dict[str, Any]) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        with pytest.raises(InvalidInput, match="before it ends"):
            await begin(stage, **how)

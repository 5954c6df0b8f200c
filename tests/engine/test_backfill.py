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


def make_old(stage: Stage) -> None:
    """Lets the database's clock run a day ahead, so that everything simulated lies in the past."""
    stage.run("update jobsync.clock set shift = interval '1 day'")


async def begin(stage: Stage, **how: Any) -> UUID:
    assert stage.engine is not None
    return await open_backfill(stage.engine, TENANT, **{"since": BEGINNING, "actor": "test", **how})


async def finish_it(stage: Stage, run: UUID, *, seconds: float = 60) -> dict[str, Any]:
    assert stage.engine is not None
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
        print(requests, {name: s["pages"] for name, s in by_name.items()})
        assert requests["jobs"] <= -(-230 // 39) + 2

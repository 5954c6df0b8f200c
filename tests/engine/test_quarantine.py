"""What did not fit is tried again, whichever streams it came from; what fits is stored and planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.engine.quarantine import retry_quarantined
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio


async def quarantine_some(stage: Stage) -> list[int]:
    """Three good jobs and one hopeless one stand in the quarantine, as an older version left them."""
    wanted = sorted(stage.job_ids())[:3]
    stage.titan.faults.plan("row", "jpm/export/jobs", how="id_text", row=7, count=1)
    await stage.sync(deliver=False)
    stage.run(
        "insert into jobsync.quarantine (tenant_id, stream, record_id, reason, raw, raw_hash, first_seen_at, last_seen_at) "
        "select tenant_id, 'jobs', st_job_id::text, 'older', convert_to(st_raw_data::text, 'UTF8'), sha256(convert_to(st_raw_data::text, 'UTF8')), "
        "created_at, created_at from jobs where st_job_id = any (%s)",
        wanted,
    )
    stage.run("delete from jobsync.outbox where st_job_id = any (%s)", wanted)
    stage.run("delete from jobs where st_job_id = any (%s)", wanted)
    return wanted


def count_open(stage: Stage) -> int:
    return stage.value("select count(*) from jobsync.quarantine where resolved_at is null")


async def test_what_fits_now_is_stored_planned_and_closed_and_the_rest_is_counted_up(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.route_all()
        wanted = await quarantine_some(stage)
        assert count_open(stage) == 4
        assert await retry_quarantined(stage.engine, TENANT) == {"tried": 4, "mended": 3, "still_quarantined": 1}
        assert stage.value("select count(*) from jobs where st_job_id = any (%s)", wanted) == 3
        assert stage.value("select count(*) from jobsync.outbox where st_job_id = any (%s)", wanted) == 3
        assert count_open(stage) == 1
        assert await retry_quarantined(stage.engine, TENANT) == {"tried": 1, "mended": 0, "still_quarantined": 1}
        assert stage.value("select max(times_seen) from jobsync.quarantine") == 3


async def test_many_hopeless_records_are_no_schema_drift(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        stage.run(
            "insert into jobsync.quarantine (tenant_id, stream, reason, raw, raw_hash) "
            "select 'default', s.name, 'older', r.raw, sha256(r.raw) from (values ('jobs'), ('customer_contacts'), ('invoices')) s(name), "
            "lateral (select convert_to('{\"id\": \"' || s.name || n || '\"}', 'UTF8') as raw from generate_series(1, 20) n union all select '\\x7b225c7530303030') r"
        )
        found = count_open(stage)
        assert await retry_quarantined(stage.engine, TENANT) == {
            "tried": found,
            "mended": 0,
            "still_quarantined": found,
        }
        assert count_open(stage) == found >= 60

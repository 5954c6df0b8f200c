"""Reconcile: what ServiceTitan shows against what is stored. Stories over real HTTP, by the command and by the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.quarantine import retry_quarantined
from jobsync.engine.reconcile import reconcile
from jobsync.tasks.work import defer_due_care
from jobsync.tasks.worker import run_in_foreground
from tests.clock import move_clock
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio

ALL_DAYS = 36_500


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["missing"], found["differing"], found["gone"]


def runs(stage: Stage) -> list[dict[str, Any]]:
    return stage.rows("select * from sync_logs where sync_type = 'reconcile' order by started_at")


async def test_after_a_pull_nothing_is_missing_and_two_requests_say_so(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.sync(deliver=False)
        ran = await stage.jobsync("reconcile", "--days", str(ALL_DAYS), "--json", "--report", "report.json")
        assert ran.code == 0, ran.err
        assert counts(ran.json) == (0, 0, 0)
        assert ran.json["streams"]["jobs"]["compared"] == 40 == ran.json["streams"]["jobs"]["equal"]
        assert ran.json["streams"]["customers"]["compared"] > 0
        assert (tmp_path / "report.json").read_text() == ran.out
        (row,) = runs(stage)
        assert (row["status"], row["records_failed"], row["metadata"]["trigger"]) == ("completed", 0, "command")
        assert stage.rows("select is_alert from jobsync.v_reconcile") == [{"is_alert": False}]


async def test_what_is_missing_differing_or_gone_is_named_and_stored_only_if_asked_for(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        await stage.sync()
        first, second, third, fourth = stage.job_ids()[:4]
        person = stage.value("select st_customer_id from jobs where st_job_id = %s", third)
        stage.run("delete from jobs where st_job_id = any (%s)", [first, second])
        # As if a version had never come, and as if one had changed without a new time.
        stage.run(
            "update jobs set modified_on = modified_on - interval '1 hour', st_raw_data = st_raw_data || '{\"modifiedOn\": \"then\"}'"
            " where st_job_id = %s",
            third,
        )
        stage.run('update jobs set st_raw_data = st_raw_data || \'{"summary": "other"}\' where st_job_id = %s', fourth)
        stage.run(
            'update customers set st_raw_data = st_raw_data || \'{"name": "Other"}\' where st_customer_id = %s', person
        )
        stage.run(
            "insert into jobs (st_job_id, modified_on, created_on, source, st_raw_data)"
            " select 1, max(modified_on) - interval '1 day', now(), 'servicetitan', '{}' from jobs"
        )
        ran = await stage.jobsync("reconcile", "--days", str(ALL_DAYS))
        assert ran.code == 4
        for words in (
            f"missing   jobs {first}, {second}",
            f"{third}",
            f"{fourth}",
            f"customers {person}",
            "gone      jobs 1",
        ):
            assert words in ran.out
        assert "Next: jobsync reconcile --days 36500 --fix-missing" in ran.out
        assert stage.value("select count(*) from jobs where st_job_id = %s", first) == 0
        alert = stage.rows("select missing, differing, gone, fixed, is_alert from jobsync.v_reconcile")
        # The job whose time was put back no longer lies in its window here, so that it shows as gone or differing only once.
        assert alert == [{"missing": 2, "differing": 3, "gone": 1, "fixed": 0, "is_alert": True}]

        mended = await stage.jobsync("reconcile", "--days", str(ALL_DAYS), "--fix-missing", "--json")
        assert (mended.code, mended.json["fixed"]) == (0, 5)
        assert sorted(stage.job_ids()) == [
            row["id"] for row in stage.rows("select st_job_id as id from jobs where st_job_id <> 1 order by 1")
        ]
        again = await stage.jobsync("reconcile", "--days", str(ALL_DAYS), "--fix-missing", "--json")
        assert (again.code, *counts(again.json), again.json["fixed"]) == (0, 0, 0, 1, 0)


async def test_a_job_that_is_older_than_deliver_from_never_becomes_deliverable_by_it(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, more={"JOBSYNC_DELIVER_FROM": "2100-01-01T00:00:00Z"}) as stage:
        await stage.route_all()
        await stage.sync()
        lost = stage.job_ids()[0]
        stage.run("delete from jobs where st_job_id = %s", lost)
        found = await reconcile(stage.engine, TENANT, days=ALL_DAYS, fix_missing=True)
        assert (found["missing"], found["fixed"], found["planned"]) == (1, 1, 0)
        assert stage.rows("select ghl_sync_status, ghl_sync_reason from jobs where st_job_id = %s", lost) == [
            {"ghl_sync_status": "skipped", "ghl_sync_reason": "before_start"}
        ]
        assert stage.value("select count(*) from jobsync.outbox") == 0


async def test_what_the_last_pull_could_not_know_and_what_is_quarantined_is_not_missing(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        stage.titan.faults.plan("row", "jpm/export/jobs", how="total_object", row=3, count=1)
        await stage.sync(deliver=False)
        assert stage.value("select count(*) from jobs") == 29
        stage.act.book_job()
        stage.titan.clock.advance(3600)
        move_clock(dsn, "1 hour")
        found = await reconcile(stage.engine, TENANT, days=ALL_DAYS)
        jobs = found["streams"]["jobs"]
        assert (jobs["missing"], jobs["quarantined"], jobs["not_read_yet"]) == (0, 1, 1)
        # After a deploy, or on command, the record is read again: this one fits as ServiceTitan sends it now.
        assert await retry_quarantined(stage.engine, TENANT) == {"tried": 1, "mended": 0, "still_quarantined": 1}
        stage.run('update jobsync.quarantine set raw = convert_to(\'{"id": 5, "jobNumber": "5"}\', \'UTF8\')')
        ran = await stage.jobsync("pull", "--quarantined")
        assert "1 quarantined records tried again: 1 fit now, 0 do not." in ran.out
        assert stage.value("select st_job_number from jobs where st_job_id = 5") == "5"
        assert stage.value("select resolution from jobsync.quarantine") == "it fits now"


async def test_a_comparison_that_broke_off_is_a_failed_run_and_due_again_in_an_hour(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        await stage.sync(deliver=False)
        stage.run("update jobsync.tenants set next_reconcile_at = now() + interval '1 day'")
        stage.titan.faults.plan("status", "crm/customers", status=400, count=None)
        ran = await stage.jobsync("reconcile")
        assert ran.code == 7
        assert "list of customers" in ran.err
        (row,) = runs(stage)
        assert row["status"] == "failed"
        assert stage.value("select next_reconcile_at < now() + interval '61 minutes' from jobsync.tenants")
        refused = await stage.jobsync("reconcile", "--days", "0")
        assert (refused.code, len(runs(stage))) == (2, 1)


async def test_once_a_day_the_schedule_compares_each_tenant_and_never_twice(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        await stage.sync(deliver=False)
        assert await run_in_foreground(stage.engine, defer_due_care) == 0, "a new tenant's first is due a day later"
        move_clock(dsn, "25 hours")
        assert await run_in_foreground(stage.engine, defer_due_care) == 1
        assert await run_in_foreground(stage.engine, defer_due_care) == 0
        queued = "select task_name, queue_name from jobsync_queue.procrastinate_jobs where status = 'todo' and queue_name = 'care'"
        assert stage.rows(queued) == [{"task_name": "reconcile", "queue_name": "care"}]
        stage.run("update jobsync.tenants set quarantine_tried_with = 'an older version'")
        stage.run(
            "insert into jobsync.quarantine (tenant_id, stream, reason, raw, raw_hash) values ('default', 'jobs', 'x', 'x', 'x')"
        )
        assert await run_in_foreground(stage.engine, defer_due_care) == 1
        assert await run_in_foreground(stage.engine, defer_due_care) == 0

"""The guide's flow in a real n8n: what it reads, what it sends, what it marks."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from jobsync.engine.route import route_unit
from tests.clock import move_clock
from tests.n8n.conftest import open_service, prepare
from tests.n8n.runtime import N8n
from tests.upstreams import TENANT, UNITS, Stage, open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.n8n, pytest.mark.timeout(3600)]

FLOW = "get-jobs-modernized-v2"
FLOW_ID = "jobsyncGetJobsV2"
DRAIN = "drain-pending"
DRAIN_ID = "jobsyncDrain"
FAILING = 4622


def taken(stage: Stage) -> Counter[int]:
    """How often GoHighLevel took each job."""
    return Counter(int(post.job or 0) for post in stage.level.ledger.posts if post.answered == "queued")


def statuses(stage: Stage) -> dict[int, str]:
    return {
        row["st_job_id"]: row["ghl_sync_status"] for row in stage.rows("select st_job_id, ghl_sync_status from jobs")
    }


def nothing_is_marked_that_was_not_taken(stage: Stage) -> None:
    marked = {job for job, status in statuses(stage).items() if status == "synced"}
    assert marked == set(taken(stage))


async def read_units(stage: Stage) -> None:
    await stage.sync(deliver=False, streams=("business_units",))


async def test_every_job_is_delivered_once_and_those_of_a_failing_hook_are_kept_and_retried(
    n8n: N8n, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_stage(dsn, tmp_path, jobs=1000) as stage, open_service(stage) as url:
        await read_units(stage)
        hooks = {unit: stage.add_hook() for unit in UNITS}
        stage.break_hook(hooks[FAILING], "status", status=500)
        await n8n.add(await prepare(stage, FLOW, url, hooks=hooks))
        failing, others = set(stage.jobs_of(FAILING)), set(stage.job_ids()) - set(stage.jobs_of(FAILING))
        assert failing and others

        first = await n8n.execute(FLOW_ID)
        assert first.status == "success", first.error
        assert first.count("Get Jobs") == 20, "pages of 50"
        assert taken(stage) == dict.fromkeys(others, 1)
        assert {job for job, status in statuses(stage).items() if status == "failed"} == failing
        (log,) = stage.rows("select * from sync_logs where sync_type = 'n8n_sync'")
        assert (log["status"], log["records_processed"], log["records_failed"]) == ("failed", 1000, len(failing))
        assert "HTTP 500" in log["error_message"]
        assert log["metadata"]["pulled"] == log["metadata"]["stored"] == 1000
        nothing_is_marked_that_was_not_taken(stage)

        move_clock(dsn, "6 minutes")
        second = await n8n.execute(FLOW_ID)
        assert second.status == "success", second.error
        assert taken(stage) == dict.fromkeys(others, 1), "nothing is sent again"
        assert {job: stage.posts()[job] for job in failing} == dict.fromkeys(failing, 2)
        assert {job for job, status in statuses(stage).items() if status == "failed"} == failing
        nothing_is_marked_that_was_not_taken(stage)

        stage.level.faults.clear()
        move_clock(dsn, "40 minutes")
        third = await n8n.execute(FLOW_ID)
        assert third.status == "success", third.error
        assert taken(stage) == dict.fromkeys(stage.job_ids(), 1)
        assert set(statuses(stage).values()) == {"synced"}
        with capsys.disabled():
            print(
                f"\nn8n {n8n.version}: 1,000 jobs in {first.count('Get Jobs')} pages; cycle 1 {len(others)} delivered, "
                f"{len(failing)} failed and kept; cycle 2 {len(failing)} retried, 0 sent again; "
                f"hook mended: {sum(taken(stage).values())} delivered, {len(taken(stage))} jobs"
            )


async def test_beside_a_live_jobsync_no_job_is_sent_twice(
    n8n: N8n, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = UNITS[:3], UNITS[3:]
    async with open_stage(dsn, tmp_path, jobs=300) as stage, open_service(stage) as url:
        await read_units(stage)
        hooks = {unit: stage.add_hook() for unit in UNITS}
        for unit in theirs:
            await route_unit(stage.engine, TENANT, unit, actor="test", external=True)
        for unit in ours:
            await stage.route(unit, hooks[unit])
        # The flow has the hooks of all units: who delivers is decided by the database, not by what is pasted there.
        await n8n.add(await prepare(stage, FLOW, url, hooks=hooks))

        async def live() -> None:
            for _ in range(3):
                await stage.sync()

        runs = await asyncio.gather(n8n.execute(FLOW_ID), live())
        assert runs[0].status == "success", runs[0].error
        await live()
        assert taken(stage) == dict.fromkeys(stage.job_ids(), 1)

        # The switch: JobSync takes over a unit, and waits until the old flow has been still for a day.
        stage.act.book_jobs(count=8)
        moved = theirs[0]
        await stage.route(moved, hooks[moved])
        runs = await asyncio.gather(n8n.execute(FLOW_ID), live())
        assert runs[0].status == "success", runs[0].error
        again = await n8n.execute(FLOW_ID)
        assert again.status == "success", again.error
        assert not [job for job, count in taken(stage).items() if count > 1]
        assert not set(taken(stage)) & {job for job in stage.jobs_of(moved) if statuses(stage)[job] == "pending"}
        with capsys.disabled():
            print(f"\nn8n {n8n.version}: old flow and live JobSync together: {len(taken(stage))} jobs, 0 double sends")


async def test_two_runs_at_once_share_the_jobs_and_send_their_key(n8n: N8n, dsn: str, tmp_path: Path) -> None:
    key = "invented-key-of-the-lane"
    async with open_stage(dsn, tmp_path, jobs=120) as stage, open_service(stage, API_KEY=key) as url:
        await read_units(stage)
        hooks = {unit: stage.add_hook() for unit in UNITS}
        for unit in UNITS:
            await route_unit(stage.engine, TENANT, unit, actor="test", external=True)
        await stage.sync(deliver=False)
        credential = {
            "id": "jobsyncApiKey001",
            "name": "JobSync API key",
            "type": "httpHeaderAuth",
            "data": {"name": "X-API-Key", "value": key},
        }
        await n8n.add_credentials(credential)
        await n8n.add(await prepare(stage, DRAIN, url, hooks=hooks, key=True, pushLimit=10))
        runs = await asyncio.gather(n8n.execute(DRAIN_ID), n8n.execute(DRAIN_ID))
        assert [run.status for run in runs] == ["success", "success"], [run.error for run in runs]
        assert taken(stage) == dict.fromkeys(stage.job_ids(), 1)
        nothing_is_marked_that_was_not_taken(stage)
        (bodies,) = {tuple(body) for body in stage.bodies().values()}
        assert bodies[:4] == ("job_id", "customer_id", "Job_description", "location_id")
        logged = stage.rows("select status, records_processed from sync_logs where sync_type = 'n8n_push'")
        assert sum(log["records_processed"] for log in logged) == 120


async def test_what_fails_on_the_way_is_logged_and_the_rest_goes_on(n8n: N8n, dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage, open_service(stage) as url:
        await read_units(stage)
        hooks = {unit: stage.add_hook() for unit in UNITS}
        for unit in UNITS:
            await route_unit(stage.engine, TENANT, unit, actor="test", external=True)
        await stage.sync(deliver=False)
        # ServiceTitan refuses customers: nothing can be read, what is stored already is pushed all the same.
        stage.titan.faults.plan("status", "crm/customers", status=503, count=None)
        test_only, gone = UNITS[0], UNITS[1]
        hooks[test_only] = stage.add_hook("test")
        hooks[gone] = "http://127.0.0.1:9/hook"
        await n8n.add(await prepare(stage, FLOW, url, hooks=hooks))
        mark = "select value from sync_state where key = 'lastJobPull'"
        read_until = stage.value(mark)
        run = await n8n.execute(FLOW_ID)
        assert run.status == "success", run.error
        failures = {
            row["sync_type"]: row
            for row in stage.rows("select * from sync_logs where status = 'failed' and sync_type like 'n8n%%'")
        }
        assert '"Get Customers" failed' in failures["n8n_pull"]["error_message"]
        errors = failures["n8n_sync"]["error_message"]
        assert "test sample" in errors and "did not answer" in errors and "/hook" not in errors
        assert stage.value(mark) == read_until, "what was not read comes next time"
        expected = set(stage.job_ids()) - set(stage.jobs_of(test_only, gone))
        assert taken(stage) == dict.fromkeys(expected, 1)
        nothing_is_marked_that_was_not_taken(stage)

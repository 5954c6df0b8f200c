"""What a face asked for is done by whichever worker runs, once, and its run says what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.asked_runs import ask_reconcile, ask_verification
from jobsync.tasks.work import CARE_QUEUE, Duties, defer_asked_runs
from jobsync.tasks.worker import finish_tasks, is_busy, run_in_foreground
from tests.clock import move_clock
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio
ALL_DAYS = 36_500


async def work_off(stage: Stage) -> int:
    """One sweep of the schedule, and everything it deferred is done; how many runs were open."""

    async def act(duties: Duties) -> int:
        async def done() -> bool:
            return not await is_busy(duties, CARE_QUEUE, TENANT)

        found = await defer_asked_runs(duties)
        assert await defer_asked_runs(duties) == 0, "what waits already is not deferred twice"
        await finish_tasks(duties, done, queues=(CARE_QUEUE,))
        return found

    return await run_in_foreground(stage.engine, act)


def read_run(stage: Stage, run: object) -> dict[str, Any]:
    (found,) = stage.rows("select * from sync_logs where id = %s", run)
    return found


async def test_a_comparison_and_a_reading_back_are_done_by_a_worker_and_told_in_their_runs(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        await stage.route_all()
        delivered = (await stage.sync())["delivered"]
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        lost = stage.job_ids()[0]
        stage.run("delete from jobs where st_job_id = %s", lost)
        compared = await ask_reconcile(stage.engine, TENANT, days=ALL_DAYS, fix_missing=True, actor="test")
        looked = await ask_verification(stage.engine, TENANT, actor="test")
        assert await work_off(stage) == 2
        run = read_run(stage, compared)
        assert (run["status"], run["metadata"]["missing"], run["metadata"]["fixed"]) == ("completed", 1, 1)
        assert stage.value("select count(*) from jobs where st_job_id = %s", lost) == 1
        run = read_run(stage, looked)
        assert (run["status"], run["records_processed"]) == ("completed", delivered - 1)
        assert run["metadata"]["verified"] == run["records_succeeded"] > 0
        assert await work_off(stage) == 0, "what is done is not done again"
        again = await ask_verification(stage.engine, TENANT, actor="test")
        assert again != looked, "once it is done it may be asked for again"


async def test_what_cannot_be_done_ends_as_a_failed_run_that_says_why(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        await stage.sync(deliver=False)
        stage.titan.faults.plan("status", "crm/customers", status=400, count=None)
        compared = await ask_reconcile(stage.engine, TENANT, actor="test")
        looked = await ask_verification(stage.engine, TENANT, actor="test")
        assert await work_off(stage) == 2
        for run, words in ((compared, "list of customers"), (looked, "GoHighLevel")):
            found = read_run(stage, run)
            assert found["status"] == "failed"
            assert words in found["error_message"]


async def test_one_that_no_worker_takes_up_is_abandoned_and_may_be_asked_for_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        run = await ask_verification(stage.engine, TENANT, actor="test")
        move_clock(dsn, "31 minutes")
        stage.run("select jobsync.abandon_runs('default', '30 minutes')")
        assert read_run(stage, run)["error_message"] == "abandoned"
        assert await work_off(stage) == 0
        await ask_verification(stage.engine, TENANT, actor="test")

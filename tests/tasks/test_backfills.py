"""A backfill works behind everything that is live: passes never wait for it, and any worker goes on with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobsync.engine.backfill import read_backfill
from jobsync.tasks.backfills import AT_ONCE, BACKFILL_TASK, resume_backfill_now, start_backfill_now
from jobsync.tasks.worker import CONCURRENCY, work
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
QUEUE = "jobsync_queue.procrastinate_jobs"


async def start(stage: Stage, **how: Any) -> UUID:
    given: dict[str, Any] = {"since": BEGINNING, "entities": ["jobs"], "page_size": 10, "actor": "test", **how}
    return await start_backfill_now(stage.engine, TENANT, **given)


def signal_at(stage: Stage, path: str, count: int) -> asyncio.Event:
    """Set as soon as ServiceTitan was asked so often for this path."""
    reached, asked = asyncio.Event(), 0
    take = stage.titan.faults.take

    def take_and_tell(method: str, where: str, query: str) -> object:
        nonlocal asked
        asked += where == path
        if asked >= count:
            reached.set()
        return take(method, where, query)

    stage.titan.faults.take = take_and_tell  # type: ignore[method-assign]
    return reached


async def test_a_pass_ends_while_a_backfill_waits_for_its_answer(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        asked = signal_at(stage, "jpm/jobs", 1)
        stage.titan.faults.plan("hang", "jpm/jobs", count=1)
        process = await stage.start("backfill", "--since", "2000-01-01", "--entity", "jobs", "--json")
        await asyncio.wait_for(asked.wait(), 30)
        assert (await stage.sync())["delivered"] == 40
        assert stage.value("select state from jobsync.backfills") == "running"
        process.kill()
        await process.communicate()


async def test_the_service_works_off_a_backfill_that_a_face_began_and_one_whose_task_is_gone(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, more={"JOBSYNC_POLL_SECONDS": 86400}) as stage:
        run = await start(stage)
        row = stage.rows(f"select priority, queue_name from {QUEUE} where task_name = %s", BACKFILL_TASK)[0]
        assert (row["priority"] < 0, row["queue_name"]) == (True, "backfill")
        stage.run(f"set local search_path = jobsync_queue; delete from {QUEUE} where task_name = '{BACKFILL_TASK}'")
        assert await resume_backfill_now(stage.engine, TENANT, run)
        stop, asked = asyncio.Event(), signal_at(stage, "jpm/jobs", 3)
        working = asyncio.ensure_future(work(stage.engine, stop))
        await asyncio.wait_for(asked.wait(), 60)
        stop.set()
        await working
        # Of its first slices: the service's own first load reads jobs after their parents.
        assert stage.value("select count(*) from jobs") > 0
        found = await read_backfill(stage.engine, TENANT)
        assert found is not None and found["state"] in ("running", "completed")
        ran = await stage.jobsync("backfill", "--resume", "--json")
        assert (ran.code, ran.json["run"], ran.json["state"]) == (0, str(run), "completed")
        assert stage.value("select count(*) from jobs") == 40


def test_backfills_never_take_all_slots_of_a_worker() -> None:
    assert AT_ONCE <= CONCURRENCY // 2

"""Several processes on one database: no job twice, none lost, whatever dies when."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.ledger_check import until
from tests.upstreams import Stage, finish, open_stage

pytestmark = pytest.mark.anyio

QUICK = {"JOBSYNC_LEASE_SECONDS": 1, "JOBSYNC_STALLED_SECONDS": 1}
# More jobs than the caps let through in an hour.
UNCAPPED = {"JOBSYNC_CAP_HOUR": 0, "JOBSYNC_CAP_DAY": 0}


def signal_at(stage: Stage, posts: int) -> asyncio.Event:
    """Set as soon as GoHighLevel has received so many posts."""
    ledger, reached = stage.level.ledger, asyncio.Event()
    note = ledger.note_post

    def note_and_tell(post: object) -> None:
        note(post)  # type: ignore[arg-type]
        if ledger.post_count >= posts:
            reached.set()

    ledger.note_post = note_and_tell  # type: ignore[method-assign]
    return reached


async def test_two_syncs_at_the_same_time_deliver_every_job_once(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=150) as stage:
        await stage.route_all()
        ran = await asyncio.gather(*(stage.process("sync", "--json") for _ in range(2)))
        assert [one.code for one in ran] == [0, 0], [one.err for one in ran]
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == 150
        assert stage.rows("select * from sync_logs where status = 'running'") == []
        assert max(one.json["delivered"] for one in ran) == 150


async def test_a_sync_killed_while_it_sends_loses_nothing_and_only_flagged_jobs_may_come_twice(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=200, more=QUICK) as stage:
        url = await stage.route_all()
        reached = signal_at(stage, 125)
        # Slow answers: when the signal comes, the first group is booked and another one is under way.
        stage.break_hook(url, "slow", seconds=0.2)
        process = await stage.start("sync", "--json")
        await asyncio.wait_for(reached.wait(), 30)
        process.kill()
        await finish(process)
        stage.level.faults.clear()
        assert 0 < stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") < 200
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        assert set(stage.posts()) == set(stage.job_ids())
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == 200
        flagged = stage.rows("select st_job_id from jobs where 'ambiguous' = any (ghl_sync_flags)")
        twice = {job for job, count in stage.posts().items() if count > 1}
        assert twice
        assert twice <= {row["st_job_id"] for row in flagged}
        assert stage.value("select count(*) from jobsync.outbox") == 0
        assert stage.rows("select * from sync_logs where status = 'running' and sync_type = 'ghl_delivery'") == []


async def test_a_sync_killed_while_it_pulls_is_finished_by_the_next_one(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=100, more={"JOBSYNC_STALLED_SECONDS": 1}) as stage:
        await stage.route_all()
        asked = asyncio.Event()
        take = stage.titan.faults.take

        def take_and_tell(method: str, path: str, query: str) -> object:
            if "/export/" in path:
                asked.set()
            return take(method, path, query)

        stage.titan.faults.take = take_and_tell  # type: ignore[method-assign]
        stage.titan.faults.plan("hang", "*/export/*", count=None)
        process = await stage.start("sync", "--json")
        await asyncio.wait_for(asked.wait(), 30)
        process.kill()
        await finish(process)
        stage.titan.faults.clear()
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        assert stage.value("select count(*) from jobs") == 100
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        assert stage.rows("select * from sync_logs where status = 'running'") == []


async def test_no_wait_leaves_the_work_to_the_one_who_does_it_already(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        release = stage.titan.faults.plan("hang", "crm/export/customers", count=1)
        first = await stage.start("sync", "--json")
        await until(lambda: bool(release.struck))
        second = await stage.jobsync("sync", "--no-wait")
        assert second.code == 75
        assert "Another worker" in second.err
        stage.titan.closing.set()
        ran = await finish(first)
        assert ran.code == 0, ran.err
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)

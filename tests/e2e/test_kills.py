"""Real processes that are killed, put to sleep and asked to stop while they work: nothing lost, nothing stale."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from tests.e2e.ledger_check import check_nothing_lost, is_all_told, until
from tests.e2e.test_two_syncs import QUICK, UNCAPPED, signal_at
from tests.upstreams import Stage, finish, open_stage

pytestmark = pytest.mark.anyio

GROUP = 64


async def kill_while_it_sends(stage: Stage, url: str, posts: int) -> None:
    """kill -9 to a `jobsync sync` as soon as GoHighLevel has received so many posts."""
    reached = signal_at(stage, posts)
    stage.break_hook(url, "slow", seconds=0.05)
    process = await stage.start("sync", "--json")
    ended = asyncio.ensure_future(process.wait())
    waiting = asyncio.ensure_future(reached.wait())
    await asyncio.wait({ended, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not ended.done():
        process.kill()
    await finish(process)
    stage.level.faults.clear()


async def test_a_sync_killed_again_and_again_loses_nothing(dsn: str, tmp_path: Path) -> None:
    jobs, kills = 100, 2
    async with open_stage(dsn, tmp_path, jobs=jobs, more=QUICK) as stage:
        url = await stage.route_all()
        for round_ in range(kills):
            await kill_while_it_sends(stage, url, 10 + 45 * round_)
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        assert is_all_told(stage, jobs)
        assert check_nothing_lost(stage) <= GROUP * kills


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_200_kills_over_5000_jobs_lose_nothing(dsn: str, tmp_path: Path) -> None:
    jobs, kills = 5000, 200
    rng = Random(1)
    most_unmarked = most_claimed = posted = booked = 0
    async with open_stage(dsn, tmp_path, jobs=jobs, more={**QUICK, **UNCAPPED}) as stage:
        url = await stage.route_all()
        killed = 0
        for _ in range(kills):
            killed += 1
            began = stage.value("select jobsync.now()")
            await kill_while_it_sends(stage, url, stage.level.ledger.post_count + rng.randrange(1, 40))
            # What an earlier worker died with is never booked: each kill has what was posted and not booked since the one before.
            last, posted = (posted, booked), stage.level.ledger.post_count
            booked = stage.value("select count(*) from jobsync.attempts where outcome like 'accepted%'")
            most_unmarked = max(most_unmarked, (posted - last[0]) - (booked - last[1]))
            # Of the one that was killed just now: what the one before it held may be leased still, where kills come fast.
            claimed = stage.value(
                "select count(*) from jobsync.outbox where lease_until > jobsync.now() and tried_at > %s", began
            )
            most_claimed = max(most_claimed, claimed)
            if is_all_told(stage, jobs):
                break
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        # What five workers in a row died with is set aside, for a person to look at and to replay.
        aside = stage.rows(
            "select st_job_id, ghl_sync_status, ghl_sync_reason from jobs where ghl_sync_status <> 'synced'"
        )
        assert {row["ghl_sync_reason"] for row in aside} <= {"worker_died"}, aside
        assert len(aside) <= 5, aside
        if aside:
            assert (await stage.jobsync("replay", "--cause", "worker_died", "--yes")).code == 0
            assert (await stage.jobsync("sync", "--json")).code == 0
        assert is_all_told(stage, jobs)
        twice = check_nothing_lost(stage)
        print(
            f"kills: {killed}, jobs: {jobs}, lost: 0, twice: {twice}, each flagged; at most {most_unmarked} accepted and not marked, "
            f"{most_claimed} claimed; "
            f"{len(aside)} set aside and replayed"
        )
        assert most_unmarked <= GROUP
        # One group is being booked, one is being sent, one is claimed ahead.
        assert most_claimed <= 3 * GROUP


async def test_a_worker_that_sleeps_past_its_lease_changes_nothing_when_it_wakes(dsn: str, tmp_path: Path) -> None:
    jobs = 60
    async with open_stage(dsn, tmp_path, jobs=jobs, more=QUICK) as stage:
        url = await stage.route_all()
        reached = signal_at(stage, 5)
        stage.break_hook(url, "slow", seconds=0.3)
        process = await stage.start("sync", "--json")
        await asyncio.wait_for(reached.wait(), 60)
        os.kill(process.pid, signal.SIGSTOP)
        stage.level.faults.clear()
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        assert is_all_told(stage, jobs)
        told = stage.rows("select st_job_id, ghl_accepted_at, ghl_version from jobs order by 1")
        os.kill(process.pid, signal.SIGCONT)
        await finish(process)
        assert stage.rows("select st_job_id, ghl_accepted_at, ghl_version from jobs order by 1") == told
        assert check_nothing_lost(stage) > 0


async def test_a_worker_that_is_asked_to_stop_books_what_it_sent_within_ten_seconds(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=150) as stage:
        url = await stage.route_all()
        reached = signal_at(stage, 5)
        stage.break_hook(url, "slow", seconds=0.5)
        process = await stage.start("up", "--only", "worker")
        await asyncio.wait_for(reached.wait(), 60)
        began = time.monotonic()
        process.terminate()
        ran = await finish(process)
        assert time.monotonic() - began < 10
        assert ran.code == 0, ran.err
        assert stage.value("select count(*) from jobsync.attempts where outcome is null") == 0
        assert stage.value("select count(*) from jobsync.outbox where lease_until is not null") == 0
        synced = stage.value("select count(*) from jobs where ghl_sync_status = 'synced'")
        assert synced == stage.level.ledger.post_count > 0


@pytest.mark.parametrize(
    ("workers", "jobs"), [pytest.param(8, 20_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
async def test_many_workers_claim_each_job_once(dsn: str, tmp_path: Path, workers: int, jobs: int) -> None:
    async with open_stage(dsn, tmp_path, jobs=jobs, more=UNCAPPED) as stage:
        await stage.route_all()
        processes = [await stage.start("sync", "--json") for _ in range(workers)]
        await asyncio.gather(*(process.wait() for process in processes))
        if not is_all_told(stage, jobs):
            await stage.jobsync("sync", "--json")
        await until(lambda: is_all_told(stage, jobs))
        assert dict.fromkeys(stage.job_ids(), 1) == stage.posts()
        assert stage.value("select count(*) from jobsync.attempts") == jobs
        for process in processes:
            await finish(process)

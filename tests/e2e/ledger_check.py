"""What must hold on a stage once everything came to rest, whatever was done to its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.upstreams import Stage


async def until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Waits until something holds that only another process can bring about. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


async def until_apart(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """The same, asked in a thread: what this process serves (simulators, a proxy) is not held up by the asking."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.2)


def is_all_told(stage: Stage, jobs: int) -> bool:
    """True once every job is stored and synced and nothing waits."""
    row = stage.rows(
        "select (select count(*) from jobs where ghl_sync_status = 'synced') as synced, (select count(*) from jobsync.outbox) as waiting"
    )[0]
    return (row["synced"], row["waiting"]) == (jobs, 0)


def check_nothing_lost(stage: Stage) -> int:
    """0 lost, and 0 sent twice but those whose outcome nobody could know, each flagged. Answers how many came twice."""
    posts = {int(job): count for job, count in stage.level.ledger.queued_by_job.items()}
    lost = set(stage.job_ids()) - set(posts)
    assert not lost, f"{len(lost)} jobs never reached GoHighLevel"
    flagged = {
        row["st_job_id"] for row in stage.rows("select st_job_id from jobs where 'ambiguous' = any (ghl_sync_flags)")
    }
    twice = {job for job, count in posts.items() if count > 1}
    assert twice <= flagged, f"{len(twice - flagged)} jobs were sent twice although their outcome was known"
    stale = stage.value(
        "select count(*) from jobsync.attempts a join jobsync.attempts b on b.tenant_id = a.tenant_id and b.st_job_id = a.st_job_id and b.id > a.id and b.requests > 0"
        " where a.outcome like 'accepted%' and a.finished_at <= b.started_at"
    )
    assert stale == 0, f"{stale} sends began after an accepted one was booked"
    return len(twice)

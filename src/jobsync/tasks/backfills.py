"""The task of a backfill: slices of about ten seconds, each deferred anew, behind everything that is live.

A queue of its own, so that no pass waits for it, the lowest priority, and locks of which only four exist: of a worker's
eight slots at least four are always free for live work, however many tenants backfill.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zlib import crc32

from procrastinate import App

from jobsync.engine.backfill import open_backfill, read_backfill, resume_backfill, run_backfill
from jobsync.engine.context import Engine
from jobsync.errors import DatabaseUnavailable
from jobsync.log import get_log
from jobsync.tasks.app import defer_once

if TYPE_CHECKING:
    from jobsync.tasks.work import Duties

BACKFILL_QUEUE = "backfill"
BACKFILL_TASK = "backfill"
AT_ONCE = 4
BEHIND_LIVE = -10


def register_backfill(app: App, duties: Duties) -> None:
    """Registers the task on the app."""

    @app.task(name=BACKFILL_TASK, queue=BACKFILL_QUEUE)
    async def backfill(tenant: str, run: str) -> None:
        try:
            more = await run_backfill(duties.engine, tenant, UUID(run), stopping=duties.stopping)
        except DatabaseUnavailable as error:
            # The schedule, or whoever resumes it, defers it again.
            get_log(tenant=tenant, run=run).warning("backfill_lost_database", code=error.code)
            return
        if more:
            await defer_backfill(app, tenant, UUID(run))


async def defer_backfill(app: App, tenant: str, run: UUID) -> bool:
    """Defers the next slice of a backfill unless it waits already. True when it was added."""
    return await defer_once(
        app,
        BACKFILL_TASK,
        lock=f"backfill:{crc32(tenant.encode()) % AT_ONCE}",
        queueing_lock=f"backfill:{tenant}",
        priority=BEHIND_LIVE,
        tenant=tenant,
        run=str(run),
    )


async def defer_running_backfills(duties: Duties) -> None:
    """Defers every backfill that somebody should be working on and that no task is there for."""
    async with duties.engine.database.transaction(None) as session:
        rows = await session.rows("list_running_backfills")
        waiting = [
            row
            for row in rows
            if not await session.value("is_pass_queued", {"task": BACKFILL_TASK, "run": str(row["run"])})
        ]
    for row in waiting:
        await defer_backfill(duties.app, row["tenant_id"], row["run"])


async def is_backfill_over(duties: Duties, tenant: str, run: UUID) -> bool:
    """True when nobody has to work on the backfill any more. Takes it up again where its task vanished."""
    found = await read_backfill(duties.engine, tenant, run)
    if found is None or found["state"] != "running":
        return True
    await defer_running_backfills(duties)
    return False


async def start_backfill(duties: Duties, tenant: str, **how: Any) -> UUID:
    """Opens a backfill (see `open_backfill`) and leaves it to whichever worker runs; answers its run."""
    run = await open_backfill(duties.engine, tenant, **how)
    await defer_backfill(duties.app, tenant, run)
    return run


async def go_on_with_backfill(duties: Duties, tenant: str, run: UUID) -> bool:
    """Lets an unfinished backfill go on with whichever worker runs. False when it is over."""
    if not await resume_backfill(duties.engine, tenant, run):
        return False
    await defer_backfill(duties.app, tenant, run)
    return True


async def start_backfill_now(engine: Engine, tenant: str, **how: Any) -> UUID:
    """Opens a backfill and leaves it to the workers: for a face that has no queue open. Answers its run."""
    from jobsync.tasks.worker import run_in_foreground

    return await run_in_foreground(engine, partial(start_backfill, tenant=tenant, **how))


async def resume_backfill_now(engine: Engine, tenant: str, run: UUID) -> bool:
    """Lets a backfill go on with the workers: for a face that has no queue open. False when it is over."""
    from jobsync.tasks.worker import run_in_foreground

    return await run_in_foreground(engine, partial(go_on_with_backfill, tenant=tenant, run=run))

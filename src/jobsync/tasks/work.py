"""The tasks: which verb runs when. Each is a few lines that call one verb of the engine.

    tick (every 10 s)   closes abandoned runs, opens due passes, defers drains of what is due, rescues stalled tasks
    pull_stream         one stream of one tenant
    look_up             parents that are still missing, after the streams that jobs need
    drain               one destination

A task runs at most once at a time per lock; a worker that dies holds its task until its heartbeat is 30 s old.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from procrastinate import App, JobContext

from jobsync.db.pool import Row
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.deliver import drain_destination
from jobsync.engine.hook_sender import open_sender
from jobsync.engine.passes import JOB_STREAMS, LOOK_UP, open_pass, read_pass, run_stream
from jobsync.errors import ConfigError, JobSyncError
from jobsync.log import get_log
from jobsync.tasks.app import defer_once

HEARTBEAT_SECONDS = 5.0
STALLED_AFTER_SECONDS = 30.0
ABANDONED_AFTER = "30 minutes"


@dataclass(frozen=True)
class Duties:
    """What the tasks share: the engine, the queue's app, and whether the process is stopping."""

    engine: Engine
    app: App
    stopping: Callable[[], bool] = lambda: False


def register_tasks(
    app: App, engine: Engine, *, stopping: Callable[[], bool] = lambda: False, periodic: bool = True
) -> Duties:
    """Registers all tasks on the app. `periodic` False: a one-shot worker runs what is deferred and schedules nothing."""
    duties = Duties(engine, app, stopping)

    @app.task(name="pull_stream", queue="pull")
    async def pull_stream(tenant: str, stream: str, run: str | None) -> None:
        await run_stream(engine, tenant, stream, UUID(run) if run else None)
        if run and stream in JOB_STREAMS:
            await _look_up_after(duties, tenant, UUID(run))

    @app.task(name="look_up", queue="pull")
    async def look_up(tenant: str, run: str | None) -> None:
        await run_stream(engine, tenant, LOOK_UP, UUID(run) if run else None)
        if periodic:
            await defer_due_drains(duties, tenant)

    @app.task(name="drain", queue="deliver")
    async def drain(tenant: str, destination: str, due_before: str | None = None) -> None:
        async def sender(row: Row):
            return await open_sender(engine, row)

        before = datetime.fromisoformat(due_before) if due_before else None
        try:
            report = await drain_destination(
                engine, sender, tenant, UUID(destination), due_before=before, stopping=stopping
            )
        except JobSyncError as error:
            get_log(tenant=tenant, destination=destination).warning(
                "drain_failed", code=error.code, error_type=type(error).__name__
            )
            return
        if report.more and not stopping():
            await defer_drain(duties, tenant, destination, due_before)

    if periodic:

        @app.periodic(cron="*/10 * * * * *")
        @app.task(name="tick", queue="schedule", queueing_lock="tick", pass_context=True)
        async def tick(context: JobContext, timestamp: int) -> None:
            await rescue_stalled(duties)
            await open_due_passes(duties)
            await defer_due_drains(duties, None)

    return duties


async def defer_pass(duties: Duties, tenant: str, trigger: str, *, streams: tuple[str, ...] | None = None) -> UUID:
    """Opens a pass and defers its streams. A stream that still waits from an earlier pass is written off as `waiting`."""
    run, names = await open_pass(duties.engine, tenant, trigger, streams=streams)
    for name in names:
        lock = f"pull:{tenant}:{name}"
        added = await defer_once(
            duties.app,
            "pull_stream",
            lock=lock,
            priority=10 if name == "jobs" else 5,
            tenant=tenant,
            stream=name,
            run=str(run),
        )
        if not added:
            await _write_off(duties, tenant, run, name)
    return run


async def _write_off(duties: Duties, tenant: str, run: UUID, name: str) -> None:
    from jobsync.engine.passes import finish_stream

    await finish_stream(duties.engine, tenant, run, name, {"left_to": "an earlier pass"}, None)


async def _look_up_after(duties: Duties, tenant: str, run: UUID) -> None:
    row = await read_pass(duties.engine, tenant, run)
    streams = (row or {}).get("metadata", {}).get("streams", {})
    waits = [name for name in JOB_STREAMS if streams.get(name, {}).get("status") == "waiting"]
    if streams.get(LOOK_UP, {}).get("status") == "waiting" and not waits:
        await defer_once(
            duties.app, "look_up", lock=f"pull:{tenant}:{LOOK_UP}", priority=8, tenant=tenant, run=str(run)
        )


async def defer_drain(duties: Duties, tenant: str, destination: str, due_before: str | None = None) -> None:
    """Defers the drain of one destination unless one waits already."""
    await defer_once(
        duties.app, "drain", lock=f"drain:{destination}", tenant=tenant, destination=destination, due_before=due_before
    )


async def defer_due_drains(duties: Duties, tenant: str | None, *, due_before: datetime | None = None) -> int:
    """Defers a drain for each destination with something due (of one tenant, or of all). Answers how many."""
    async with duties.engine.database.transaction(tenant) as session:
        if tenant is None:
            rows = await session.rows("list_due_destinations")
        else:
            rows = await session.rows("list_due_destinations_of", {"tenant": tenant})
    for row in rows:
        await defer_drain(
            duties, row["tenant_id"], str(row["destination_id"]), due_before.isoformat() if due_before else None
        )
    return len(rows)


async def open_due_passes(duties: Duties) -> int:
    """Opens a pass for each tenant whose pull is due. Two schedulers never both take one. Answers how many."""
    configured = []
    try:
        if await read_servicetitan_credentials(duties.engine, DEFAULT_TENANT) is not None:
            configured.append(DEFAULT_TENANT)
    except ConfigError:
        pass
    async with duties.engine.database.transaction(None) as session:
        for row in await session.rows("list_tenants"):
            await session.value("abandon_runs", {"tenant": row["tenant_id"], "older_than": ABANDONED_AFTER})
        due = [row["tenant_id"] for row in await session.rows("claim_due_tenants", {"configured": configured})]
    for tenant in due:
        await defer_pass(duties, tenant, "schedule")
    return len(due)


async def rescue_stalled(duties: Duties) -> int:
    """Puts back tasks whose worker no longer gives a heartbeat. Holds no lock, so that a stuck sweep blocks nobody."""
    stalled = list(await duties.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_SECONDS))
    for job in stalled:
        await duties.app.job_manager.retry_job(job)
    if stalled:
        get_log().warning("tasks_rescued", count=len(stalled))
    return len(stalled)

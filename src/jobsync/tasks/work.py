"""The tasks: which verb runs when. Each is a few lines that call one verb of the engine.

    tick (every 10 s)   closes abandoned runs, opens due passes, defers drains of what is due, rescues stalled tasks
    reconcile           the daily comparison of one tenant with ServiceTitan
    asked_run           a comparison or a reading back that a face asked for
    retry_quarantine    a tenant's quarantined records, once after each deploy
    pull_stream         one stream of one tenant
    look_up             parents that are still missing, after the streams that jobs need
    drain               one destination
    verify              reads back what one tenant's GoHighLevel accepted
    asked_import        an import that a page asked for (tasks/imports.py)
    backfill            a slice of a tenant's history (tasks/backfills.py)
    read_pipelines (5 min)  pipelines and stages of GoHighLevel that were not read for an hour
    compare_old_flow (daily)  what JobSync would have sent against what the old flow marked
    watch (every min)   alerts, digests and the dead-man ping, in a queue of its own

A task runs at most once at a time per lock; a worker that dies holds its task until its heartbeat is too old
(JOBSYNC_STALLED_SECONDS).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from procrastinate import App, JobContext
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status

from jobsync import __version__
from jobsync.alerts.watch import watch
from jobsync.db.pool import Row
from jobsync.engine.asked_runs import do_asked_run
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.deliver import drain_destination
from jobsync.engine.ghl_connection import read_gohighlevel_credentials
from jobsync.engine.passes import (
    ACTIVITY_STREAMS,
    JOB_STREAMS,
    LOOK_UP,
    PARENT_STREAMS,
    READ_AFTER,
    finish_stream,
    list_waiting,
    open_pass,
    run_stream,
)
from jobsync.engine.pipelines import refresh_stale_pipelines
from jobsync.engine.prune import prune_all
from jobsync.engine.quarantine import retry_quarantined
from jobsync.engine.reconcile import reconcile
from jobsync.engine.senders import open_sender
from jobsync.engine.verify import verify_deliveries
from jobsync.errors import ConfigError, JobSyncError
from jobsync.intake.shadow import compare_with_old_flow, has_old_flow
from jobsync.log import get_log
from jobsync.tasks.app import defer_once
from jobsync.tasks.backfills import defer_running_backfills, register_backfill
from jobsync.tasks.imports import defer_asked_imports, register_imports

PULL_QUEUE = "pull"
DELIVER_QUEUE = "deliver"
VERIFY_QUEUE = "verify"
# What looks after the replica beside the pulls; a one-shot worker leaves it to the service.
CARE_QUEUE = "care"
# Their run is a pass, which has to go on without them.
PASS_TASKS = ("pull_stream", "look_up")
ABANDONED_AFTER = "30 minutes"
TALLY_LINES = 64


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

    @app.task(name="pull_stream", queue=PULL_QUEUE)
    async def pull_stream(tenant: str, stream: str, run: str | None) -> None:
        await run_stream(engine, tenant, stream, UUID(run) if run else None)
        if run:
            await _go_on_after(duties, tenant, UUID(run), stream)

    @app.task(name="look_up", queue=PULL_QUEUE)
    async def look_up(tenant: str, run: str | None) -> None:
        await run_stream(engine, tenant, LOOK_UP, UUID(run) if run else None)
        if periodic:
            await defer_due_drains(duties, tenant)

    @app.task(name="reconcile", queue=CARE_QUEUE)
    async def reconcile_tenant(tenant: str) -> None:
        try:
            await reconcile(engine, tenant, fix_missing=True, trigger="schedule")
        except JobSyncError as error:
            get_log(tenant=tenant).warning("reconcile_failed", code=error.code, error_type=type(error).__name__)

    @app.task(name="asked_run", queue=CARE_QUEUE)
    async def asked_run(tenant: str, run: str) -> None:
        await do_asked_run(engine, tenant, UUID(run), stopping=stopping)

    @app.task(name="retry_quarantine", queue=CARE_QUEUE)
    async def retry_quarantine(tenant: str) -> None:
        await retry_quarantined(engine, tenant)

    @app.task(name="drain", queue=DELIVER_QUEUE)
    async def drain(
        tenant: str, destination: str, due_before: str | None = None, untried_since: str | None = None
    ) -> None:
        async def sender(row: Row):
            return await open_sender(engine, tenant, row)

        before = datetime.fromisoformat(due_before) if due_before else None
        since = datetime.fromisoformat(untried_since) if untried_since else None
        try:
            report = await drain_destination(
                engine, sender, tenant, UUID(destination), due_before=before, untried_since=since, stopping=stopping
            )
        except JobSyncError as error:
            get_log(tenant=tenant, destination=destination).warning(
                "drain_failed", code=error.code, error_type=type(error).__name__
            )
            return
        if report.more and not stopping():
            await defer_drain(duties, tenant, destination, due_before, untried_since)

    @app.task(name="verify", queue=VERIFY_QUEUE)
    async def verify(tenant: str) -> None:
        try:
            report = await verify_deliveries(engine, tenant, stopping=stopping)
            failure = report.error
        except JobSyncError as error:
            failure = error
        if failure is not None:
            get_log(tenant=tenant).warning("verify_failed", code=failure.code, error_type=type(failure).__name__)

    register_backfill(app, duties)
    register_imports(app, duties)

    if periodic:

        @app.periodic(cron="* * * * * */10")
        @app.task(name="tick", queue="schedule", queueing_lock="tick", pass_context=True)
        async def tick(context: JobContext, timestamp: int) -> None:
            await rescue_stalled(duties)
            await defer_asked_runs(duties)
            await defer_asked_imports(duties)
            await open_due_passes(duties)
            await defer_due_care(duties)
            await defer_due_drains(duties, None)
            await defer_due_verifications(duties)
            await defer_running_backfills(duties)

        @app.periodic(cron="*/5 * * * *")
        @app.task(
            name="read_pipelines",
            queue=PULL_QUEUE,
            lock="read_pipelines",
            queueing_lock="read_pipelines",
            pass_context=True,
        )
        async def read_pipelines(context: JobContext, timestamp: int) -> None:
            await refresh_stale_pipelines(engine)

        @app.periodic(cron="17 3 * * *")
        @app.task(name="prune", queue="schedule", lock="prune", queueing_lock="prune", pass_context=True)
        async def prune_daily(context: JobContext, timestamp: int) -> None:
            await prune_all(engine)

        @app.periodic(cron="41 5 * * *")
        @app.task(name="compare_old_flow", queue=CARE_QUEUE, lock="shadow", queueing_lock="shadow", pass_context=True)
        async def compare_daily(context: JobContext, timestamp: int) -> None:
            await compare_old_flow(duties)

        @app.periodic(cron="* * * * *")
        @app.task(name="watch", queue="alerts", lock="watch", queueing_lock="watch", pass_context=True)
        async def watch_all(context: JobContext, timestamp: int) -> None:
            await watch(engine)

    return duties


async def compare_old_flow(duties: Duties) -> bool:
    """The daily comparison with the old flow, where its database is named. True when it was made."""
    if not has_old_flow(duties.engine, DEFAULT_TENANT):
        return False
    try:
        await compare_with_old_flow(duties.engine, DEFAULT_TENANT, trigger="schedule")
    except JobSyncError as error:
        get_log(tenant=DEFAULT_TENANT).warning("comparison_failed", code=error.code, error_type=type(error).__name__)
        return False
    return True


async def defer_pass(duties: Duties, tenant: str, trigger: str, *, streams: tuple[str, ...] | None = None) -> UUID:
    """Opens a pass and defers its streams. A stream that still waits from an earlier pass is left to that one."""
    run, names = await open_pass(duties.engine, tenant, trigger, streams=streams)
    waiting = await list_waiting(duties.engine, tenant, run)
    for name in names:
        first = READ_AFTER.get(name)
        if not waiting.get(name) and (first not in names or waiting.get(first)):
            await _pull(duties, tenant, run, name)
    return run


async def _pull(duties: Duties, tenant: str, run: UUID, name: str) -> None:
    priority = 10 if name == "jobs" else 2 if name in ACTIVITY_STREAMS else 5
    if not await _defer_stream(duties, "pull_stream", tenant, name, run, priority, stream=name):
        if await _is_stream_queued(duties, run, name):
            # Two streams that ended together both came here.
            return
        await _leave_to_earlier(duties, tenant, run, name)
        # No task of this pass is there to go on after it.
        await _go_on_after(duties, tenant, run, name)


async def _go_on_after(duties: Duties, tenant: str, run: UUID, name: str) -> None:
    """Defers what the pass reads after this stream: its contacts, what is held for it, and the look-up after the last that
    jobs need."""
    if name not in JOB_STREAMS:
        return
    waiting = await list_waiting(duties.engine, tenant, run)
    for follower, first in READ_AFTER.items():
        if first == name and follower in waiting:
            await _pull(duties, tenant, run, follower)
        elif follower == name and waiting.get(first):
            await _pull(duties, tenant, run, first)
    are_parents_read = name in PARENT_STREAMS and not any(parent in waiting for parent in PARENT_STREAMS)
    if are_parents_read and waiting.get("jobs") and not await _is_stream_queued(duties, run, "jobs"):
        await _pull(duties, tenant, run, "jobs")
    await _look_up_after(duties, tenant, run)


async def _defer_stream(
    duties: Duties, task: str, tenant: str, name: str, run: UUID, priority: int, **more: str
) -> bool:
    return await defer_once(
        duties.app, task, lock=pull_lock(tenant, name), priority=priority, tenant=tenant, run=str(run), **more
    )


def pull_lock(tenant: str, name: str) -> str:
    """The lock under which one stream of one tenant is read."""
    return f"pull:{tenant}:{name}"


async def _leave_to_earlier(duties: Duties, tenant: str, run: UUID, name: str) -> None:
    await finish_stream(duties.engine, tenant, run, name, {"left_to": "an earlier pass"}, None)


async def _look_up_after(duties: Duties, tenant: str, run: UUID) -> None:
    waiting = await list_waiting(duties.engine, tenant, run)
    if LOOK_UP not in waiting or any(name in waiting for name in JOB_STREAMS):
        return
    if await _defer_stream(duties, "look_up", tenant, LOOK_UP, run, 8):
        return
    # Refused: it waits already. Two streams that end together both come here, so it may be this pass's own.
    async with duties.engine.database.transaction(None) as session:
        own = await session.value("is_pass_queued", {"run": str(run), "task": "look_up"})
    if not own:
        await _leave_to_earlier(duties, tenant, run, LOOK_UP)


async def _is_stream_queued(duties: Duties, run: UUID, stream: str) -> bool:
    """True where a task of this pass that reads the stream waits or is under way."""
    async with duties.engine.database.transaction(None) as session:
        return await session.value("is_stream_queued", {"run": str(run), "stream": stream})


async def close_deserted(duties: Duties, tenant: str, run: UUID) -> None:
    """Closes the streams of a pass that no task is there for any more: a task that crashed, or was removed."""
    waiting = await list_waiting(duties.engine, tenant, run)
    if not waiting or await is_busy(duties, PULL_QUEUE, tenant):
        return
    # A task may have ended between the two looks, and a look-up may have been deferred by it.
    waiting = await list_waiting(duties.engine, tenant, run)
    for name in waiting:
        failure = JobSyncError(f"The task that reads {name} ended without a result.", code="task_lost")
        await finish_stream(duties.engine, tenant, run, name, {}, failure)


async def is_busy(duties: Duties, queue: str, tenant: str) -> bool:
    """True while any task of the tenant waits or runs in that queue, here or elsewhere."""
    async with duties.engine.database.transaction(None) as session:
        return await session.value("is_queue_busy", {"queue": queue, "tenant": tenant})


async def defer_drain(
    duties: Duties, tenant: str, destination: str, due_before: str | None = None, untried_since: str | None = None
) -> None:
    """Defers the drain of one destination unless one waits already."""
    ids = {"tenant": tenant, "destination": destination, "due_before": due_before, "untried_since": untried_since}
    await defer_once(duties.app, "drain", lock=f"drain:{destination}", **ids)


async def defer_due_drains(
    duties: Duties,
    tenant: str | None,
    *,
    due_before: datetime | None = None,
    untried_since: datetime | None = None,
    hooks_only: bool = False,
) -> int:
    """Defers a drain for each destination with something due (of one tenant, or of all). Answers how many."""
    async with duties.engine.database.transaction(tenant) as session:
        await session.value("plan_contact_changes", {"tenant": tenant})
    async with duties.engine.database.transaction(tenant) as session:
        if tenant is None:
            rows = await session.rows("list_due_destinations")
        else:
            name = "list_due_hooks_of" if hooks_only else "list_due_destinations_of"
            rows = await session.rows(name, {"tenant": tenant})
    limits = [time.isoformat() if time else None for time in (due_before, untried_since)]
    for row in rows:
        await defer_drain(duties, row["tenant_id"], str(row["destination_id"]), *limits)
    return len(rows)


async def defer_due_verifications(duties: Duties) -> int:
    """Defers the verification of each tenant that has something to read back. Answers how many."""
    configured = []
    try:
        if await read_gohighlevel_credentials(duties.engine, DEFAULT_TENANT) is not None:
            configured.append(DEFAULT_TENANT)
    except ConfigError:
        pass
    async with duties.engine.database.transaction(None) as session:
        due = [row["tenant_id"] for row in await session.rows("list_due_verifications", {"configured": configured})]
    for tenant in due:
        await defer_once(duties.app, "verify", lock=f"verify:{tenant}", priority=-5, tenant=tenant)
    return len(due)


async def open_due_passes(duties: Duties) -> int:
    """Opens a pass for each tenant whose pull is due. Two schedulers never both take one. Answers how many."""
    configured = await _list_configured(duties)
    async with duties.engine.database.transaction(None) as session:
        for row in await session.rows("list_tenants"):
            await session.value("abandon_runs", {"tenant": row["tenant_id"], "older_than": ABANDONED_AFTER})
        due = [row["tenant_id"] for row in await session.rows("claim_due_tenants", {"configured": configured})]
        await session.value("fold_tallies_beyond", {"lines": TALLY_LINES})
    for tenant in due:
        await defer_pass(duties, tenant, "schedule")
    return len(due)


async def _list_configured(duties: Duties) -> list[str]:
    """Tenants whose credentials stand in the environment."""
    try:
        found = await read_servicetitan_credentials(duties.engine, DEFAULT_TENANT)
    except ConfigError:
        return []
    return [] if found is None else [DEFAULT_TENANT]


async def defer_due_care(duties: Duties) -> int:
    """Defers the daily comparison of each tenant where it is due, and what a new version tries again. How many tasks."""
    configured = await _list_configured(duties)
    async with duties.engine.database.transaction(None) as session:
        compared = await session.rows("claim_due_reconciles", {"configured": configured})
        untried = await session.rows("claim_quarantine_retries", {"version": __version__})
    for task, rows in (("reconcile", compared), ("retry_quarantine", untried)):
        for row in rows:
            tenant = row["tenant_id"]
            await defer_once(duties.app, task, lock=f"{task}:{tenant}", tenant=tenant)
    return len(compared) + len(untried)


async def defer_asked_runs(duties: Duties) -> int:
    """Defers each run that a face asked for and that no task is there for. Answers how many."""
    async with duties.engine.database.transaction(None) as session:
        rows = [
            row
            for row in await session.rows("list_asked_runs")
            if not await session.value("is_pass_queued", {"task": "asked_run", "run": str(row["run"])})
        ]
    for row in rows:
        # Under the lock of the scheduled one: the same tenant is not compared, or read back, twice at a time.
        tenant, run = row["tenant_id"], str(row["run"])
        await defer_once(
            duties.app,
            "asked_run",
            lock=f"{row['sync_type']}:{tenant}",
            queueing_lock=f"asked:{run}",
            tenant=tenant,
            run=run,
        )
    return len(rows)


async def rescue_stalled(duties: Duties) -> int:
    """Puts back tasks whose worker no longer gives a heartbeat. Holds no lock, so that a stuck sweep blocks nobody."""
    stalled = list(
        await duties.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=duties.engine.settings.stalled_seconds)
    )
    for job in stalled:
        # Refused where another sweep was faster: then it is done already.
        with contextlib.suppress(ConnectorException):
            try:
                if job.task_kwargs.get("untried_since"):
                    # What the dead one had claimed was tried since its pass began, and goes first.
                    await duties.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
                    ids: dict[str, Any] = dict(job.task_kwargs)
                    await defer_drain(duties, ids["tenant"], ids["destination"], ids["due_before"])
                    continue
                await duties.app.job_manager.retry_job(job)
            except UniqueViolation:
                # An equal task waits already and does the same work; the dead one only stands in its way.
                await duties.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
                if job.task_name in PASS_TASKS:
                    await _leave_to_later(duties, job.task_kwargs)
    if stalled:
        get_log().warning("tasks_rescued", count=len(stalled))
    return len(stalled)


async def _leave_to_later(duties: Duties, ids: dict[str, Any]) -> None:
    if ids.get("run"):
        tenant, run = ids["tenant"], UUID(ids["run"])
        report = {"left_to": "a later pass"}
        name = ids.get("stream", LOOK_UP)
        await finish_stream(duties.engine, tenant, run, name, report, None)
        await _go_on_after(duties, tenant, run, name)

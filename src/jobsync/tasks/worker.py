"""Workers: the long one of `up`, which survives a database outage, and the one-shot one of the foreground verbs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from procrastinate import App
from procrastinate.exceptions import ProcrastinateException

from jobsync.alerts.outage import Outage, explain, watch_database
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import read_gohighlevel_credentials
from jobsync.engine.passes import PARENT_STREAMS, REFERENCE_STREAMS, list_waiting, report_pass
from jobsync.engine.verify import verify_deliveries
from jobsync.errors import ConfigError, DatabaseUnavailable, JobSyncError, LockHeld
from jobsync.log import get_log
from jobsync.tasks.app import build_app
from jobsync.tasks.work import (
    DELIVER_QUEUE,
    PULL_QUEUE,
    Duties,
    close_deserted,
    defer_due_drains,
    defer_pass,
    is_busy,
    register_tasks,
    rescue_stalled,
)

CONCURRENCY = 8
HEARTBEATS = 6
GRACE_SECONDS = 8.0
RESTART_AFTER_SECONDS = 2.0
# What this process has just deferred is to begin at once; what others hold is only watched.
LOOK_EVERY_SECONDS = 0.05
WATCH_EVERY_SECONDS = 0.2
VERIFY_SECONDS = 15.0
# A short pass is read before it is sent.
MEANWHILE_AFTER_SECONDS = 1.0
MEANWHILE_EVERY_SECONDS = 0.5
OUTAGE_FIX = (
    "free space on the server's disk, or connections: jobsync doctor. JobSync goes on by itself; nothing is lost."
)


# Nothing listens there; each one more plans anew what it is asked.
FOREGROUND_CONNECTIONS = 2
# A one-shot worker knows no schedule, and no backfill that it was not asked for: what a service left is not its own.
FOREGROUND_QUEUES = (PULL_QUEUE, DELIVER_QUEUE)


async def _run(app: App, engine: Engine, *, wait: bool, queues: Sequence[str] = FOREGROUND_QUEUES) -> None:
    stalled = engine.settings.stalled_seconds
    limits: dict[str, Any] = {} if wait else {"queues": list(queues)}
    # A one-shot worker stops for want of further tasks: what it still works on is not to be cut off by that.
    limits["shutdown_graceful_timeout"] = GRACE_SECONDS if wait else None
    await app.run_worker_async(
        wait=wait,
        concurrency=CONCURRENCY,
        install_signal_handlers=False,
        listen_notify=wait,
        fetch_job_polling_interval=2.0,
        update_heartbeat_interval=stalled / HEARTBEATS,
        stalled_worker_timeout=stalled,
        delete_jobs="successful",
        **limits,
    )


async def work(engine: Engine, stop: asyncio.Event) -> None:
    """Works until `stop` is set. The library's worker ends when the database goes away; it is started anew until it holds.

    An outage that lasts is told to the environment's alert channels, for no alert of the database can be read then.
    """
    log = get_log()
    patience = engine.settings.stalled_seconds
    outage = Outage(engine, "the worker cannot go on", OUTAGE_FIX, patience=patience)
    watching = asyncio.ensure_future(watch_database(engine, stop, patience=patience))
    while not stop.is_set():
        try:
            app = build_app(engine.database.direct_dsn)
            register_tasks(app, engine, stopping=stop.is_set)
            async with app.open_async():
                settling = asyncio.ensure_future(outage.settle())
                try:
                    await _until_stopped(_run(app, engine, wait=True), stop)
                finally:
                    settling.cancel()
            if not stop.is_set():
                log.warning("worker_ended", reason="the queue's worker stopped by itself")
        except (psycopg.Error, ProcrastinateException, JobSyncError, OSError) as error:
            log.warning("worker_lost_database", error_type=type(error).__name__, reason=explain(error))
            outage.note(error)
        if not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_AFTER_SECONDS)
    await asyncio.gather(outage.close(), watching)


async def _until_stopped(running: Awaitable[None], stop: asyncio.Event) -> None:
    worker = asyncio.ensure_future(running)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({worker, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not worker.done():
        # The library finishes what runs within its grace period after a cancel.
        worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


async def run_in_foreground(engine: Engine, act: Callable[[Duties], Awaitable[Any]]) -> Any:
    """Opens the queue without a schedule and runs `act`, which defers tasks and works them off with `finish_tasks`."""
    app = build_app(engine.database.direct_dsn, max_connections=FOREGROUND_CONNECTIONS)
    duties = register_tasks(app, engine, periodic=False)
    try:
        async with app.open_async():
            return await act(duties)
    except (psycopg.OperationalError, ProcrastinateException) as error:
        raise DatabaseUnavailable(
            "PostgreSQL broke off while tasks were running; they go on with the next run."
        ) from error


async def finish_tasks(
    duties: Duties,
    done: Callable[[], Awaitable[bool]],
    *,
    wait_for_others: bool = True,
    queues: Sequence[str] = FOREGROUND_QUEUES,
) -> None:
    """Works tasks of these queues off until `done` answers True; what another worker holds is watched.

    A worker that dies is waited for no longer than its heartbeat may be old, so that this ends in any case as long as
    `done` counts only on tasks that exist. Raises LockHeld where it would watch and `wait_for_others` is False.
    """
    while True:
        await rescue_stalled(duties)
        await _work_off(duties, queues)
        if await done():
            return
        if not wait_for_others:
            raise LockHeld(
                "Another worker is doing this right now.",
                hint="See `jobsync status`, or run without --no-wait to watch it.",
            )
        await asyncio.sleep(WATCH_EVERY_SECONDS)


async def _work_off(duties: Duties, queues: Sequence[str]) -> None:
    """Works these queues off. The library's one-shot worker looks for tasks only as long as it finds some: what a task
    defers while another one still runs is left to one more worker, so that a slow stream holds up no other; and so is what
    the last task defers at its end, so that a pass goes from stage to stage without a wait."""
    workers = {asyncio.ensure_future(_run(duties.app, duties.engine, wait=False, queues=queues))}
    try:
        while workers:
            ended, _ = await asyncio.wait(workers, timeout=LOOK_EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            workers -= ended
            for worker in ended:
                worker.result()
            if await _is_anything_free(duties, queues):
                workers.add(asyncio.ensure_future(_run(duties.app, duties.engine, wait=False, queues=queues)))
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _is_anything_free(duties: Duties, queues: Sequence[str]) -> bool:
    # Only a look: where the database is away for a moment, what is under way says so, or outlasts it.
    with contextlib.suppress(DatabaseUnavailable):
        async with duties.engine.database.transaction(None) as session:
            return await session.value("is_task_free", {"queues": list(queues)})
    return False


async def sync_once(
    engine: Engine,
    tenant: str,
    *,
    pull: bool = True,
    deliver: bool = True,
    wait: bool = True,
    streams: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """One whole pass: pull everything that is due, then send each due row once. Answers the counts of `report_pass`.

    With `deliver` alone, counts are those of the sends. `started_at`: when the pass
    began, by the database's clock. LockHeld with `wait` False when another worker holds the work.
    """

    async def act(duties: Duties) -> dict[str, Any]:
        run: UUID | None = None
        started = await _now(engine)
        if pull:
            run = await defer_pass(duties, tenant, "command", streams=streams)

            pulling = finish_tasks(duties, partial(is_pulled, duties, tenant, run), wait_for_others=wait)
            if deliver:
                await _send_meanwhile(engine, duties, tenant, run, started, pulling)
            else:
                await pulling
        looks = 0
        if deliver:
            await send_due(engine, duties, tenant, untried_since=started, wait=wait)
            looks = await verify_sent(engine, tenant)
        if run is not None:
            report = await report_pass(engine, tenant, run)
        else:
            report = await report_sends(engine, tenant, started)
        return {**report, "gohighlevel_requests": report["gohighlevel_requests"] + looks, "started_at": started}

    return await run_in_foreground(engine, act)


async def is_pulled(duties: Duties, tenant: str, run: UUID) -> bool:
    """True when the pass is closed and what it left to earlier passes is read, too. Closes it if nobody is left to."""
    await close_deserted(duties, tenant, run)
    return not await list_waiting(duties.engine, tenant, run) and not await is_busy(duties, PULL_QUEUE, tenant)


async def _send_meanwhile(
    engine: Engine, duties: Duties, tenant: str, run: UUID, since: datetime, pulling: Awaitable[None]
) -> None:
    """Awaits `pulling`. Where it takes long, hooks are told what is due already while the rest is being read.

    Not before the names that a hook is told were read; a card waits for all that its rules may ask for.
    """
    pull = asyncio.ensure_future(pulling)
    try:
        await asyncio.wait({pull}, timeout=MEANWHILE_AFTER_SECONDS)
        while not pull.done():
            waiting = await list_waiting(engine, tenant, run)
            if waiting and not any(name in waiting for name in REFERENCE_STREAMS + PARENT_STREAMS):
                limits: dict[str, Any] = {"due_before": await _now(engine), "untried_since": since}
                if await defer_due_drains(duties, tenant, hooks_only=True, **limits):
                    await _work_off(duties, (DELIVER_QUEUE,))
            await asyncio.wait({pull}, timeout=MEANWHILE_EVERY_SECONDS)
    except BaseException:
        pull.cancel()
        raise
    await pull


async def send_due(
    engine: Engine, duties: Duties, tenant: str, *, untried_since: datetime | None = None, wait: bool = True
) -> None:
    """Sends every row that is due now, each once: what is tried again later is left to later."""
    async with engine.database.transaction(tenant) as session:
        # What changed around the jobs is due from before the cutoff.
        await session.value("plan_contact_changes", {"tenant": tenant})
    cutoff = await _now(engine)
    sends = -1

    async def sent() -> bool:
        async with engine.database.transaction(tenant) as session:
            leased = await session.value("is_draining", {"tenant": tenant})
        return not leased and not await is_busy(duties, DELIVER_QUEUE, tenant)

    # What another worker is sending is watched, too: if it dies, its rows are due again when their lease ends.
    while await defer_due_drains(duties, tenant, due_before=cutoff, untried_since=untried_since) or not await sent():
        await finish_tasks(duties, sent, wait_for_others=wait)
        async with engine.database.transaction(tenant) as session:
            due = await session.value("is_anything_due", {"tenant": tenant, "cutoff": cutoff})
        if not due:
            break
        so_far = (await report_sends(engine, tenant, cutoff))["gohighlevel_requests"]
        if so_far == sends:
            # Due and yet not sent: a hook asked for a long pause. The next pass sends it.
            break
        sends = so_far
    async with engine.database.transaction(tenant) as session:
        await session.value("close_delivery_runs", {"tenant": tenant})


async def verify_sent(engine: Engine, tenant: str) -> int:
    """Reads back what is due to be read back, where GoHighLevel is connected; how many requests that took.

    What GoHighLevel answers to that never fails a pass: it is looked for again.
    """
    try:
        if await read_gohighlevel_credentials(engine, tenant) is None:
            return 0
        return (await verify_deliveries(engine, tenant, longest=VERIFY_SECONDS)).requests
    except ConfigError as error:
        get_log(tenant=tenant).warning("verify_failed", code=error.code, error_type=type(error).__name__)
        return 0


async def report_sends(engine: Engine, tenant: str, since: datetime) -> dict[str, Any]:
    """Counts of the sends since a time, in the shape of `report_pass`."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("report_sends", {"tenant": tenant, "since": since})


async def count_workers(engine: Engine) -> int:
    """Workers, of any process, that gave a sign of life in the last minute."""
    async with engine.database.transaction(None) as session:
        return await session.value("count_workers")


async def _now(engine: Engine) -> datetime:
    async with engine.database.transaction(None) as session:
        return await session.value("read_now")


async def defer_pass_now(engine: Engine, tenant: str) -> UUID:
    """Opens a pass and leaves its tasks to whichever worker runs; answers the run's id. For `sync now` of a face."""

    async def act(duties: Duties) -> UUID:
        return await defer_pass(duties, tenant, "asked")

    return await run_in_foreground(engine, act)

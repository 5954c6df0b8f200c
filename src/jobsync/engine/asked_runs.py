"""Asked runs: what a face asks for and a worker does, because it takes minutes: a comparison, a reading back.

    run = await ask_reconcile(engine, tenant, days=7, fix_missing=False, actor="token:n8n")   # the face; at once
    await do_asked_run(engine, tenant, run)                                                    # the worker

The run's row of sync_logs carries the wish, so that a worker which dies leaves nothing behind: the schedule finds the
row open and defers it again. One of each kind a tenant. Called by the API and by the task `asked_run`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from jobsync.db.pool import as_jsonb
from jobsync.engine.context import Engine
from jobsync.engine.reconcile import DAYS, check_days, reconcile
from jobsync.engine.verify import FOUND, verify_deliveries
from jobsync.errors import JobSyncError
from jobsync.log import get_log

LONGEST_LOOK_SECONDS = 3600.0


async def ask_reconcile(
    engine: Engine, tenant: str, *, days: int = DAYS, fix_missing: bool = False, actor: str
) -> UUID:
    """Asks for the comparison of the last `days` days; answers its run.

    Raises InvalidInput for a number of days that makes no sense, LockHeld while one that was asked for is not done yet.
    """
    check_days(days)
    return await _ask(engine, tenant, "reconcile", {"days": days, "fix_missing": fix_missing}, actor)


async def ask_verification(engine: Engine, tenant: str, *, since: datetime | None = None, actor: str) -> UUID:
    """Asks for a look at all that is not verified; `since`: also at what was accepted since then. Answers its run.

    Raises LockHeld while one that was asked for is not done yet.
    """
    return await _ask(engine, tenant, "verify", {"since": None if since is None else since.isoformat()}, actor)


async def _ask(engine: Engine, tenant: str, kind: str, wish: dict[str, Any], actor: str) -> UUID:
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "ask_for_run", {"tenant": tenant, "type": kind, "wish": as_jsonb(wish), "actor": actor}
        )


async def do_asked_run(engine: Engine, tenant: str, run: UUID, *, stopping: Callable[[], bool] = lambda: False) -> None:
    """Does what was asked for and closes its run; one that is over is left alone. An error ends up in the run."""
    async with engine.database.transaction(tenant) as session:
        wish = await session.value("read_asked_run", {"tenant": tenant, "run": run})
    if wish is None:
        return
    try:
        if wish["type"] == "reconcile":
            await reconcile(engine, tenant, days=wish["days"], fix_missing=wish["fix_missing"], run=run)
        else:
            await _read_back(engine, tenant, run, wish["since"], stopping)
    except JobSyncError as error:
        get_log(tenant=tenant, run=run).warning("asked_run_failed", code=error.code, error_type=type(error).__name__)


async def _read_back(engine: Engine, tenant: str, run: UUID, since: str | None, stopping: Callable[[], bool]) -> None:
    report: dict[str, Any] = {}
    failure: JobSyncError | None = None
    try:
        found = await verify_deliveries(
            engine,
            tenant,
            since=None if since is None else datetime.fromisoformat(since),
            everything=True,
            longest=LONGEST_LOOK_SECONDS,
            stopping=stopping,
            run=run,
        )
        report = {name: getattr(found, name) for name in (*FOUND, "requests", "more")}
        failure = found.error
        if stopping():
            # The row stays open: the next worker looks again for what is not verified by then.
            return
    except JobSyncError as error:
        failure = error
    except Exception as error:  # a bug of ours must not leave the run open, to be tried for ever
        failure = JobSyncError(f"The reading back ended in an unexpected error ({type(error).__name__}).")
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "close_verification",
            {
                "tenant": tenant,
                "run": run,
                "report": as_jsonb(report),
                "error": None if failure is None else failure.message,
            },
        )
    if failure is not None:
        raise failure

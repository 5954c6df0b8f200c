"""Runs: what was pulled, delivered, backfilled, compared and imported, newest first, a page at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from jobsync.engine.context import Engine
from jobsync.errors import RecordMissing

PAGE = 50


async def list_runs(
    engine: Engine,
    tenant: str,
    *,
    sync_type: str | None = None,
    status: str | None = None,
    before: datetime | None = None,
    limit: int = PAGE,
) -> dict[str, Any]:
    """`runs` begun before `before` (None: the newest), what is `running` now, and `next`: for the page behind, or None."""
    parameters = {
        "tenant": tenant, "sync_type": sync_type, "status": status, "before_at": before, "limit": limit + 1,
    }  # fmt: skip
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_runs", parameters)
        running = await session.rows("list_running", {"tenant": tenant}) if before is None else []
    shown = rows[:limit]
    return {"runs": shown, "running": running, "next": shown[-1]["started_at"] if len(rows) > limit else None}


async def show_run(engine: Engine, tenant: str, run: UUID) -> dict[str, Any]:
    """One run with its streams and its backfill, where it is one. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("show_run", {"tenant": tenant, "run": run})
        if row is None:
            raise RecordMissing("There is no such run.", hint="See the list of runs.", run=str(run))
        row["backfill"] = (
            await session.value("read_backfill", {"tenant": tenant, "run": run})
            if row["sync_type"] == "backfill"
            else None
        )
    return row

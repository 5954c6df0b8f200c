"""Browse: jobs as people look through them: by state, cause and unit, newest first, a page at a time by key."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobsync.engine.context import Engine

PAGE = 50
STATUSES = ("pending", "failed", "skipped", "synced", "unverified")


async def browse_jobs(
    engine: Engine,
    tenant: str,
    *,
    status: str | None = None,
    reason: str | None = None,
    unit: int | None = None,
    before_at: datetime | None = None,
    before_id: int | None = None,
    limit: int = PAGE,
) -> dict[str, Any]:
    """`jobs` behind (before_at, before_id), and `next`: {before_at, before_id} for the page behind, or None.

    `status`: pending, failed, skipped, synced, unverified (accepted, never found); `reason` only with the first three.
    """
    parameters = {
        "tenant": tenant, "status": status, "reason": reason, "unit": unit, "before_at": before_at, "before_id": before_id, "limit": limit + 1,
    }  # fmt: skip
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("browse_jobs", parameters)
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return {"jobs": shown, "next": {"before_at": last["sort_at"], "before_id": last["st_job_id"]} if last else None}


async def read_facets(engine: Engine, tenant: str) -> dict[str, Any]:
    """What there is to choose from: `classes` (status, reason, unit, jobs; from the tallies) and all `units`."""
    async with engine.database.transaction(tenant) as session:
        parameters = {"tenant": tenant}
        return {
            "classes": await session.rows("list_job_facets", parameters),
            "units": await session.rows("list_unit_names", parameters),
        }


async def read_day(engine: Engine, tenant: str) -> dict[str, Any]:
    """The last 24 hours: `hours` (hour, class, unit_key with 0 for none, jobs), `flow` with lags and rates, and `gaps`: by
    hour, how long it was at most since ServiceTitan was read before (hour, seconds, first_at, last_at)."""
    async with engine.database.transaction(tenant) as session:
        parameters = {"tenant": tenant}
        return {
            "hours": await session.rows("list_state_hours", parameters),
            "flow": await session.row("read_flow", parameters),
            "gaps": await session.rows("list_read_gaps", parameters),
        }


async def count_newer(engine: Engine, tenant: str, seen: int, *, unit: int | None = None) -> int:
    """How many jobs came with an id above `seen`, up to 1,000."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("count_newer_jobs", {"tenant": tenant, "after": seen, "unit": unit})


async def read_newest(engine: Engine, tenant: str) -> int:
    """The highest id of a job; 0 where there is none."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("read_newest_job", {"tenant": tenant}) or 0

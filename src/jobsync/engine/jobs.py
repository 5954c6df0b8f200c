"""Lists of jobs for people: by status, reason and unit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobsync.engine.context import Engine


async def list_jobs(
    engine: Engine,
    tenant: str,
    *,
    status: str | None = None,
    reason: str | None = None,
    unit: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Jobs with their state and reason, newest id first."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows(
            "find_jobs", {"tenant": tenant, "status": status, "reason": reason, "unit": unit, "limit": limit}
        )


async def choose_jobs(
    engine: Engine,
    tenant: str,
    *,
    status: str | None = None,
    reason: str | None = None,
    unit: int | None = None,
    since: datetime | None = None,
    limit: int = 100_000,
) -> list[int]:
    """Ids of the jobs that a filter means. `status`: default failed; `reason`: one cause, `unverified` for what was
    accepted and never found in GoHighLevel; `since`: changed (or accepted) since then."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows(
            "choose_jobs",
            {"tenant": tenant, "status": status, "reason": reason, "unit": unit, "since": since, "limit": limit},
        )
    return [row["st_job_id"] for row in rows]

"""Lists of jobs for people: by status, reason and unit."""

from __future__ import annotations

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


async def list_failed(engine: Engine, tenant: str, *, reason: str | None = None, limit: int = 10_000) -> list[int]:
    """Ids of jobs that failed, of one reason or all."""
    async with engine.database.transaction(tenant) as session:
        return [
            row["st_job_id"]
            for row in await session.rows("failed_jobs", {"tenant": tenant, "reason": reason, "limit": limit})
        ]

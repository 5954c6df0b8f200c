"""Plan: what would be sent, what is skipped and why, what it costs; and what would be told differently today.

Reads only. A change of a name, a route, a rule or of the software makes nothing due by itself: `list_outdated` names
the delivered jobs that it touches, and a person sends them (replay) or does not.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from jobsync.engine.context import Engine

MOST_OUTDATED = 1_000_000


async def read_plan(
    engine: Engine, tenant: str, *, since: datetime | None = None, show: int = 0, unit: int | None = None
) -> dict[str, Any]:
    """The plan: counts, skips, units, requests, webhook_executions, cost; `jobs`: the next `show` jobs.

    A job's `changes` maps each field to [before, now]; None where nothing was told before. `since`: for `same`, the
    number of delivered jobs that changed since then and need nothing (default: 7 days).
    """
    async with engine.database.transaction(tenant) as session:
        plan = await session.value("show_plan", {"tenant": tenant, "since": since})
        if show:
            plan["jobs"] = await session.rows("show_planned_jobs", {"tenant": tenant, "unit": unit, "limit": show})
    return plan


async def read_rebaseline(engine: Engine, tenant: str, *, unit: int | None = None, show: int = 20) -> dict[str, Any]:
    """Delivered jobs that would be told differently today: how many, by field and by unit, the first `show` of them."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("show_outdated", {"tenant": tenant, "unit": unit, "limit": MOST_OUTDATED})
        price = (await session.value("show_plan", {"tenant": tenant, "since": None}))["execution_price"]
    fields = Counter(name for row in rows for name in row["changes"])
    units = Counter((row["business_unit_id"], row["business_unit_name"]) for row in rows)
    executions = sum(1 for row in rows if row["kind"] == "webhook")
    return {
        "outdated": len(rows),
        "fields": dict(fields.most_common()),
        "units": [{"business_unit_id": key, "name": name, "jobs": count} for (key, name), count in units.most_common()],
        "webhook_executions": executions,
        "cost": executions * price,
        "jobs": rows[:show],
    }


async def list_outdated(engine: Engine, tenant: str, *, unit: int | None = None) -> list[int]:
    """Ids of delivered jobs that would be told differently today."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("show_outdated", {"tenant": tenant, "unit": unit, "limit": MOST_OUTDATED})
    return [row["st_job_id"] for row in rows]


async def list_stopped_sends(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """Why nothing, or not everything, is sent: cause, subject, since, why, fix. An alert each."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_stopped_sends", {"tenant": tenant})

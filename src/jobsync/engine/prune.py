"""Prune: what has been kept long enough ends. Once a day by the schedule, and on command. Twice changes nothing more.

Settled quarantine 30 days, answers of deliveries 90 days, events 7 days; texts of raw records only where a tenant asks for
it, after so many days without a change.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from jobsync.db.pool import as_jsonb
from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput

AT_ONCE = 10_000
FEWEST_RAW_DAYS = 30


async def prune(engine: Engine, tenant: str) -> dict[str, int]:
    """Ends everything that is due, in transactions of at most 10,000 rows; the counts {quarantine, answers, events, raw}."""
    total: Counter[str] = Counter(raw=0)
    while True:
        async with engine.database.transaction(tenant) as session:
            done = await session.value("prune", {"tenant": tenant, "most": AT_ONCE})
        total.update(done)
        if max(done.values()) < AT_ONCE:
            break
    place: dict[str, Any] | None = None
    while True:
        async with engine.database.transaction(tenant) as session:
            step = await session.value("prune_texts", {"tenant": tenant, "place": as_jsonb(place), "most": AT_ONCE})
        total["raw"] += step["raw"]
        place = step["place"]
        if place is None:
            return dict(total)


async def prune_all(engine: Engine) -> None:
    """The same for every tenant."""
    async with engine.database.transaction(None) as session:
        tenants = [row["tenant_id"] for row in await session.rows("list_tenants")]
    for tenant in tenants:
        await prune(engine, tenant)


async def keep_raw(engine: Engine, tenant: str, days: int | None) -> None:
    """Sets how many days without a change texts stay in raw records; None: for ever. Raises InvalidInput below 30."""
    if days is not None and days < FEWEST_RAW_DAYS:
        raise InvalidInput(f"Raw records are kept for {FEWEST_RAW_DAYS} days at least.", field="raw_days")
    async with engine.database.transaction(tenant) as session:
        await session.run("keep_raw_days", {"tenant": tenant, "days": days})

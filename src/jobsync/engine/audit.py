"""Audit: what people and the program decided, newest first, a page at a time by key."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine

PAGE = 50


async def list_audit(engine: Engine, tenant: str, *, before: int | None = None, limit: int = PAGE) -> dict[str, Any]:
    """`lines` (id, at in UTC, actor, action, subject, details) older than the line `before`, and `next`: what to give as
    `before` for the lines after these; None: there are no older ones."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_audit", {"tenant": tenant, "before": before, "limit": limit + 1})
    shown = rows[:limit]
    return {"lines": shown, "next": shown[-1]["id"] if len(rows) > limit else None}

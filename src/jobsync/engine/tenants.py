"""Tenants: listed, added, and stopped all at once. One is a contractor: one ServiceTitan tenant and one GoHighLevel location.

These verbs work over all tenants, as the owner of the tables; whoever calls them has to be allowed that. Pausing one is
`sending.pause_tenant`.
"""

from __future__ import annotations

from jobsync.db.pool import Database, Row
from jobsync.errors import RecordMissing


async def list_tenants(database: Database, *, only: str | None = None) -> list[Row]:
    """Every tenant by its id, or the one: {id, name, time_zone, mode, paused_at, pause_reason, poll_seconds, created_at,
    connected}; `connected`: ServiceTitan's credentials are stored (those of the environment do not count)."""
    async with database.transaction(None) as session:
        return await session.rows("show_tenants", {"tenant": only})


async def add_tenant(database: Database, tenant: str, name: str | None, *, actor: str) -> Row:
    """Adds a tenant, observing and without units; the row as `list_tenants` gives it. Twice: the first one stands.

    Raises InvalidInput for an id that is none, and where this database can keep only one tenant.
    """
    async with database.transaction(None) as session:
        await session.value("add_tenant", {"tenant": tenant, "name": name, "actor": actor})
        row = await session.row("show_tenants", {"tenant": tenant})
    assert row is not None
    return row


async def find_tenant(database: Database, tenant: str) -> None:
    """Raises RecordMissing when there is no such tenant."""
    async with database.transaction(None) as session:
        if not await session.value("has_tenant", {"tenant": tenant}):
            raise RecordMissing(
                "There is no such tenant.", hint="See `jobsync tenants list`.", code="unknown_tenant", tenant=tenant
            )


async def pause_all(database: Database, *, actor: str, reason: str | None = None) -> int:
    """Stops the sends of every tenant within a second; pulls go on. Answers how many were not paused before."""
    async with database.transaction(None) as session:
        return await session.value("pause_all_tenants", {"reason": reason, "actor": actor})


async def count_held(database: Database) -> Row:
    """What `resume_all` would let go on: tenants, planned and webhook_executions of those that are live; `others`: how many
    tenants stay paused."""
    async with database.transaction(None) as session:
        row = await session.row("count_held")
    assert row is not None
    return row


async def resume_all(database: Database, *, actor: str) -> int:
    """Ends what `pause_all` began; who was paused alone stays so. Answers how many go on."""
    async with database.transaction(None) as session:
        return await session.value("resume_all_tenants", {"actor": actor})

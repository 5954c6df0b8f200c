"""Whether anything is sent: first mode from the environment, arm, disarm, pause, resume, replay, status.

Each verb is one call of a SQL function and answers what it answers; the command line, the API and the dashboard call
these same verbs. `actor` names who asked, for the audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from jobsync.db.pool import Row
from jobsync.engine.context import DEFAULT_TENANT, Engine


async def initialise_tenant(engine: Engine, tenant: str = DEFAULT_TENANT) -> Row:
    """Applies what the settings say about the tenant: first mode and deliver_from, later only a lower mode. Idempotent."""
    settings = engine.settings
    async with engine.database.transaction(tenant) as session:
        row = await session.row(
            "initialise_tenant",
            {
                "tenant": tenant,
                "mode": settings.mode,
                "deliver_from": settings.deliver_from,
                "poll_seconds": settings.poll_seconds,
                "cap_hour": settings.cap_hour,
                "cap_day": settings.cap_day,
            },
        )
    assert row is not None
    return row


async def count_planned(engine: Engine, tenant: str) -> dict[str, Any]:
    """What the outbox holds: planned, create, update, replay, waiting, webhook_executions."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("count_planned", {"tenant": tenant})


async def arm_tenant(
    engine: Engine,
    tenant: str,
    *,
    actor: str,
    limit: int | None = None,
    since: datetime | None = None,
    cap_hour: int | None = None,
    cap_day: int | None = None,
) -> dict[str, Any]:
    """Goes live; `limit` sends at most (None: no limit). Answers counts, `deliver_from` and the `refused` routes."""
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "arm_tenant",
            {
                "tenant": tenant,
                "limit": limit,
                "since": since,
                "cap_hour": cap_hour,
                "cap_day": cap_day,
                "actor": actor,
            },
        )


async def change_limits(
    engine: Engine,
    tenant: str,
    *,
    actor: str,
    cap_hour: int | None = None,
    cap_day: int | None = None,
    price: Decimal | None = None,
) -> dict[str, Any]:
    """Sets the caps (0: none) and the price of one paid execution; None leaves what stands. Answers all three."""
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "set_limits",
            {"tenant": tenant, "cap_hour": cap_hour, "cap_day": cap_day, "price": price, "actor": actor},
        )


async def disarm_tenant(engine: Engine, tenant: str, *, actor: str, reason: str | None = None) -> dict[str, Any]:
    """Back to observe: nothing more is sent, everything stays planned."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("disarm_tenant", {"tenant": tenant, "reason": reason, "actor": actor})


async def pause_tenant(engine: Engine, tenant: str, *, actor: str, reason: str | None = None) -> dict[str, Any]:
    """Stops sends within a second; pulls go on."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("pause_tenant", {"tenant": tenant, "reason": reason, "actor": actor})


async def resume_tenant(engine: Engine, tenant: str, *, actor: str, destination: UUID | None = None) -> dict[str, Any]:
    """Ends a pause of the tenant and its destinations, or of one destination."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("resume_tenant", {"tenant": tenant, "destination": destination, "actor": actor})


async def replay_jobs(
    engine: Engine, tenant: str, jobs: Sequence[int], *, actor: str, force: bool = False
) -> dict[str, Any]:
    """Makes failed or waiting jobs due again; `force`: delivered ones too. Answers {replayed, asked}."""
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "replay_jobs", {"tenant": tenant, "jobs": list(jobs), "force": force, "actor": actor}
        )


async def preview_replay(engine: Engine, tenant: str, jobs: Sequence[int], *, force: bool = False) -> dict[str, Any]:
    """What `replay_jobs` would do: would_replay (ids), units, webhook_executions, cost, refused (reason -> count)."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("preview_replay", {"tenant": tenant, "jobs": list(jobs), "force": force})


async def read_status(engine: Engine, tenant: str) -> dict[str, Any]:
    """Mode, counts by reason, units with their routes, lag of each stream; what stops sends, what was never found."""
    async with engine.database.transaction(tenant) as session:
        parameters = {"tenant": tenant}
        return {
            "tenant": await session.row("tenant_status", parameters),
            "reasons": await session.rows("list_reasons", parameters),
            "units": await session.rows("list_units", parameters),
            "streams": await session.rows("stream_lags", parameters),
            "stopped": await session.rows("list_stopped_sends", parameters),
            "unverified": await session.rows("list_unverified", parameters),
        }

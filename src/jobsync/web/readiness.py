"""Readiness: is the service of use right now, and if anything is off, what and why.

Two answers to two questions. `ready` is False only where requests fail (no database, no schema); reasons are also given
where the service works but somebody should know (pull off, mode, pause, lag).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from jobsync.config import Settings
from jobsync.db.migrate import BASELINE, read_migrations
from jobsync.db.pool import Database
from jobsync.engine.context import DEFAULT_TENANT
from jobsync.errors import JobSyncError

PATIENCE_SECONDS = 3.0
LATE_POLLS = 3
LATE_SECONDS = 900.0


@dataclass(slots=True)
class Readiness:
    """What was found. `lag_seconds`: since jobs were last read to their end; None: not yet."""

    ready: bool
    reasons: list[str] = field(default_factory=list)
    database: str = "ok"
    schema: str = "unknown"
    pull: str = "unknown"
    mode: str | None = None
    paused: bool | None = None
    lag_seconds: float | None = None

    def show(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "status": "ready" if self.ready else "unavailable",
            "reasons": self.reasons,
            "database": self.database,
            "schema": self.schema,
            "pull": self.pull,
            "mode": self.mode,
            "paused": self.paused,
            "lag_seconds": self.lag_seconds,
        }


async def read_readiness(settings: Settings, database: Database, tenant: str = DEFAULT_TENANT) -> Readiness:
    """Asks the database, for at most 3 seconds. Never raises a JobSyncError."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with database.transaction(tenant) as session:
                row = await session.row("api_read_health", {"tenant": tenant})
    except TimeoutError:
        return Readiness(False, ["database: PostgreSQL did not answer in time."], database="away")
    except JobSyncError as error:
        if error.code == "config":
            return Readiness(False, [f"schema: {error.message} {error.hint or ''}".strip()], schema="missing")
        return Readiness(False, [f"database: {error.message}"], database="away")
    if row is None:
        return Readiness(False, [f"tenant: {tenant} is not known."], schema="ok")
    return _judge(settings, row)


def _judge(settings: Settings, row: dict[str, Any]) -> Readiness:
    found = Readiness(True, mode=row["mode"], paused=row["paused"], lag_seconds=row["lag_seconds"])
    pending = sorted({BASELINE, *(migration.version for migration in read_migrations())} - set(row["versions"] or ()))
    found.schema = "ok" if not pending else "behind"
    if pending:
        found.ready = False
        found.reasons.append(f"schema: {len(pending)} migrations are missing. Run `jobsync db migrate`.")
    if row["connected"] or not settings.servicetitan_missing:
        found.pull = "on"
        late = max(LATE_SECONDS, LATE_POLLS * float(row["poll_seconds"]))
        if found.lag_seconds is None:
            found.reasons.append("lag: jobs were not read to their end yet.")
        elif found.lag_seconds > late:
            found.reasons.append(f"lag: jobs were last read to their end {round(found.lag_seconds / 60)} minutes ago.")
    else:
        found.pull = "off"
        found.reasons.append("pull off: no ServiceTitan credentials.")
    if row["mode"] != "live":
        found.reasons.append(f"nothing is sent: mode is {row['mode']}. Next: jobsync arm")
    if row["paused"]:
        found.reasons.append("nothing is sent: paused" + (f" ({row['pause_reason']})." if row["pause_reason"] else "."))
    return found

"""The claims of one drain: a group of rows at a time, and the next one while the group before it is being sent.

A claim decides (SQL) whether anything may leave at all, and opens an attempt for each of its rows. Rows that were claimed
ahead and are not sent after all are given back by whoever drains, as after any other claim.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jobsync.db.pool import Row
from jobsync.engine.context import Engine

# So many are claimed in one call, and whenever a worker dies, at most so many sends are accepted and not marked.
GROUP = 64
HOOK_PACE = 8.0


@dataclass(frozen=True)
class Group:
    """Rows that were claimed together, due ones first; `at`: when they were asked for, by the loop's clock."""

    rows: list[Row]
    at: float

    @property
    def is_alone(self) -> bool:
        """Whether nothing else is to be under way beside it: two workers died with it."""
        return bool(self.rows) and self.rows[0]["alone"]


class Claims:
    """Claims what is due at one destination. `due_before` and `untried_since` as `drain_destination` has them.

    `run`: the run of kind ghl_delivery, opened with the first row that is claimed; None until then. `rows`: how many were claimed.
    """

    def __init__(
        self,
        engine: Engine,
        tenant: str,
        destination: UUID,
        due_before: datetime | None,
        untried_since: datetime | None,
    ) -> None:
        # By API it only says how many jobs fit into a lease: there each request is paced, by the sender.
        pace = engine.settings.ghl_pace if engine.settings.ghl_pace is not None else HOOK_PACE
        self._engine = engine
        self._tenant = tenant
        self._asked = {
            "tenant": tenant,
            "destination": destination,
            "limit": GROUP,
            "lease_seconds": engine.settings.lease_seconds,
            "rate": pace,
            "burst": max(pace, 1.0),
            "due_before": due_before,
            "untried_since": untried_since,
        }
        self._ahead: asyncio.Task[Group] | None = None
        self.run: UUID | None = None
        self.rows = 0

    @property
    def is_ahead(self) -> bool:
        """Whether a group was asked for that nobody took yet."""
        return self._ahead is not None

    async def take(self) -> Group:
        """The group that was asked for ahead, else one that is claimed now; without rows: nothing may leave. Raises
        DatabaseUnavailable."""
        ahead, self._ahead = self._ahead, None
        group = await (ahead or self._claim())
        self.rows += len(group.rows)
        return group

    def ask(self) -> None:
        """Asks for the next group, to be taken later. Once a group was claimed, and not twice."""
        assert self.run is not None and self._ahead is None
        self._ahead = asyncio.ensure_future(self._claim())

    async def close(self) -> None:
        """Drops what was asked for and not taken, because the drain broke off: it is due again when its lease ends."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    async def _claim(self) -> Group:
        at = asyncio.get_running_loop().time()
        if self.run is not None:
            return Group(await self._engine.database.call(self._tenant, "claim_deliveries", self._asked), at)
        async with self._engine.database.transaction(self._tenant) as session:
            rows = await session.rows("claim_deliveries", self._asked)
            if rows:
                self.run = await session.value("open_delivery_run", {"tenant": self._tenant})
        return Group(rows, at)

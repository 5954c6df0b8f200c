"""What the pages cost: a database whose statements count the buffers they touch, and a visitor who opens each page.

Each statement that reads is asked twice: once as EXPLAIN (ANALYZE, BUFFERS), functions seen through, once for its rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.errors import Error

from jobsync.db.pool import Database, Session
from jobsync.db.queries import get_query
from tests.web.conftest import Api
from tests.web.visitor import Visitor


class CountingSession(Session):
    """Counts the buffers of each statement that only reads."""

    spent: list[tuple[str, int]]

    async def _count(self, name: str, parameters: Mapping[str, object] | None) -> None:
        text = get_query(name)
        if not text.lstrip().lower().startswith(("select", "with", "--")):
            return
        try:
            async with self._connection.transaction():
                cursor = await self._connection.execute(f"explain (analyze, buffers, format json) {text}", parameters)
                row = await cursor.fetchone()
        except Error:
            return
        assert row is not None
        found = next(iter(row.values()))
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        self.spent.append((name, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]))

    async def rows(self, name: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        await self._count(name, parameters)
        return await super().rows(name, parameters)

    async def row(self, name: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any] | None:
        await self._count(name, parameters)
        return await super().row(name, parameters)


class CountingDatabase(Database):
    """`spent`: (statement, buffers) in the order in which they were asked."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.spent: list[tuple[str, int]] = []
        self.counts = False

    @asynccontextmanager
    async def transaction(self, tenant: str | None) -> AsyncIterator[Session]:
        """As the program's, with sessions that count."""
        async with super().transaction(tenant) as session:
            if not self.counts:
                yield session
                return
            counting = CountingSession(session._connection)
            counting.spent = self.spent
            yield counting


@dataclass
class Cost:
    """One page: how often the database was asked, how many buffers were touched, how long it took without counting."""

    path: str
    buffers: int
    statements: int
    seconds: float
    heaviest: list[tuple[str, int]] = field(default_factory=list)

    def tell(self) -> str:
        """A line for people."""
        heavy = ", ".join(f"{name} {buffers:,}" for name, buffers in self.heaviest[:2])
        return f"{self.path:46} {self.buffers:8,} buffers {self.statements:3} questions {self.seconds * 1000:7.1f} ms   {heavy}"


async def weigh_pages(counting: CountingDatabase, visitor: Visitor | Api, paths: tuple[str, ...]) -> list[Cost]:
    """The cost of each page or answer, opened once to warm it, once against the clock and once to count."""
    costs = []
    for path in paths:
        await visitor.get(path)
        began = time.perf_counter()
        answer = await visitor.get(path)
        seconds = time.perf_counter() - began
        assert answer.status in (200, 303), (path, answer.status, answer.text[:500])
        counting.spent.clear()
        counting.counts = True
        await visitor.get(path)
        counting.counts = False
        heavy = sorted(counting.spent, key=lambda one: -one[1])[:3]
        costs.append(Cost(path, sum(one[1] for one in counting.spent), len(counting.spent), seconds, heavy))
    return costs


# What the API answers of the same world, lists with their filters.
ANSWERS = (
    "/db/sync-state",
    "/db/sync-state/lastJobPull",
    "/db/jobs/pending-ghl-sync",
    "/db/jobs/pending-ghl-sync?businessUnitId=4622",
    "/db/jobs/pending-ghl-sync?businessUnitId=4622&retry=true",
    "/db/jobs/pending-ghl-sync?format=csv",
    "/db/jobs/77",
    "/db/customers/77",
    "/db/sync-logs",
    "/db/sync-logs?syncType=job_pull&status=completed",
    "/db/sync-logs?status=failed",
    "/db/sync-logs?offset=400",
    "/db/sync-logs/statistics",
    "/db/business-units",
    "/db/business-units?syncEnabled=true",
    "/db/business-units/4622",
    "/admin/status",
    "/admin/tokens",
    "/admin/plan",
    "/admin/plan?show=50",
    "/admin/jobs/77/why",
    "/admin/rules",
    "/admin/pipelines",
    "/admin/tenants",
    "/metrics",
    "/health/ready",
)
PAGES = (
    # With their views, for a job and a unit that there are.
    "/ui/",
    "/ui/needs-you",
    "/ui/jobs",
    "/ui/jobs?status=failed",
    "/ui/jobs?status=pending",
    "/ui/jobs?status=skipped&reason=before_start",
    "/ui/jobs?status=unverified",
    "/ui/jobs?unit=4622",
    "/ui/jobs?q=77",
    "/ui/jobs?q=Ada",
    "/ui/jobs?q=16020000077",
    "/ui/jobs/77",
    "/ui/runs",
    "/ui/routing",
    "/ui/routing/units/1314",
    "/ui/contacts",
    "/ui/contacts?decided=true",
    "/ui/contacts?view=unreachable",
    "/ui/contacts?view=shared_phone",
    "/ui/contacts?view=shared_email",
    "/ui/import",
    "/ui/health",
    "/ui/settings",
    "/ui/settings/users",
    "/ui/settings/tokens",
    "/ui/settings/audit",
    "/ui/api",
    "/ui/clients",
    "/ui/arm",
)

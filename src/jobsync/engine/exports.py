"""Exports: a stable view (`jobsync.v_*`, or one of the guide's tables and views) row by row, for spreadsheets and programs.

In: a view's name. Out: its columns, then its rows as they stand in the database, fetched a thousand at a time, so that memory
stays flat whatever the count. One transaction: all rows are of one moment. Reads only; twice changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobsync.db.pool import Row
from jobsync.engine.context import Engine
from jobsync.engine.names import nearest
from jobsync.errors import InvalidInput


async def list_views(engine: Engine, tenant: str) -> dict[str, tuple[str, list[str]]]:
    """What can be exported: name -> (what it shows, its columns)."""
    found: dict[str, tuple[str, list[str]]] = {}
    async with engine.database.transaction(tenant) as session:
        for row in await session.rows("list_view_columns"):
            found.setdefault(row["view"], (row["view_comment"] or "", []))[1].append(row["column"])
    return found


@asynccontextmanager
async def open_view(
    engine: Engine, tenant: str, view: str
) -> AsyncIterator[tuple[list[str], AsyncIterator[list[Row]]]]:
    """The view's columns, and its rows in pieces of at most 1,000. Raises InvalidInput naming the nearest views."""
    views = await list_views(engine, tenant)
    if view not in views:
        raise InvalidInput(f"There is no view {view}.", hint=f"Nearest: {', '.join(nearest(view, views))}.")
    async with engine.database.transaction(tenant) as session:
        await session.run("open_view", {"view": view})

        async def pieces() -> AsyncIterator[list[Row]]:
            while rows := await session.rows("fetch_view"):
                yield rows

        yield views[view][1], pieces()

"""Quarantine: records that did not fit are tried again, after a deploy and on command, by the normal path.

In: the raw bytes that `jobsync.quarantine` keeps. Out: those that fit now are stored and their entries closed; the others
stay and count one sight more. An older version never overwrites a newer one, so that trying again is always harmless.
"""

from __future__ import annotations

from typing import Any

import msgspec

from jobsync.engine.context import Engine
from jobsync.engine.store import Counts, store
from jobsync.servicetitan.pages import Page
from jobsync.servicetitan.streams import STREAMS

# Fewer than the ten bad records of a page that count as schema drift: what is tried here is known to be bad.
AT_ONCE = 9


async def retry_quarantined(engine: Engine, tenant: str) -> dict[str, Any]:
    """Tries every open record once; answers {tried, mended, still_quarantined}."""
    tried = mended = 0
    after = 0
    while True:
        async with engine.database.transaction(tenant) as session:
            rows = await session.rows("list_quarantined", {"tenant": tenant, "after": after, "limit": AT_ONCE})
        if not rows:
            return {"tried": tried, "mended": mended, "still_quarantined": tried - mended}
        after = rows[-1]["id"]
        stream = STREAMS.get(rows[0]["stream"])
        if stream is None:
            continue
        page = Page([msgspec.Raw(bytes(row["raw"])) for row in rows], False, salvaged=True)
        await store(engine, tenant, stream, page, Counts(), resolve=True)
        async with engine.database.transaction(tenant) as session:
            mended += await session.value(
                "close_retried",
                {"tenant": tenant, "ids": [row["id"] for row in rows], "seen": [row["times_seen"] for row in rows]},
            )
        tried += len(rows)

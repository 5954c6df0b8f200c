"""Quarantine: records that did not fit are tried again, after a deploy and on command, by the normal path.

In: the raw bytes that `jobsync.quarantine` keeps. Out: those that fit now are stored and their entries closed, in one
transaction; the others stay and count one sight more. An older version never overwrites a newer one, so that trying
again is always harmless.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from jobsync.db.pool import Session
from jobsync.engine.context import Engine
from jobsync.engine.store import Counts, store
from jobsync.servicetitan.pages import Page
from jobsync.servicetitan.streams import STREAMS

AT_ONCE = 500


async def retry_quarantined(engine: Engine, tenant: str) -> dict[str, Any]:
    """Tries every open record once; answers {tried, mended, still_quarantined}."""
    tried, mended, after = 0, list[int](), 0
    while True:
        async with engine.database.transaction(tenant) as session:
            rows = await session.rows("list_quarantined", {"tenant": tenant, "after": after, "limit": AT_ONCE})
        if not rows:
            return {"tried": tried, "mended": sum(mended), "still_quarantined": tried - sum(mended)}
        after = rows[-1]["id"]
        for name, group in groupby(sorted(rows, key=itemgetter("stream", "id")), itemgetter("stream")):
            if name not in STREAMS:
                continue
            found = list(group)
            page = Page([msgspec.Raw(bytes(row["raw"])) for row in found], False, salvaged=True)
            close = partial(_close, tenant, [row["id"] for row in found], mended)
            # As a retry: many records that do not fit are expected here, and no changed format.
            await store(engine, tenant, STREAMS[name], page, Counts(), origin="retry", resolve=True, then=close)
            tried += len(found)


async def _close(tenant: str, ids: list[int], mended: list[int], session: Session, _: dict[str, Any]) -> None:
    mended.append(await session.value("close_retried", {"tenant": tenant, "ids": ids}))

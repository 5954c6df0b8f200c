"""Sold estimates, read once more by the day of their sale: an old estimate may be sold without a new modification time.

No feed and no list by modification time ever shows such a sale again (ServiceTitan contract, gotcha 7). Once an hour the
list is asked for what was sold since the last such reading, less an hour, by ServiceTitan's own clock. Twice changes
nothing: unchanged content writes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from jobsync.engine.context import Engine
from jobsync.engine.pull import PAGE_SIZES, fetch_patiently
from jobsync.engine.store import Counts, store
from jobsync.errors import JobSyncError
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.keyset import read_list
from jobsync.servicetitan.streams import STREAMS
from jobsync.servicetitan.timestamps import datetime_ticks, format_ticks

SOLD_ESTIMATES = "sold_estimates"
EVERY_SECONDS = 3600
OVERLAP = timedelta(hours=1)


async def pull_sold_estimates(engine: Engine, client: ServiceTitanClient, tenant: str, counts: Counts) -> Counts:
    """Reads what was sold since the last reading and stores it as estimates. Raises what stopped it."""
    stream = STREAMS["estimates"]
    cursor_key = {"tenant": tenant, "stream": SOLD_ESTIMATES}
    async with engine.database.transaction(tenant) as session:
        now: datetime = await session.value("read_now")
        # What was sold before the first pull came with its content.
        start = format_ticks(datetime_ticks((client.served_at or now) - OVERLAP))
        cursor = await session.row("read_cursor", {**cursor_key, "mode": "list", "since": start})
    assert cursor is not None
    reached = cursor["since"]
    asked = replace(stream, list_params={**stream.list_params, "soldAfter": reached})
    try:
        async for page in read_list(
            fetch_patiently(client, asked, PAGE_SIZES[0]), page_size=PAGE_SIZES[0], keys=stream.keys
        ):
            if reached == cursor["since"] and page.served_at is not None:
                # The clock of the first answer: what is sold while the pages are read comes with the next reading.
                reached = format_ticks(datetime_ticks(page.served_at - OVERLAP))
            # The cursor is another one than that of the estimates' feed, so that the page is stored first; whoever dies
            # in between reads it once more.
            await store(engine, tenant, stream, page, counts)
        async with engine.database.transaction(tenant) as session:
            moved = {"mode": "list", "token": None, "since": reached, "caught_up": True}
            await session.value("move_cursor", {**cursor_key, "revision": cursor["revision"], **moved})
            await session.run("schedule_reading", {**cursor_key, "seconds": EVERY_SECONDS})
    except JobSyncError as error:
        async with engine.database.transaction(tenant) as session:
            await session.run("fail_cursor", {**cursor_key, "error": error.message})
        raise
    return counts

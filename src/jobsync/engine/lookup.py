"""Look-up: parents that stored jobs refer to and that no feed has brought are asked for by their ids, 50 a call.

In: the list `jobsync.wanted`, which storing jobs fills. Out: stored parents, and deliveries that become due because of
them. An id that ServiceTitan does not know is asked for ever more rarely. Twice costs nothing: what arrived is no longer
wanted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from jobsync.engine.context import Engine
from jobsync.engine.pull import read_patiently
from jobsync.engine.store import CONTACT_STREAMS, Counts, store
from jobsync.errors import TerminalError
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.pages import Page
from jobsync.servicetitan.streams import STREAMS, Stream

PARENTS = ("customers", "locations", "customer_contacts", "location_contacts")
LIMIT = 50


async def look_up_parents(engine: Engine, client: ServiceTitanClient, tenant: str, counts: Counts) -> None:
    """Looks up everything that is wanted now. Raises the error that stopped it; what was stored until then stays."""
    await _resolve(engine, tenant)
    for name in PARENTS:
        stream = STREAMS[name]
        while True:
            async with engine.database.transaction(tenant) as session:
                ids = await session.value("list_wanted", {"tenant": tenant, "stream": name, "limit": LIMIT})
            if not ids:
                break
            try:
                whole = await _fetch_whole(client, stream, ids)
            except TerminalError:
                # An id that ServiceTitan refuses must not keep the others from being asked for each time.
                await _note_asked(engine, tenant, name, ids)
                raise
            await store(engine, tenant, stream, whole, counts, owners=ids if name in CONTACT_STREAMS else None)
            await _note_asked(engine, tenant, name, ids)
        # Once a stream, not once a page: it looks through everything that waits.
        await _resolve(engine, tenant)


async def _resolve(engine: Engine, tenant: str) -> None:
    async with engine.database.transaction(tenant) as session:
        await session.value("resolve_wanted", {"tenant": tenant})


async def _note_asked(engine: Engine, tenant: str, name: str, ids: list[int]) -> None:
    async with engine.database.transaction(tenant) as session:
        await session.run("note_asked", {"tenant": tenant, "stream": name, "ids": ids})


async def _fetch_whole(client: ServiceTitanClient, stream: Stream, ids: list[int]) -> Page:
    """Everything there is of these ids as one page; contacts may take more than one answer."""
    page = await read_patiently(partial(client.by_ids, stream, ids))
    if not page.has_more:
        return page
    records, number = list(page.records), 2
    while page.has_more and page.records:
        page = await read_patiently(partial(client.by_ids, stream, ids, page=number))
        records += page.records
        number += 1
    return replace(page, records=records, whole=None)

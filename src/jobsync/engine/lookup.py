"""Look-up: parents that stored jobs refer to and that no feed has brought are asked for by their ids, 50 a call.

In: the list `jobsync.wanted`, which storing jobs fills. Out: stored parents, and deliveries that become due because of
them. An id that ServiceTitan does not know is asked for ever more rarely. Twice costs nothing: what arrived is no longer
wanted.
"""

from __future__ import annotations

from dataclasses import replace

from jobsync.engine.context import Engine
from jobsync.engine.pull import CONTACT_STREAMS, Counts, read_patiently, store
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS

PARENTS = ("customers", "locations", "customer_contacts", "location_contacts")
LIMIT = 50


async def look_up_parents(engine: Engine, client: ServiceTitanClient, tenant: str, counts: Counts) -> None:
    """Looks up everything that is wanted now. Raises the error that stopped it; what was stored until then stays."""
    async with engine.database.transaction(tenant) as session:
        await session.value("resolve_wanted", {"tenant": tenant})
    for name in PARENTS:
        stream = STREAMS[name]
        while True:
            async with engine.database.transaction(tenant) as session:
                ids = await session.value("list_wanted", {"tenant": tenant, "stream": name, "limit": LIMIT})
            if not ids:
                break
            wanted = ids
            page = await read_patiently(lambda: client.by_ids(stream, wanted))
            records = list(page.records)
            number = 2
            while page.has_more:
                at = number
                page = await read_patiently(lambda: client.by_ids(stream, wanted, page=at))
                records += page.records
                number += 1
            whole = replace(page, records=records, whole=None) if number > 2 else page
            await store(
                engine, tenant, stream, whole, counts, owners=ids if name in CONTACT_STREAMS else None, resolve=True
            )

"""Erase: everything about one customer leaves the database and does not come back.

In: a customer's id in ServiceTitan. Out: counts by table, and the ids of what GoHighLevel still holds, which its owner
deletes there. A later pull, import or call of the API that brings the customer again is passed over (keyed hashes of the
ids stay). Backups that were taken before still hold the data.
"""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine


class _TriedOut(Exception):
    """Ends the transaction in which an erasure was counted, so that nothing of it stays."""


async def erase_customer(
    engine: Engine, tenant: str, customer: int, *, actor: str, dry_run: bool = False
) -> dict[str, Any]:
    """Erases; answers {customer, customers, locations, jobs, erased, gohighlevel}. `dry_run`: the same, and all stays.

    `customers` counts those merged into this one as well. Raises RecordMissing for an id that is not here. Twice: the
    second time finds nothing to erase.
    """
    report: dict[str, Any] = {}
    try:
        async with engine.database.transaction(tenant) as session:
            report = await session.value("erase_customer", {"tenant": tenant, "customer": customer, "actor": actor})
            if dry_run:
                raise _TriedOut
    except _TriedOut:
        pass
    return report

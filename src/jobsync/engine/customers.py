"""Customers that the office has to look at: those that nobody can reach, and those that share a phone or an e-mail."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput, RecordMissing

REASONS = ("no_contact", "invalid_contact", "shared_phone", "shared_email")
DECISIONS = ("share", "skip")


async def list_customers_to_mend(
    engine: Engine, tenant: str, *, reason: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    """One row per customer and reason: reason, st_customer_id, customer_name, value, shared_with (ids), fix, jobs."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_customers_to_mend", {"tenant": tenant, "reason": reason, "limit": limit})


async def browse_unreachable(engine: Engine, tenant: str, *, after: int = 0, limit: int = 50) -> dict[str, Any]:
    """`customers` without a usable phone or e-mail, by id from beyond `after` on, and `next`: where to go on, or None.

    A page looks at a bounded number of customers, so it may be short although there are more.
    """
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("browse_unreachable", {"tenant": tenant, "after": after, "limit": limit})
    return {
        "customers": [row for row in rows if row["reason"]],
        "next": next((row["st_customer_id"] for row in rows if not row["reason"]), None),
    }


async def browse_shared(engine: Engine, tenant: str, kind: str, *, after: int = 0, limit: int = 25) -> dict[str, Any]:
    """`groups` of customers with one phone or one e-mail (`kind`): value, customers (id, name, jobs; ten at most),
    has_more; and `next`: the customer to go on from, or None. Bounded as `browse_unreachable` is."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("browse_shared", {"tenant": tenant, "kind": kind, "after": after, "limit": limit})
    return {
        "groups": [row for row in rows if row["value"] is not None],
        "next": next((row["next_after"] for row in rows if row["value"] is None), None),
    }


async def count_customers_to_mend(engine: Engine, tenant: str) -> dict[str, int]:
    """How many customers there are of each reason; only reasons that have some."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("count_customers_to_mend", {"tenant": tenant})
    return {row["reason"]: row["customers"] for row in rows}


async def tell_customer(engine: Engine, tenant: str, customer: int) -> dict[str, Any]:
    """One customer: how to reach it, its GoHighLevel contact, what is to be mended, its newest jobs. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("tell_customer", {"tenant": tenant, "customer": customer})
    if row is None:
        raise RecordMissing(f"No customer has the id {customer}.", hint="jobsync why NAME finds its jobs.")
    return row


async def list_contact_reviews(
    engine: Engine, tenant: str, *, decided: bool = False, limit: int = 1000
) -> list[dict[str, Any]]:
    """Contacts that two customers share in GoHighLevel, or that are two there; `decided`: also what was decided."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_reviews", {"tenant": tenant, "all": decided, "limit": limit})


async def decide_contact_review(engine: Engine, tenant: str, customer: int, decision: str, *, actor: str) -> int:
    """A person decides: `share` (both customers use the contact; waiting jobs are planned) or `skip`. How many were planned.

    Raises InvalidInput for another word, RecordMissing where nothing is to be decided about this customer.
    """
    if decision not in DECISIONS:
        raise InvalidInput(f"{decision} is not one of {', '.join(DECISIONS)}.")
    async with engine.database.transaction(tenant) as session:
        parameters = {"tenant": tenant, "customer": customer, "decision": decision, "actor": actor}
        return await session.value("decide_review", parameters)

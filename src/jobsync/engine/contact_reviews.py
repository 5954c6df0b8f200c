"""Contacts that a person has to look at: those that two customers share, and those whose phone and e-mail are split."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput

DECISIONS = ("share", "skip")


async def list_reviews(
    engine: Engine, tenant: str, *, everything: bool = False, limit: int = 100
) -> list[dict[str, Any]]:
    """What waits for a person, oldest first; `everything`: what was decided, too."""
    parameters = {"tenant": tenant, "all": everything, "limit": limit}
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_reviews", parameters)


async def decide_review(engine: Engine, tenant: str, customer: int, decision: str, *, actor: str) -> int:
    """Decides about a customer whose contact is another's: `share`: both use it, and the jobs that waited are planned;
    `skip`: they stay skipped. Answers how many were planned. Sends nothing. Raises InvalidInput and RecordMissing."""
    if decision not in DECISIONS:
        raise InvalidInput("The decision is share or skip.")
    parameters = {"tenant": tenant, "customer": customer, "decision": decision, "actor": actor}
    async with engine.database.transaction(tenant) as session:
        return await session.value("decide_review", parameters)

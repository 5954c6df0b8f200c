"""Rules: listed, saved, removed, and tried on the tenant's own history. One verb for the command line, the API, the page.

A rule is a document (see rule_documents.py). Saving one sends nothing: delivered jobs are re-baselined, and the answer's
`differ` says how many of them would now stand elsewhere than they were told (`jobsync plan --rebaseline` shows them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobsync.db.pool import Session, as_jsonb
from jobsync.engine.context import Engine
from jobsync.engine.names import nearest
from jobsync.engine.pipelines import read_card_names
from jobsync.engine.rule_documents import read_rule, show_rule
from jobsync.errors import InvalidInput, RecordMissing

MOST_DAYS = 3_650


class _TriedOut(Exception):
    """Ends the transaction in which rules were tried, so that nothing of it stays."""


async def list_rules(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """All rules as documents, the one that decides last at the end; `problem` says what is wrong in GoHighLevel."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_rules", {"tenant": tenant})
        names = await read_card_names(session, tenant)
    return [show_rule(row, names) | ({"problem": row["problem"]} if row["problem"] else {}) for row in rows]


async def save_rules(
    engine: Engine, tenant: str, documents: Sequence[object], *, actor: str, replace: bool = False
) -> dict[str, Any]:
    """Saves rules, each as a whole; `replace`: and removes all others. All of them or none.

    Answers {saved, removed, differ}. Raises InvalidInput naming the rule and the nearest names. Twice changes nothing.
    """
    async with engine.database.transaction(tenant) as session:
        return await store_rules(session, tenant, documents, actor=actor, replace=replace)


async def store_rules(
    session: Session, tenant: str, documents: Sequence[object], *, actor: str, replace: bool
) -> dict[str, Any]:
    """The same inside the caller's transaction."""
    names = await read_card_names(session, tenant)
    rows = [read_rule(document, names) for document in documents]
    twice = [row["name"] for at, row in enumerate(rows) if row["name"] in [other["name"] for other in rows[:at]]]
    if twice:
        raise InvalidInput(f'Two rules are called "{twice[0]}".', hint="A rule is known by its name: rename one.")
    return await session.value(
        "save_rules", {"tenant": tenant, "rules": as_jsonb(rows), "replace": replace, "actor": actor}
    )


async def remove_rule(engine: Engine, tenant: str, name: str, *, actor: str) -> dict[str, Any]:
    """Removes a rule; answers {removed, differ}. Raises RecordMissing with the nearest names."""
    async with engine.database.transaction(tenant) as session:
        known = [row["name"] for row in await session.rows("list_rules", {"tenant": tenant})]
        if name not in known:
            hint = f"Nearest: {', '.join(nearest(name, known))}." if known else "There are no rules."
            raise RecordMissing(f'There is no rule "{name}".', hint=hint)
        return await session.value("remove_rule", {"tenant": tenant, "name": name, "actor": actor})


async def try_rules(
    engine: Engine, tenant: str, *, days: int = 30, documents: Sequence[object] | None = None, limit: int = 20
) -> dict[str, Any]:
    """What the rules say about jobs created in the last `days`; nothing is written or sent.

    `documents`: rules to try instead of the saved ones. Answers `rules` (jobs each holds for, decides_stage,
    decides_status), `outcomes` (where the cards would stand), `problems`, `told`, `differ` and at most `limit`
    `differences` to what GoHighLevel was told. Raises InvalidInput.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInput(f"--last is from 1d to {MOST_DAYS}d.")
    found: dict[str, Any] = {}
    try:
        async with engine.database.transaction(tenant) as session:
            if documents is not None:
                await store_rules(session, tenant, documents, actor="a try", replace=True)
            found = await session.value("test_rules", {"tenant": tenant, "days": days, "limit": limit})
            raise _TriedOut
    except _TriedOut:
        return found

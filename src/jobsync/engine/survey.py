"""The survey: every tenant with its verdict, the worst first, and the causes that several of them share.

For an agency: these verbs look at all tenants as the owner of the tables; whoever calls them has to be allowed that.
"""

from __future__ import annotations

from typing import Any

from jobsync.db.pool import Database
from jobsync.engine.verdict import NEEDS_A_PERSON, tell_counts

MOST = 200
# What is the same at several tenants, said of "them". {part}: what it is about (a stream, a reason, an upstream).
SHARED = {
    "failed_syncs": "runs of {part} failed",
    "dead_letters": "jobs were not accepted by GoHighLevel ({part})",
    "unmapped_unit": "a business unit goes nowhere",
    "destination_paused": "a destination is paused",
    "lag": "ServiceTitan's {part} are read late",
    "auth_failing": "ServiceTitan does not sign JobSync in ({part})",
    "stream_failing": "reading {part} fails",
    "schema_drift": "ServiceTitan's {part} changed their form",
    "quarantine": "{part} were set aside as they do not fit",
    "cap_reached": "JobSync disarmed itself at its cap",
    "silence": "no new job came for long",
    "unverified": "jobs were accepted and are not in GoHighLevel",
    "reconcile_missing": "the daily comparison found differences",
    "upstream_refused": "access to {part} is refused: a credential or a scope was lost",
    "card_route": "a route's pipeline or stage is gone",
    "card_rule": "a rule's pipeline or stage is gone",
    "card_renamed": "a pipeline or stage was renamed",
    "sent_by_both": "the old flow sends beside JobSync",
    "channel_down": "alerts do not get through",
}
PARTS = {"servicetitan": "ServiceTitan", "gohighlevel": "GoHighLevel"}


async def survey_tenants(database: Database, *, search: str | None = None, limit: int = MOST) -> dict[str, Any]:
    """{tenants, causes, sums, more}: each tenant's line with `verdict` and `trouble` (stuck, needs_you, watch, paused,
    well), the worst first; causes that two or more share; sums over all; `more`: there are others behind the limit.

    `search`: a part of the id or the name.
    """
    async with database.transaction(None) as session:
        rows = await session.rows(
            "survey_tenants", {"needs": sorted(NEEDS_A_PERSON), "search": search or None, "limit": limit + 1}
        )
        causes = await session.rows("list_shared_causes")
        sums = await session.row("sum_tenants")
    return {
        "tenants": [{**row, "verdict": _tell(row)} for row in rows[:limit]],
        "causes": [{**row, "title": _tell_cause(row)} for row in causes],
        "sums": sums,
        "more": len(rows) > limit,
    }


def _tell(row: dict[str, Any]) -> str:
    said = tell_counts(
        row, needs_you=row["needs_you"], retrying=row["retrying"], paused_hooks=row["paused_hooks"]
    ).partition(" Next:")[0]
    return f"{said} Reading fails: {row['failing']}." if row["failing"] else said


def _tell_cause(row: dict[str, Any]) -> str:
    part = PARTS.get(row["part"], row["part"].replace("_", " "))
    words: str = SHARED.get(row["code"]) or str(row["code"]).replace("_", " ")
    told = words.format(part=part)
    return f"{row['tenants']} clients: {told}"

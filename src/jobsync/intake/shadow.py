"""Shadow: holds what JobSync would have sent against what the old flow marked and what GoHighLevel holds.

JobSync has a database of its own here; the old flow's (JOBSYNC_OLD_DATABASE_URL) is only read. What the old flow delivered counts as
delivered from then on, so that arming sends none of it again. Out: a run of sync_logs (`shadow`), a finding per job, a verdict
per unit, and the list of doubled cards. Sends nothing, changes nothing in GoHighLevel. Twice: the same findings. Called by
`jobsync plan --shadow`, once a day by the schedule, and before arming.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from jobsync.db.old_database import SETTING, open_old_database
from jobsync.db.pool import Row, as_jsonb
from jobsync.engine import sending
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.ghl_connection import open_gohighlevel, read_gohighlevel_credentials
from jobsync.engine.verify import JOB_FIELD, Look
from jobsync.errors import ConfigError, InvalidInput, JobSyncError
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.intake.double_cards import find_double_cards

DAYS = 7
MOST_DAYS = 90
PAGE = 1000
MOST_LOOKED_FOR = 200
SHOWN = 20


def has_old_flow(engine: Engine, tenant: str) -> bool:
    """True where an old flow's database is named; a setting of the environment belongs to tenant `default`."""
    return tenant == DEFAULT_TENANT and engine.settings.old_database_url is not None


async def compare_with_old_flow(
    engine: Engine, tenant: str, *, days: int = DAYS, trigger: str = "command"
) -> dict[str, Any]:
    """Compares the jobs booked in the last `days`. Answers {jobs, findings, units, samples, doubles, connected, error}.

    `error`: what GoHighLevel answered where it could not be asked (None: it was, or is not connected). Raises InvalidInput,
    ConfigError (no old database, or none that is one) and DatabaseUnavailable.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInput(f"{days} days cannot be compared.", hint=f"From 1 to {MOST_DAYS}.")
    _require_old_flow(engine, tenant)
    async with engine.database.transaction(tenant) as session:
        run = await session.row("open_shadow_run", {"tenant": tenant, "trigger": trigger, "days": days})
    assert run is not None
    report: dict[str, Any] = {}
    failure: JobSyncError | None = None
    try:
        await _read_old_jobs(engine, tenant, run["since"], run["now"])
        report = await _ask_gohighlevel(engine, tenant, run["now"])
        async with engine.database.transaction(tenant) as session:
            compared = await session.value(
                "finish_comparison", {"tenant": tenant, "since": run["since"], "now": run["now"]}
            )
        report |= compared
    except JobSyncError as error:
        failure = error
        raise
    finally:
        async with engine.database.transaction(tenant) as session:
            await session.run(
                "close_shadow_run",
                {
                    "tenant": tenant,
                    "run": run["id"],
                    "report": as_jsonb(report),
                    "error": None if failure is None else failure.message[:1000],
                },
            )
    return {"days": days, **report, **await read_verdicts(engine, tenant)}


async def read_verdicts(engine: Engine, tenant: str) -> dict[str, Any]:
    """The last comparison: {units: a verdict each, samples: the first jobs that a person should look at}."""
    async with engine.database.transaction(tenant) as session:
        return {
            "units": await session.rows("list_shadow_verdicts", {"tenant": tenant}),
            "samples": await session.rows("list_shadow_jobs", {"tenant": tenant, "limit": SHOWN}),
        }


async def arm_after_looking(engine: Engine, tenant: str, **how: Any) -> dict[str, Any]:
    """`engine.sending.arm_tenant`, after a look at what the old flow did lately: its units then stay unarmed for a day."""
    if has_old_flow(engine, tenant):
        async with engine.database.transaction(tenant) as session:
            now = await session.value("read_now")
            since = await session.value("read_now_minus_days", {"days": DAYS})
        await _read_old_jobs(engine, tenant, since, now)
        async with engine.database.transaction(tenant) as session:
            await session.value("note_old_activity", {"tenant": tenant, "now": now})
    return await sending.arm_tenant(engine, tenant, **how)


def _require_old_flow(engine: Engine, tenant: str) -> None:
    if not has_old_flow(engine, tenant):
        raise ConfigError(
            f"{SETTING} is not set, so that there is no old flow to compare with.",
            hint=f"Set {SETTING} to the old flow's database; it is only read.",
        )


async def _read_old_jobs(engine: Engine, tenant: str, since: datetime, now: datetime) -> None:
    async for page in _pages(engine, since):
        async with engine.database.transaction(tenant) as session:
            await session.value("note_old_jobs", {"tenant": tenant, "rows": as_jsonb(page), "now": now})


async def _pages(engine: Engine, since: datetime) -> AsyncIterator[list[Row]]:
    url = engine.settings.old_database_url
    assert url is not None
    async with open_old_database(url.get_secret_value()) as old:
        place: dict[str, Any] = {"since": since, "after_time": since, "after_job": -1, "limit": PAGE}
        while True:
            rows = await old.rows("read_old_jobs", place)
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            place |= {"after_time": rows[-1]["created_on"], "after_job": rows[-1]["st_job_id"]}


async def _ask_gohighlevel(engine: Engine, tenant: str, now: datetime) -> dict[str, Any]:
    """Looks for what the old flow did not mark, and for doubled cards. What GoHighLevel answers never fails a comparison."""
    if await read_gohighlevel_credentials(engine, tenant) is None:
        return {"connected": False, "doubles": None, "error": None}
    try:
        async with open_gohighlevel(engine, tenant) as client:
            await _look_for_unmarked(engine, tenant, client, now)
            field = await _find_job_field(client)
            doubles = await find_double_cards(client.walk_opportunities(), field)
            async with engine.database.transaction(tenant) as session:
                await session.value("keep_double_cards", {"tenant": tenant, "cards": as_jsonb(doubles)})
    except JobSyncError as error:
        return {"connected": True, "doubles": None, "error": error.message}
    return {"connected": True, "doubles": sum(1 for card in doubles if not card["keep"]), "error": None}


async def _look_for_unmarked(engine: Engine, tenant: str, client: GoHighLevelClient, now: datetime) -> None:
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_unmarked", {"tenant": tenant, "now": now, "most": MOST_LOOKED_FOR})
    look = Look(client)
    results = await look.at_all(rows)
    if look.error is not None:
        raise look.error
    async with engine.database.transaction(tenant) as session:
        await session.run("note_cards", {"tenant": tenant, "results": as_jsonb(results)})


async def _find_job_field(client: GoHighLevelClient) -> str | None:
    fields = await client.list_custom_fields("opportunity")
    return next((each.id for each in fields if (each.key or each.name).rsplit(".", 1)[-1] == JOB_FIELD), None)

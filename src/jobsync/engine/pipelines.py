"""Pipelines: what GoHighLevel has (pipelines, stages, custom fields), read as a whole and kept by name and id.

A renamed stage stays the same stage; a deleted one is said on every route and rule that points at it, in the audit, and
as an alert condition (`jobsync.v_card_problems`). Reading twice changes nothing. Two requests.
"""

from __future__ import annotations

from typing import Any

from jobsync.db.pool import Session, as_jsonb
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import open_gohighlevel
from jobsync.engine.names import find_named, read_named
from jobsync.errors import JobSyncError
from jobsync.gohighlevel.records import CustomField, Pipeline
from jobsync.log import get_log

NOT_PULLED = "Read them first: jobsync pipelines refresh."


async def refresh_pipelines(engine: Engine, tenant: str, *, actor: str) -> dict[str, Any]:
    """Reads them and answers counts, `changes` (new, renamed, gone, back) and the `problems` of routes and rules.

    Raises ConfigError where GoHighLevel is not connected, and what the client raises; then nothing is changed.
    """
    async with open_gohighlevel(engine, tenant) as client:
        pipelines = await client.list_pipelines()
        fields = await client.list_custom_fields()
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "store_pipelines",
            {
                "tenant": tenant,
                "pipelines": as_jsonb([_show_pipeline(pipeline) for pipeline in pipelines]),
                "fields": as_jsonb([_show_field(field) for field in fields]),
                "actor": actor,
            },
        )


async def refresh_stale_pipelines(engine: Engine) -> int:
    """Reads those of every tenant that routes to pipelines and has not read them for an hour; answers how many.

    One tenant's failure is logged and leaves the others alone; it is tried again at the next call.
    """
    async with engine.database.transaction(None) as session:
        tenants = [row["tenant_id"] for row in await session.rows("list_stale_pipelines")]
    refreshed = 0
    for tenant in tenants:
        try:
            await refresh_pipelines(engine, tenant, actor="schedule")
            refreshed += 1
        except JobSyncError as error:
            get_log(tenant=tenant).warning("pipelines_not_read", code=error.code, error_type=type(error).__name__)
    return refreshed


async def list_pipelines(engine: Engine, tenant: str) -> dict[str, Any]:
    """What was read last: `pipelines` with their `stages` (protected, gone, how many routes and rules lead there),
    `problems` and the last 20 `changes`."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_pipelines", {"tenant": tenant})
        problems = await session.rows("list_card_problems", {"tenant": tenant})
        changes = await session.rows("list_pipeline_changes", {"tenant": tenant, "limit": 20})
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        pipeline = found.setdefault(
            row["pipeline_id"], {"id": row["pipeline_id"], "name": row["name"], "gone_at": row["gone_at"], "stages": []}
        )
        if row["stage_id"] is not None:
            pipeline["stages"].append(
                {
                    "id": row["stage_id"],
                    "name": row["stage_name"],
                    "protected": row["protected"],
                    "gone_at": row["stage_gone_at"],
                    "routes": row["routes"],
                    "rules": row["rules"],
                }
            )
    return {"pipelines": list(found.values()), "problems": problems, "changes": changes}


async def protect_stage(
    engine: Engine, tenant: str, pipeline: str, stage: str, *, protected: bool, actor: str
) -> dict[str, Any]:
    """Marks a stage whose cards only people move, or takes the mark away. Raises InvalidInput with the nearest names."""
    async with engine.database.transaction(tenant) as session:
        names = await read_card_names(session, tenant)
        pipeline_id, stage_id = find_stage(names, pipeline, stage)
        changed = await session.value(
            "protect_stage",
            {"tenant": tenant, "pipeline": pipeline_id, "stage": stage_id, "protected": protected, "actor": actor},
        )
    return {"pipeline_id": pipeline_id, "stage_id": stage_id, "protected": protected, "changed": changed}


async def read_card_names(session: Session, tenant: str) -> dict[str, Any]:
    """Every name that routes and rules may use: pipelines with stages, units, job_types, tags, campaigns, fields, facts,
    events."""
    return await session.value("read_card_names", {"tenant": tenant})


async def list_card_names(engine: Engine, tenant: str) -> dict[str, Any]:
    """The same in a transaction of its own."""
    async with engine.database.transaction(tenant) as session:
        return await read_card_names(session, tenant)


def find_stage(names: dict[str, Any], pipeline: str, stage: str | None) -> tuple[str, str | None]:
    """The ids of a pipeline and of its stage (None: none named). Raises InvalidInput with the nearest names."""
    found = find_named(pipeline, read_named(names["pipelines"]), "Pipeline", hint=NOT_PULLED)
    if stage is None:
        return found.id, None
    stages = next(row["stages"] for row in names["pipelines"] if row["id"] == found.id)
    return found.id, find_named(stage, read_named(stages), f'Stage of "{found.name}"', hint="It has no stages.").id


def _show_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    stages = [{"id": stage.id, "name": stage.name} for stage in pipeline.stages]
    return {"id": pipeline.id, "name": pipeline.name, "stages": stages}


def _show_field(field: CustomField) -> dict[str, Any]:
    return {"id": field.id, "name": field.name, "key": field.key, "model": field.model, "data_type": field.data_type}

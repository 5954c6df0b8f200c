"""/db/sync-logs: the runs, JobSync's own and those that others write down here."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from jobsync.web.answers import JsonAnswer, raw, raws
from jobsync.web.api.fields import Body, BodyCount, BodyId, Format, Instant, Limit, LongText, Offset, ShortText
from jobsync.web.api.rows import LogRow, Logs, LogStatistics
from jobsync.web.bodies import to_json
from jobsync.web.calls import GuardedRoute, ThisCall, needs
from jobsync.web.sheets import OR_SHEET, answer_sheet

router = APIRouter(route_class=GuardedRoute, tags=["sync logs"])

LOWEST = UUID(int=0)
_EXAMPLE = {
    "syncType": "n8n_push",
    "status": "completed",
    "recordsProcessed": 10,
    "recordsSucceeded": 10,
    "durationMs": 1250,
}


class LogBody(Body):
    """One run of somebody else's. It ended now, unless its status is running; it began durationMs before."""

    model_config = {"json_schema_extra": {"examples": [_EXAMPLE]}}
    syncType: ShortText
    status: ShortText
    entityType: ShortText | None = None
    entityId: BodyId | None = None
    recordsProcessed: BodyCount | None = 0
    recordsSucceeded: BodyCount | None = 0
    recordsFailed: BodyCount | None = 0
    errorMessage: LongText | None = None
    errorDetails: Any = None
    workflowExecutionId: ShortText | None = None
    metadata: dict[str, Any] | None = None
    durationMs: BodyCount | None = None


@router.post("/db/sync-logs", operation_id="writeSyncLog", status_code=201, response_model=LogRow)
@needs("sync:write", body="json")
async def write_log(call: ThisCall, body: LogBody) -> JsonAnswer:
    """Writes down one run. Twice: two runs."""
    parameters = {
        "tenant": call.tenant,
        "sync_type": body.syncType,
        "status": body.status,
        "entity_type": body.entityType,
        "entity_id": body.entityId,
        "processed": body.recordsProcessed,
        "succeeded": body.recordsSucceeded,
        "failed": body.recordsFailed,
        "error_message": body.errorMessage,
        "error_details": to_json(body.errorDetails),
        "execution": body.workflowExecutionId,
        "metadata": to_json(body.metadata),
        "duration_ms": body.durationMs,
    }
    async with call.transaction() as session:
        row = await session.row("api_write_log", parameters)
    assert row is not None
    return JsonAnswer(raw(row["row"]), status_code=201)


@router.get("/db/sync-logs", operation_id="listSyncLogs", response_model=Logs, responses=OR_SHEET)
@needs("read")
async def list_logs(
    call: ThisCall,
    sync_type: Annotated[str | None, Query(alias="syncType", max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=255)] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    before: Annotated[
        Instant | None,
        Query(description="With beforeId, from `next` of the page before: cheaper than an offset, and nothing shifts."),
    ] = None,
    before_id: Annotated[UUID | None, Query(alias="beforeId")] = None,
    form: Annotated[Format, Query(alias="format")] = "json",
) -> Response:
    """Runs, newest first."""
    parameters = {
        "tenant": call.tenant,
        "sync_type": sync_type or None,
        "status": status or None,
        "before": before,
        "before_id": before_id or LOWEST,
        "limit": limit,
        "offset": offset,
    }
    async with call.transaction() as session:
        rows = await session.rows("api_list_logs", parameters)
    if form == "csv":
        return answer_sheet(LogRow, rows, "sync-logs")
    last = rows[-1] if len(rows) == limit else None
    following = {"before": last["started_at"], "beforeId": last["id"]} if last else None
    return JsonAnswer({"count": len(rows), "logs": raws(rows), "next": following})


@router.get("/db/sync-logs/statistics", operation_id="readSyncStatistics", response_model=list[LogStatistics])
@needs("read")
async def read_statistics(call: ThisCall) -> JsonAnswer:
    """Runs by type and status over all time."""
    async with call.transaction() as session:
        return JsonAnswer(raws(await session.rows("api_log_statistics")))

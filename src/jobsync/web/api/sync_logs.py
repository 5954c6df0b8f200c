"""/db/sync-logs: the runs, JobSync's own and those that others write down here."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from jobsync.errors import InvalidInput
from jobsync.web.answers import JsonAnswer, raw, raws
from jobsync.web.api.fields import Body, BodyCount, BodyId, Format, Limit, LongText, Offset, ShortText
from jobsync.web.api.rows import LogRow, Logs, LogStatistics
from jobsync.web.bodies import to_json
from jobsync.web.calls import GuardedRoute, ThisCall, needs
from jobsync.web.sheets import answer_sheet

router = APIRouter(route_class=GuardedRoute, tags=["sync logs"])

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


@router.get("/db/sync-logs", operation_id="listSyncLogs", response_model=Logs)
@needs("read")
async def list_logs(
    call: ThisCall,
    sync_type: Annotated[str | None, Query(alias="syncType", max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=255)] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    after: Annotated[
        str | None,
        Query(max_length=200, description="`next` of the page before: cheaper than an offset, and nothing shifts."),
    ] = None,
    form: Annotated[Format, Query(alias="format")] = "json",
) -> Response:
    """Runs, newest first."""
    before, before_id = _read_place(after) if after else (None, None)
    parameters = {
        "tenant": call.tenant,
        "sync_type": sync_type or None,
        "status": status or None,
        "before": before,
        "before_id": before_id,
        "limit": limit,
        "offset": offset,
    }
    async with call.transaction() as session:
        rows = await session.rows("api_list_logs", parameters)
    if form == "csv":
        return answer_sheet(LogRow, rows, "sync-logs")
    following = _write_place(rows[-1]["started_at"], rows[-1]["id"]) if len(rows) == limit else None
    return JsonAnswer({"count": len(rows), "logs": raws(rows), "next": following})


@router.get("/db/sync-logs/statistics", operation_id="readSyncStatistics", response_model=list[LogStatistics])
@needs("read")
async def read_statistics(call: ThisCall) -> JsonAnswer:
    """Runs by type and status over all time."""
    async with call.transaction() as session:
        return JsonAnswer(raws(await session.rows("api_log_statistics")))


def _write_place(started_at: datetime, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{started_at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def _read_place(text: str) -> tuple[datetime, UUID]:
    try:
        time, row_id = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode().split(" ")
        place = datetime.fromisoformat(time), UUID(row_id)
    except (ValueError, binascii.Error):
        raise InvalidInput(
            "after is not a place in this list.", hint="Take `next` of the page before.", field="after"
        ) from None
    if place[0].tzinfo is None:
        raise InvalidInput("after is not a place in this list.", hint="Take `next` of the page before.", field="after")
    return place

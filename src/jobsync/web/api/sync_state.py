"""/db/sync-state: named values such as lastJobPull."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BeforeValidator, Field, WithJsonSchema

from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.answers import JsonAnswer, raw, raws
from jobsync.web.api.fields import Body, Key
from jobsync.web.api.rows import StateRow
from jobsync.web.bodies import to_json
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["sync state"])


def _as_text(value: Any) -> Any:
    # The column is text, and scripts send numbers: JSON's own spelling of them is kept.
    return to_json(value) if isinstance(value, bool | int | float) else value


class StateBody(Body):
    """A value to write."""

    model_config = {
        "json_schema_extra": {"examples": [{"value": "2026-01-31T08:00:00Z", "metadata": {"updatedBy": "n8n"}}]}
    }
    value: Annotated[
        str,
        BeforeValidator(_as_text),
        Field(min_length=1, max_length=1_000_000),
        WithJsonSchema(
            {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 1_000_000}, {"type": ["number", "boolean"]}]}
        ),
    ]
    metadata: dict[str, Any] | None = None


@router.get("/db/sync-state", operation_id="listSyncState", response_model=list[StateRow])
@needs("read")
async def list_state(call: ThisCall) -> JsonAnswer:
    """All keys, by name."""
    async with call.transaction() as session:
        return JsonAnswer(raws(await session.rows("api_list_state", {"tenant": call.tenant})))


@router.get("/db/sync-state/{key}", operation_id="readSyncState", response_model=StateRow)
@needs("read")
async def read_state(call: ThisCall, key: Key) -> JsonAnswer:
    """One key."""
    async with call.transaction() as session:
        row = await session.row("api_read_state", {"tenant": call.tenant, "key": key})
    if row is None:
        raise RecordMissing("Sync state not found", hint="GET /db/sync-state lists the keys.", key=key)
    return JsonAnswer(raw(row["row"]))


@router.put("/db/sync-state/{key}", operation_id="writeSyncState", response_model=StateRow)
@needs("state:write", body="json")
async def write_state(call: ThisCall, key: Key, body: StateBody) -> JsonAnswer:
    """Writes one key. lastJobPull must be an ISO time, not in the future; it never moves JobSync's own cursor."""
    parameters = {"tenant": call.tenant, "key": key, "value": body.value, "metadata": to_json(body.metadata)}
    try:
        async with call.transaction() as session:
            row = await session.row("api_write_state", parameters)
    except InvalidInput as error:
        error.details.setdefault("field", "value")
        raise
    assert row is not None
    return JsonAnswer(raw(row["row"]))

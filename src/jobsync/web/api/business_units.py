"""/db/business-units: which units there are, and where their jobs go."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AliasChoices, ConfigDict, Field, model_validator

from jobsync.engine.rule_changes import change_route
from jobsync.errors import RecordMissing
from jobsync.web.answers import JsonAnswer, raw, raws
from jobsync.web.api.fields import Body, Format, ShortText, UnitIdPath
from jobsync.web.api.rows import UnitRow
from jobsync.web.calls import Call, GuardedRoute, ThisCall, needs
from jobsync.web.sheets import OR_SHEET, answer_sheet

router = APIRouter(route_class=GuardedRoute, tags=["business units"])


class UnitBody(Body):
    """What to set; what is absent or null stays. A hook's URL is stored sealed and never shown again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "minProperties": 1,
            "not": {
                "required": ["ghl_webhook_url", "deliverer"],
                "properties": {"ghl_webhook_url": {"type": "string"}, "deliverer": {"type": "string"}},
            },
            "examples": [{"ghl_pipeline_name": "Sales & Service", "sync_enabled": True}],
        },
    )
    ghl_webhook_url: str | None = Field(
        None, min_length=1, max_length=2048, validation_alias=AliasChoices("ghl_webhook_url", "ghlWebhookUrl")
    )
    ghl_events: Literal["created", "all"] | None = Field(None, validation_alias=AliasChoices("ghl_events", "ghlEvents"))
    ghl_pipeline_name: ShortText | None = Field(
        None, validation_alias=AliasChoices("ghl_pipeline_name", "ghlPipelineName")
    )
    ghl_stage_name: ShortText | None = Field(None, validation_alias=AliasChoices("ghl_stage_name", "ghlStageName"))
    sync_enabled: bool | None = Field(None, strict=True, validation_alias=AliasChoices("sync_enabled", "syncEnabled"))
    sync_to_ghl: bool | None = Field(None, strict=True, validation_alias=AliasChoices("sync_to_ghl", "syncToGhl"))
    deliverer: Literal["external"] | None = Field(
        None, description="external: somebody else delivers this unit's jobs."
    )

    @model_validator(mode="after")
    def _say_something(self) -> UnitBody:
        if not self.model_fields_set:
            raise ValueError("names nothing to set")
        return self


@router.get("/db/business-units", operation_id="listBusinessUnits", response_model=list[UnitRow], responses=OR_SHEET)
@needs("read")
async def list_units(
    call: ThisCall,
    sync_enabled: Annotated[bool | None, Query(alias="syncEnabled", description="Only units with this switch.")] = None,
    form: Annotated[Format, Query(alias="format")] = "json",
) -> Response:
    """Business units with their routes, by name."""
    async with call.transaction() as session:
        rows = await session.rows("api_list_units", {"tenant": call.tenant, "sync_enabled": sync_enabled, "unit": None})
    return answer_sheet(UnitRow, rows, "business-units") if form == "csv" else JsonAnswer(raws(rows))


@router.get("/db/business-units/{stBusinessUnitId}", operation_id="readBusinessUnit", response_model=UnitRow)
@needs("read")
async def read_unit(call: ThisCall, unit: UnitIdPath) -> JsonAnswer:
    """One business unit with its route."""
    return await _show(call, unit)


@router.put("/db/business-units/{stBusinessUnitId}", operation_id="setBusinessUnit", response_model=UnitRow)
@needs("sync:write", body="json")
async def set_unit(call: ThisCall, unit: UnitIdPath, body: UnitBody) -> JsonAnswer:
    """Sets what is given of a unit's route. A hook makes JobSync deliver the unit's jobs; this sends nothing."""
    return await _route(call, unit, body)


@router.patch("/db/business-units/{stBusinessUnitId}", operation_id="changeBusinessUnit", response_model=UnitRow)
@needs("sync:write", body="json")
async def change_unit(call: ThisCall, unit: UnitIdPath, body: UnitBody) -> JsonAnswer:
    """The same as PUT: both set what is given and leave the rest."""
    return await _route(call, unit, body)


async def _route(call: Call, unit: int, body: UnitBody) -> JsonAnswer:
    try:
        await change_route(
            call.web.engine,
            call.tenant,
            unit,
            actor=call.actor,
            webhook_url=body.ghl_webhook_url,
            pipeline=body.ghl_pipeline_name,
            stage=body.ghl_stage_name,
            external=body.deliverer == "external",
            events=body.ghl_events,
            sync_enabled=body.sync_enabled,
            sync_to_ghl=body.sync_to_ghl,
        )
    except RecordMissing as error:
        error.details.setdefault("stBusinessUnitId", unit)
        raise
    return await _show(call, unit)


async def _show(call: Call, unit: int) -> JsonAnswer:
    async with call.transaction() as session:
        row = await session.row("api_list_units", {"tenant": call.tenant, "sync_enabled": None, "unit": unit})
    if row is None:
        raise RecordMissing("Business unit not found", hint="GET /db/business-units lists them.", stBusinessUnitId=unit)
    return JsonAnswer(raw(row["row"]))

"""The location's own settings and its pipelines (GoHighLevel contract, sections 3 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import Answer, refuse
from .location import Location, Record
from .switches import Switches
from .tokens import check_location

if TYPE_CHECKING:
    from .call import Call


def get_location(call: Call) -> Answer:
    """GET /locations/{id}: the settings on duplicates stand here."""
    location = call.location
    return Answer(
        200,
        {
            "location": {
                "id": location.id,
                "companyId": call.world.oauth.company_id,
                "name": location.name,
                "country": location.country,
                "timezone": location.timezone,
                "settings": location.settings,
            }
        },
    )


def list_pipelines(call: Call) -> Answer:
    """GET /opportunities/pipelines?locationId= with stages `{id, name, position}`."""
    wanted = call.query.get("locationId")
    if not wanted:
        raise refuse(422, ["locationId must be a string", "locationId should not be empty"])
    check_location(call.token, wanted)  # type: ignore[arg-type]
    return Answer(200, {"pipelines": call.location.pipelines})


def list_lost_reasons(call: Call) -> Answer:
    """GET /opportunities/lost-reason?locationId=: the simulator has none."""
    check_location(call.token, call.query.get("locationId"))  # type: ignore[arg-type]
    return Answer(200, {"lostReasons": [], "total": 0})


def place_card(
    location: Location, switches: Switches, pipeline_id: str, stage_id: str | None, present: Record | None = None
) -> dict[str, Any]:
    """Pipeline and stage of a write, checked: `{pipelineId, pipelineStageId}`.

    present: the opportunity as it is, whose stage stays when the pipeline does. Without a stage the first one is taken
    (a switch). Raises 400 (or another status, a switch) for a pipeline or stage that is not there.
    """
    pipeline = location.find_pipeline(pipeline_id)
    if pipeline is None:
        raise refuse(int(switches.unknown_stage), "The pipeline id is invalid.")
    if stage_id is None and present is not None and present["pipelineId"] == pipeline_id:
        return {"pipelineId": pipeline_id, "pipelineStageId": present["pipelineStageId"]}
    if stage_id is None:
        if switches.stage_omitted == "refuse" or not pipeline["stages"]:
            raise refuse(422, ["pipelineStageId must be a string"])
        stage_id = pipeline["stages"][0]["id"]
    if all(stage["id"] != stage_id for stage in pipeline["stages"]):
        raise refuse(int(switches.unknown_stage), "The pipeline stage id is invalid.")
    return {"pipelineId": pipeline_id, "pipelineStageId": stage_id}

"""Stage drift: what routes point at, compared with what GoHighLevel has right now. Looks only.

The schedule notes the same once an hour (`jobsync.v_card_problems`); the doctor need not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jobsync.engine.findings import Finding
from jobsync.gohighlevel.records import Pipeline


def compare_targets(units: Iterable[Mapping[str, Any]], pipelines: Iterable[Pipeline]) -> list[Finding]:
    """One finding for each route whose pipeline or stage is gone or renamed; one that says all is well where none is.

    Nothing where no unit goes to a pipeline. `units`: rows of `jobsync.unit_routes`.
    """
    known = {pipeline.id: pipeline for pipeline in pipelines}
    routed = [unit for unit in units if unit["pipeline_id"] is not None and unit["destination_kind"] == "api"]
    findings = [found for unit in routed if (found := _compare(unit, known)) is not None]
    if routed and not findings:
        findings = [Finding("gohighlevel", "stages", "ok", f"{len(routed)} routes point at stages that exist")]
    return findings


def _compare(unit: Mapping[str, Any], known: Mapping[str, Pipeline]) -> Finding | None:
    name, number = unit["name"], unit["st_business_unit_id"]
    fix = f"jobsync units set {number} --pipeline NAME --stage NAME"
    pipeline = known.get(unit["pipeline_id"])
    if pipeline is None:
        what = f'the pipeline "{unit["pipeline_name"]}" of {name} is gone'
        return Finding("gohighlevel", "stages", "problem", what, "It was deleted in GoHighLevel.", fix)
    if unit["stage_id"] is None:
        return None
    stage = next((one for one in pipeline.stages if one.id == unit["stage_id"]), None)
    if stage is None:
        what = f'the stage "{unit["stage_name"]}" of {name} is gone from "{pipeline.name}"'
        return Finding("gohighlevel", "stages", "problem", what, "It was deleted in GoHighLevel.", fix)
    if unit["stage_name"] is not None and stage.name != unit["stage_name"]:
        what = f'the stage "{unit["stage_name"]}" of {name} is now called "{stage.name}"'
        why = "Routes and rules follow by its id; n8n flows and reports that use the name do not."
        return Finding("gohighlevel", "stages", "warning", what, why, "jobsync pipelines refresh")
    return None

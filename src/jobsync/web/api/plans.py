"""/admin/plan and /admin/jobs: what would be sent, and why a job is where it is. These change nothing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, WithJsonSchema

from jobsync.engine import plan
from jobsync.engine.why import explain_job
from jobsync.errors import RecordMissing
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.fields import JobIdPath, UnitIdQuery, read_whole
from jobsync.web.api.rows import Row
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])


class Plan(Row):
    """What waits to be sent by kind, what is skipped and why, what it costs; `jobs` where they were asked for."""


class Explained(BaseModel):
    """A job's state, every attempt, what people decided, the cause in words and what to do about it."""

    job: dict[str, Any]
    attempts: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    why: str
    fix: str | None


@router.get("/admin/plan", operation_id="readPlan", response_model=Plan)
@needs("admin")
async def show_plan(
    call: ThisCall,
    show: Annotated[
        int,
        BeforeValidator(read_whole),
        Query(ge=0, le=500, description="So many jobs with what would change."),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 500}),
    ] = 0,
    unit: UnitIdQuery = None,
) -> JsonAnswer:
    """What would be sent. Sends nothing."""
    return JsonAnswer(await plan.read_plan(call.web.engine, call.tenant, show=show, unit=unit))


@router.get("/admin/jobs/{stJobId}/why", operation_id="explainJob", response_model=Explained)
@needs("admin")
async def explain(call: ThisCall, job: JobIdPath) -> JsonAnswer:
    """Why a job is where it is, and what to do."""
    try:
        return JsonAnswer(await explain_job(call.web.engine, call.tenant, job))
    except RecordMissing as error:
        error.details.setdefault("stJobId", job)
        raise

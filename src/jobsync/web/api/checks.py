"""/admin/reconcile and /admin/verify: is anything missing here, and is it really there? A worker looks; watch the run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from jobsync.engine import asked_runs
from jobsync.engine.reconcile import DAYS, MOST_DAYS
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.admin import RunStarted
from jobsync.web.api.fields import Body, Instant
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])


class Comparison(Body):
    """Which days, by the time of the last change, and whether to store what is missing."""

    model_config = {"json_schema_extra": {"examples": [{"days": 7, "fixMissing": False}]}}
    days: Annotated[int, Field(ge=1, le=MOST_DAYS, strict=True, description="So many days back.")] = DAYS
    fixMissing: Annotated[
        bool, Field(strict=True, description="Also store what is missing and newer versions of what differs.")
    ] = False


class Look(Body):
    """What is looked for: all that is not verified yet."""

    model_config = {"json_schema_extra": {"examples": [{"since": "2026-01-01T00:00:00Z"}]}}
    since: Annotated[Instant | None, Field(description="Also what was accepted since then, once more.")] = None


@router.post("/admin/reconcile", operation_id="startReconcile", status_code=202, response_model=RunStarted)
@needs("admin", body="optional")
async def start_reconcile(call: ThisCall, body: Comparison | None = None) -> JsonAnswer:
    """Compares jobs and customers with ServiceTitan; a worker takes it up within seconds. One at a time a tenant."""
    wish = body or Comparison()
    run = await asked_runs.ask_reconcile(
        call.web.engine, call.tenant, days=wish.days, fix_missing=wish.fixMissing, actor=call.actor
    )
    return JsonAnswer({"run": run, "watch": f"/admin/runs/{run}"}, status_code=202)


@router.post("/admin/verify", operation_id="startVerification", status_code=202, response_model=RunStarted)
@needs("admin", body="optional")
async def start_verification(call: ThisCall, body: Look | None = None) -> JsonAnswer:
    """Reads back from GoHighLevel what it accepted; a worker takes it up within seconds. One at a time a tenant."""
    since = body.since if body else None
    run = await asked_runs.ask_verification(call.web.engine, call.tenant, since=since, actor=call.actor)
    return JsonAnswer({"run": run, "watch": f"/admin/runs/{run}"}, status_code=202)

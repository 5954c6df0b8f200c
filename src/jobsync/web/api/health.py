"""/health: live says that the process answers; ready says whether it is of use, and why not."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from jobsync.web.answers import RETRY_AFTER_SECONDS, JsonAnswer
from jobsync.web.calls import OPEN, GuardedRoute, ThisCall, needs
from jobsync.web.readiness import read_readiness

router = APIRouter(route_class=GuardedRoute, tags=["health"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """`reasons` is what a person should know; `status` is unavailable only where requests fail."""

    status: Literal["ready", "unavailable"]
    reasons: list[str]
    database: str
    schema_: str
    pull: str
    mode: str | None
    paused: bool | None
    lag_seconds: float | None

    model_config = {"alias_generator": lambda name: name.rstrip("_")}


@router.get("/health/live", operation_id="isLive", response_model=Live)
@needs(OPEN)
async def is_live() -> JsonAnswer:
    """Open to everybody; says nothing but that the process answers."""
    return JsonAnswer({"status": "ok"})


@router.get(
    "/health/ready",
    operation_id="isReady",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "Not ready"}},
)
@needs("read")
async def is_ready(call: ThisCall) -> JsonAnswer:
    """Database, schema, pull, mode, pause and lag, with reasons in words."""
    found = await read_readiness(call.web.settings, call.web.engine.database, call.tenant)
    headers = {} if found.ready else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return JsonAnswer(found.show(), status_code=200 if found.ready else 503, headers=headers)

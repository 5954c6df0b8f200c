"""/metrics for Prometheus: lag, backlog, attempts, budgets, queue and pool of the caller's tenant."""

from __future__ import annotations

from fastapi import APIRouter, Response

from jobsync.engine.context import DEFAULT_TENANT
from jobsync.web.calls import GuardedRoute, ThisCall, needs
from jobsync.web.metrics import write_metrics

router = APIRouter(route_class=GuardedRoute, tags=["health"])


@router.get(
    "/metrics",
    operation_id="readMetrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text form", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
@needs("read")
async def read_metrics(call: ThisCall) -> Response:
    """Samples in Prometheus' text form; the queue's counts only for the first tenant and for tokens of all tenants."""
    whole = call.acts_for_all or call.tenant == DEFAULT_TENANT
    content, media_type = await write_metrics(call.web.engine.database, call.tenant, whole=whole)
    return Response(content, media_type=media_type)

"""The Overview: is it running, is anything stuck, why, what do I press."""

from __future__ import annotations

from fastapi import APIRouter, Response

from jobsync.engine.sending import read_status
from jobsync.engine.verdict import tell_verdict
from jobsync.web.dashboard.rendering import page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/")
@seen_by("viewer")
async def show_overview(visit: ThisVisit) -> Response:
    """The verdict first."""
    status = await read_status(visit.engine, visit.tenant)
    return page(visit, "overview.html", title="Overview", here="/ui/", status_now=status, verdict=tell_verdict(status))

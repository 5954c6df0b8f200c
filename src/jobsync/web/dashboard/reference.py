"""API & SQL: every endpoint of this very service with a line for curl, and every table and view that may be asked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Path as InPath

from jobsync.engine.health_facts import list_views
from jobsync.engine.workflows import NAMES, fill_workflows
from jobsync.web.dashboard.rendering import page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by
from jobsync.web.openapi import describe
from jobsync.web.operations import group_operations, write_curl

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/api"


@router.get(HERE)
@seen_by("viewer")
async def show_reference(visit: ThisVisit) -> Response:
    """Endpoints by area, then tables and views with the comments of the schema."""
    base = str(visit.request.base_url).rstrip("/")
    groups = {
        area: [{**one, "curl": write_curl(one, base)} for one in operations]
        for area, operations in group_operations(describe(visit.request.app)).items()
    }
    return page(
        visit,
        "api.html",
        title="API & SQL",
        here=HERE,
        base=base,
        groups=groups,
        views=await list_views(visit.engine, visit.tenant),
        workflows=NAMES,
    )


@router.get("/ui/api/n8n/{name}.json")
@seen_by("viewer")
async def download_workflow(visit: ThisVisit, name: Annotated[str, InPath(max_length=60)]) -> Response:
    """A workflow for n8n, filled with this service's address and units; hooks are pasted in there, they are secrets."""
    base = str(visit.request.base_url).rstrip("/")
    filled = await fill_workflows(visit.engine, visit.tenant, (name,), url=base)
    headers = {"Content-Disposition": f'attachment; filename="{filled[0].name}.json"'}
    return Response(filled[0].text.encode(), media_type="application/json", headers=headers)

"""The plain page: the reference of the API under /docs. Server-rendered, no script; for whoever may read the API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from jobsync.web.answers import JsonAnswer
from jobsync.web.calls import GuardedRoute, needs
from jobsync.web.openapi import describe
from jobsync.web.operations import group_operations

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

_LOADER = PackageLoader("jobsync.web", "templates")


@router.get("/ui/plain.css")
@needs("read")
async def show_style() -> Response:
    """The style sheet of the plain page."""
    source, _, _ = _LOADER.get_source(_environment(), "plain.css")
    return Response(source, media_type="text/css")


@router.get("/openapi.json")
@needs("read")
async def show_description(request: Request) -> JsonAnswer:
    """The API's description."""
    return JsonAnswer(describe(request.app))


@router.get("/docs")
@needs("read")
async def show_reference(request: Request) -> Response:
    """The reference, made of the description."""
    document = describe(request.app)
    return _render("reference.html", info=document["info"], groups=group_operations(document))


def _environment() -> Environment:
    return Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(name: str, **values: Any) -> HTMLResponse:
    return HTMLResponse(_environment().get_template(name).render(**values))

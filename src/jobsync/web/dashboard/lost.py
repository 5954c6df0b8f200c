"""Addresses under /ui that no page has: asked for last, answered as a page."""

from __future__ import annotations

from fastapi import APIRouter, Response

from jobsync.errors import CallRefused
from jobsync.web.dashboard.rendering import page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/keys")
@seen_by("viewer")
async def show_keys(visit: ThisVisit) -> Response:
    """The keys, and what the states mean."""
    return page(visit, "keys.html", title="Keys and help")


@router.get("/ui/{rest:path}")
@seen_by("viewer")
async def find_nothing(rest: str) -> Response:
    """Says so."""
    raise CallRefused(404, "There is no such page.", code="not_found", hint="Choose one from the navigation.")

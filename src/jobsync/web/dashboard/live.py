"""/ui/events: what happens, as it happens, for the pages that are open. The events of /admin/events, for a session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from jobsync.engine.events import find_place, read_events
from jobsync.engine.sign_in import find_session
from jobsync.errors import CallRefused
from jobsync.web.api.events import stream_events
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ASK_AGAIN_EVERY = 5


@router.get("/ui/events")
@seen_by("viewer")
async def watch_events(
    request: Request,
    visit: ThisVisit,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
) -> Response:
    """A stream of what happens to the tenant from now on; it ends within a few seconds of its session."""
    database = visit.engine.database
    place = last_event_id or await find_place(database, visit.tenant)
    found = await read_events(database, visit.tenant, place) if last_event_id else []
    looks = 0

    async def admit_again() -> None:
        nonlocal looks
        looks += 1
        if looks % ASK_AGAIN_EVERY == 0:
            row = await find_session(database, visit.secret)
            if row is None or row["tenant_id"] != visit.tenant:
                raise CallRefused(401, "The session has ended.", code="signed_out")

    return stream_events(request, database, visit.tenant, place, found=found, admit_again=admit_again)

"""/admin/events: what happens, as it happens. One page as JSON, or an unending stream for whoever asks for one.

A stream is resumed by Last-Event-ID, as browsers do by themselves; nothing is left out in between. It ends with its
token, and with the service. Each watcher looks once a second and holds no transaction meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from jobsync.db.pool import Database, Row
from jobsync.engine.events import PLACE, find_place, read_events
from jobsync.errors import CallRefused, JobSyncError
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.fields import Limit
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])

MOST_WATCHERS = 32
LOOK_EVERY_SECONDS = 1.0
BEAT_EVERY_LOOKS = 15
STREAM = "text/event-stream"
Place = Annotated[str | None, Query(max_length=40, pattern=rf"^{PLACE}$")]


class Event(BaseModel):
    """Something that happened: a run that opened, went on or ended, or a line of the audit."""

    id: str = Field(description="Its place: send it as `after` or Last-Event-ID to go on behind it.")
    kind: str = Field(description="run or audit; later versions may add kinds.")
    at: datetime
    subject: str | None
    content: dict[str, Any]


class Events(BaseModel):
    """Events, oldest first. `next` is where to go on, also when there were none."""

    events: list[Event]
    next: str


@router.get(
    "/admin/events",
    operation_id="watchEvents",
    response_model=Events,
    responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}},
)
@needs("admin")
async def watch_events(
    request: Request,
    call: ThisCall,
    after: Place = None,
    limit: Limit = 200,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40, pattern=rf"^({PLACE})?$")] = None,
) -> Response:
    """What happened after a place; without one, the place of this moment. With `Accept: text/event-stream`, a stream."""
    database = call.web.engine.database
    place = after or last_event_id or await find_place(database, call.tenant)
    found = await read_events(database, call.tenant, place, limit=limit)
    if STREAM in request.headers.get("accept", ""):

        async def admit_again() -> None:
            # The token may have been revoked meanwhile; the gate notices within 5 seconds.
            await call.web.gate.admit(request, "admin", counted=False)

        return stream_events(request, database, call.tenant, place, found=found, admit_again=admit_again)
    return JsonAnswer({"events": found, "next": found[-1]["id"] if found else place})


def stream_events(
    request: Request,
    database: Database,
    tenant: str,
    place: str,
    *,
    found: list[Row],
    admit_again: Callable[[], Awaitable[None]],
) -> Response:
    """A stream of the tenant's events behind `place`, `found` first. `admit_again` is called before each further look and
    ends the stream by raising a JobSyncError. Raises CallRefused (503) where 32 watch already."""
    watchers: set[Request] = request.app.state.watchers
    if len(watchers) >= MOST_WATCHERS:
        raise CallRefused(503, "Too many watch already.", code="busy", hint="Close a page that watches.")
    watchers.add(request)
    return StreamingResponse(_stream(request, database, tenant, found, place, admit_again), media_type=STREAM)


async def _stream(
    request: Request,
    database: Database,
    tenant: str,
    found: list[Row],
    place: str,
    admit_again: Callable[[], Awaitable[None]],
) -> AsyncIterator[bytes]:
    looks = 0
    try:
        yield b"retry: 2000\n\n"
        while True:
            if found:
                place = found[-1]["id"]
                yield b"".join(map(_write, found))
            elif looks % BEAT_EVERY_LOOKS == 0:
                yield b": still here\n\n"
            looks += 1
            if await _is_over(request):
                return
            try:
                await admit_again()
                found = await read_events(database, tenant, place)
            except JobSyncError:
                return
    finally:
        request.app.state.watchers.discard(request)


async def _is_over(request: Request) -> bool:
    stop: asyncio.Event | None = getattr(request.app.state, "stop", None)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait() if stop else asyncio.Event().wait(), LOOK_EVERY_SECONDS)
        return True
    return await request.is_disconnected()


def _write(event: Row) -> bytes:
    return f"id: {event['id']}\nevent: {event['kind']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"

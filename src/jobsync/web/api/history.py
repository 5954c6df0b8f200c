"""/admin/backfill and erasure: what works on a tenant's history. Long work answers 202 with a run to watch."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from jobsync.engine import backfill
from jobsync.engine.erase import erase_customer
from jobsync.engine.rewind import rewind_stream
from jobsync.errors import ConfirmationNeeded, RecordMissing
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.fields import Body, CustomerIdPath, Instant, Problem, ShortText
from jobsync.web.api.rows import Row
from jobsync.web.calls import Call, GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])

Entity = Literal[
    "customers",
    "customer_contacts",
    "locations",
    "location_contacts",
    "contacts",
    "jobs",
    "appointments",
    "estimates",
    "invoices",
    "technician_assignments",
]
RunPath = Annotated[UUID, Path()]


class NewBackfill(Body):
    """Which stretch of history, by the time of the last change."""

    model_config = {"json_schema_extra": {"examples": [{"since": "2025-01-01T00:00:00Z", "entities": ["jobs"]}]}}
    since: Instant
    until: Instant | None = None
    entities: Annotated[list[Entity], Field(min_length=1, max_length=20)] | None = None


class Confirmation(Body):
    """Without `confirm` nothing happens but the count."""

    model_config = {"json_schema_extra": {"examples": [{"confirm": True}]}}
    confirm: Annotated[bool, Field(strict=True)] = False


class Rewind(Body):
    """Which stream goes back, and to what time. Without `confirm` nothing moves."""

    model_config = {"json_schema_extra": {"examples": [{"stream": "jobs", "to": "2026-01-01T00:00:00Z"}]}}
    stream: ShortText
    to: Instant
    confirm: Annotated[bool, Field(strict=True)] = False


class Rewound(BaseModel):
    """Where the stream was read up to, and from where it goes on."""

    model_config = {"populate_by_name": True}
    stream: str
    mode: str
    before: str = Field(alias="from")
    to: str
    stored_since: int
    moved: bool


class BackfillStarted(BaseModel):
    """A run to watch."""

    run: UUID
    watch: str


class Backfill(Row):
    """A backfill: where it stands, stream by stream."""

    run: UUID
    state: str
    since: str
    until: str
    streams: list[dict[str, Any]]


class OldJobsPlanned(BaseModel):
    """How many old jobs became due."""

    planned: int


class Erasure(BaseModel):
    """What was erased, by table, and the ids of what GoHighLevel still holds."""

    customer: int
    customers: int
    locations: int
    jobs: int
    erased: dict[str, int]
    gohighlevel: dict[str, list[str]]


@router.post("/admin/backfill", operation_id="startBackfill", status_code=202, response_model=BackfillStarted)
@needs("admin", body="json")
async def start(call: ThisCall, body: NewBackfill) -> JsonAnswer:
    """Reads history behind live pulls; a worker takes it up within seconds. One unfinished backfill a tenant."""
    run = await backfill.open_backfill(
        call.web.engine, call.tenant, since=body.since, until=body.until, entities=body.entities, actor=call.actor
    )
    return JsonAnswer({"run": run, "watch": f"/admin/backfill/{run}"}, status_code=202)


@router.get(
    "/admin/backfill",
    operation_id="readLatestBackfill",
    response_model=Backfill,
    responses={404: {"model": Problem, "description": "There was none yet."}},
)
@needs("admin")
async def read_latest(call: ThisCall) -> JsonAnswer:
    """The unfinished backfill, else the newest."""
    return JsonAnswer(await _read(call, None))


@router.get("/admin/backfill/{run}", operation_id="readBackfill", response_model=Backfill)
@needs("admin")
async def read(call: ThisCall, run: RunPath) -> JsonAnswer:
    """Where a backfill stands."""
    return JsonAnswer(await _read(call, run))


@router.post("/admin/backfill/{run}/resume", operation_id="resumeBackfill", status_code=202, response_model=Backfill)
@needs("admin")
async def resume(call: ThisCall, run: RunPath) -> JsonAnswer:
    """Lets an unfinished backfill go on where it stands; one that is over stays so."""
    await _read(call, run)
    await backfill.resume_backfill(call.web.engine, call.tenant, run)
    return JsonAnswer(await _read(call, run), status_code=202)


@router.post("/admin/backfill/{run}/cancel", operation_id="cancelBackfill", response_model=Backfill)
@needs("admin")
async def cancel(call: ThisCall, run: RunPath) -> JsonAnswer:
    """Ends a backfill for good; what was stored stays."""
    await _read(call, run)
    await backfill.cancel_backfill(call.web.engine, call.tenant, run)
    return JsonAnswer(await _read(call, run))


@router.post("/admin/backfill/{run}/deliver", operation_id="deliverBackfilled", response_model=OldJobsPlanned)
@needs("admin", body="optional")
async def deliver(call: ThisCall, run: RunPath, body: Confirmation | None = None) -> JsonAnswer:
    """Makes the old jobs of a backfill due that were never delivered."""
    await _read(call, run)
    if body is None or not body.confirm:
        counted: dict[str, Any] = {**await backfill.count_old_jobs(call.web.engine, call.tenant, run)}
        raise ConfirmationNeeded(
            f"This would send {counted['jobs']} old jobs.", hint='Send {"confirm": true}.', **counted
        )
    planned = await backfill.deliver_backfilled(call.web.engine, call.tenant, run, actor=call.actor)
    return JsonAnswer({"planned": planned})


@router.post(
    "/admin/rewind",
    operation_id="rewindStream",
    response_model=Rewound,
    responses={404: {"model": Problem, "description": "No stream of this name was read yet."}},
)
@needs("admin", body="json")
async def rewind(call: ThisCall, body: Rewind) -> JsonAnswer:
    """Moves the cursor of a stream back; it is read again from there. What is unchanged writes and sends nothing."""
    moment = body.to.astimezone(UTC).isoformat()
    plan: dict[str, Any] = await rewind_stream(
        call.web.engine, call.tenant, body.stream, moment, apply=body.confirm, actor=call.actor
    )
    if not body.confirm:
        raise ConfirmationNeeded(
            f"This would read {plan['stream']} again from {plan['to']}; {plan['stored_since']} stored records are newer.",
            hint='Send the same with "confirm": true.',
            **plan,
        )
    return JsonAnswer(plan)


@router.post("/admin/customers/{stCustomerId}/erase", operation_id="eraseCustomer", response_model=Erasure)
@needs("admin", body="optional")
async def erase(call: ThisCall, customer: CustomerIdPath, body: Confirmation | None = None) -> JsonAnswer:
    """Erases a customer with everything about it, for good."""
    engine, tenant = call.web.engine, call.tenant
    try:
        if body is not None and body.confirm:
            return JsonAnswer(await erase_customer(engine, tenant, customer, actor=call.actor))
        counted = await erase_customer(engine, tenant, customer, actor=call.actor, dry_run=True)
    except RecordMissing as error:
        error.details.setdefault("stCustomerId", customer)
        raise
    raise ConfirmationNeeded(
        f"This would erase a customer with {counted['jobs']} jobs for good.", hint='Send {"confirm": true}.', **counted
    )


async def _read(call: Call, run: UUID | None) -> dict[str, Any]:
    found = await backfill.read_backfill(call.web.engine, call.tenant, run)
    if found is None:
        raise RecordMissing(
            "Backfill not found", hint="POST /admin/backfill starts one.", run=None if run is None else str(run)
        )
    return found

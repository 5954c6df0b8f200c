"""/admin: what the command line does, over HTTP. Always with a token; what may send asks for `confirm` first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from jobsync.engine import sending
from jobsync.engine.tokens import GRACE_SECONDS, create_token, list_tokens, revoke_token, rotate_token
from jobsync.errors import CallRefused, ConfirmationNeeded, RecordMissing
from jobsync.intake.shadow import arm_after_looking
from jobsync.web.answers import JsonAnswer, raw
from jobsync.web.api.fields import Body, BodyId, Cap, Grace, Instant, SendLimit, ShortText
from jobsync.web.api.rows import LogRow, Row
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])
TokenPath = Annotated[str, Path(alias="id", min_length=1, max_length=64)]


class RunStarted(BaseModel):
    """A run to watch."""

    run: UUID
    watch: str


class Planned(Row):
    """What stands in the outbox: counts by kind, and what the verb changed."""

    planned: int


class Reason(Body):
    """Why, for whoever reads the audit."""

    model_config = {"json_schema_extra": {"examples": [{"reason": "maintenance"}]}}
    reason: ShortText | None = None


class Resume(Body):
    """One destination, or everything."""

    model_config = {"json_schema_extra": {"examples": [{}]}}
    destination: UUID | None = None


class Arm(Body):
    """Going live. Without `confirm` nothing happens but the count."""

    model_config = {"json_schema_extra": {"examples": [{"limit": 10, "confirm": True}]}}
    confirm: Annotated[bool, Field(strict=True)] = False
    limit: SendLimit | None = None
    since: Instant | None = None
    capHour: Cap | None = None
    capDay: Cap | None = None


class Replay(Body):
    """Jobs to send again. `force` (with `confirm`) also sends those that were delivered."""

    model_config = {"json_schema_extra": {"examples": [{"jobs": [700412]}]}}
    jobs: Annotated[list[BodyId], Field(min_length=1, max_length=500)]
    force: Annotated[bool, Field(strict=True)] = False
    confirm: Annotated[bool, Field(strict=True)] = False


class Replayed(Row):
    """Which jobs are due again, of how many asked for."""

    replayed: list[int]
    asked: int


class NewToken(Body):
    """A token to make."""

    model_config = {"json_schema_extra": {"examples": [{"name": "n8n", "scopes": ["read", "sync:write"]}]}}
    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"[^\s\x00-\x1f\x7f-\xa0]")]
    scopes: Annotated[
        list[str],
        Field(
            min_length=1,
            max_length=5,
            json_schema_extra={"items": {"enum": ["read", "sync:write", "state:write", "replay", "admin"]}},
        ),
    ]
    expiresAt: Instant | None = None
    allTenants: Annotated[
        bool, Field(strict=True, description="With the scope admin, and only by a token that has this itself.")
    ] = False


class Rotation(Body):
    """How the old token ends."""

    model_config = {"json_schema_extra": {"examples": [{"graceSeconds": 3600}]}}
    graceSeconds: Grace = GRACE_SECONDS


class TokenRow(BaseModel):
    """A token without its secret."""

    id: str
    name: str
    scopes: list[str]
    all_tenants: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class TokenMade(TokenRow):
    """A new token: `token` is shown this once."""

    token: str


class TokenRotated(TokenMade):
    """The follower of a token. Both work until `replaced_until`."""

    replaces: str
    replaced_until: datetime


class Status(BaseModel):
    """Where the tenant stands."""

    tenant: dict[str, Any]
    reasons: list[dict[str, Any]]
    units: list[dict[str, Any]]
    streams: list[dict[str, Any]]


@router.get("/admin/status", operation_id="readStatus", response_model=Status)
@needs("admin")
async def read_status(call: ThisCall) -> JsonAnswer:
    """Mode, caps, counts by reason, units with their routes, lag of each stream."""
    return JsonAnswer(await sending.read_status(call.web.engine, call.tenant))


@router.post("/admin/sync", operation_id="startSync", status_code=202, response_model=RunStarted)
@needs("admin")
async def start_sync(call: ThisCall) -> JsonAnswer:
    """Starts a pass now; watch the run. A pass that runs already is not doubled."""
    if call.web.start_sync is None:
        raise CallRefused(
            503, "No worker can be asked from this process.", code="no_worker", hint="Start one: jobsync up."
        )
    run = await call.web.start_sync(call.tenant)
    return JsonAnswer({"run": run, "watch": f"/admin/runs/{run}"}, status_code=202)


@router.get("/admin/runs/{run}", operation_id="readRun", response_model=LogRow)
@needs("admin")
async def read_run(call: ThisCall, run: Annotated[UUID, Path()]) -> JsonAnswer:
    """One run: its status and counts so far."""
    async with call.transaction() as session:
        row = await session.row("api_read_run", {"tenant": call.tenant, "run": run})
    if row is None:
        raise RecordMissing("Run not found", hint="GET /db/sync-logs lists the runs.", run=str(run))
    return JsonAnswer(raw(row["row"]))


@router.post("/admin/pause", operation_id="pause", response_model=Planned)
@needs("admin", body="optional")
async def pause(call: ThisCall, body: Reason | None = None) -> JsonAnswer:
    """Stops sends within a second. Nothing is dropped; pulls go on."""
    return JsonAnswer(
        await sending.pause_tenant(call.web.engine, call.tenant, actor=call.actor, reason=body.reason if body else None)
    )


@router.post("/admin/resume", operation_id="resume", response_model=Planned)
@needs("admin", body="optional")
async def resume(call: ThisCall, body: Resume | None = None) -> JsonAnswer:
    """Ends a pause, of everything or of one destination."""
    destination = body.destination if body else None
    return JsonAnswer(
        await sending.resume_tenant(call.web.engine, call.tenant, actor=call.actor, destination=destination)
    )


@router.post("/admin/arm", operation_id="arm", response_model=Planned)
@needs("admin", body="optional")
async def arm(call: ThisCall, body: Arm | None = None) -> JsonAnswer:
    """Goes live, at most `limit` sends. Answers what is planned and which routes were refused."""
    wish = body or Arm()
    if not wish.confirm:
        counted = await sending.count_planned(call.web.engine, call.tenant)
        raise ConfirmationNeeded(
            f"This would send {counted['planned']} jobs.",
            hint='Send {"confirm": true}, with a "limit" at first.',
            **counted,
        )
    answer = await arm_after_looking(
        call.web.engine,
        call.tenant,
        actor=call.actor,
        limit=wish.limit,
        since=wish.since,
        cap_hour=wish.capHour,
        cap_day=wish.capDay,
    )
    return JsonAnswer(answer)


@router.post("/admin/disarm", operation_id="disarm", response_model=Planned)
@needs("admin", body="optional")
async def disarm(call: ThisCall, body: Reason | None = None) -> JsonAnswer:
    """Back to observe: nothing more is sent, everything stays planned."""
    return JsonAnswer(
        await sending.disarm_tenant(
            call.web.engine, call.tenant, actor=call.actor, reason=body.reason if body else None
        )
    )


@router.post("/admin/replay", operation_id="replay", response_model=Replayed)
@needs("replay", body="json")
async def replay(call: ThisCall, body: Replay) -> JsonAnswer:
    """Makes failed or waiting jobs due again."""
    if body.force and not body.confirm:
        raise ConfirmationNeeded(
            f"This sends up to {len(body.jobs)} jobs again, delivered ones too.",
            hint='Send {"force": true, "confirm": true}.',
            jobs=len(body.jobs),
        )
    return JsonAnswer(
        await sending.replay_jobs(call.web.engine, call.tenant, body.jobs, actor=call.actor, force=body.force)
    )


@router.get("/admin/tokens", operation_id="listTokens", response_model=list[TokenRow])
@needs("admin")
async def show_tokens(call: ThisCall) -> JsonAnswer:
    """The tokens of the tenant, without their secrets."""
    return JsonAnswer(await list_tokens(call.web.engine.database, call.tenant))


@router.post("/admin/tokens", operation_id="createToken", status_code=201, response_model=TokenMade)
@needs("admin", body="json")
async def make_token(call: ThisCall, body: NewToken) -> JsonAnswer:
    """Makes a token; it is shown this once."""
    if body.allTenants and not call.acts_for_all:
        raise CallRefused(
            403,
            "Only a token for all tenants makes another one.",
            code="other_tenant",
            hint="jobsync tokens create NAME --scope admin --all-tenants",
        )
    made = await create_token(
        call.web.engine.database,
        call.tenant,
        body.name,
        body.scopes,
        actor=call.actor,
        expires_at=body.expiresAt,
        all_tenants=body.allTenants,
    )
    return JsonAnswer(made, status_code=201)


@router.post("/admin/tokens/{id}/rotate", operation_id="rotateToken", status_code=201, response_model=TokenRotated)
@needs("admin", body="optional")
async def renew_token(call: ThisCall, token: TokenPath, body: Rotation | None = None) -> JsonAnswer:
    """Makes the follower of a token, shown this once; both work until the grace ends (default: a day)."""
    grace = (body or Rotation()).graceSeconds
    made = await rotate_token(
        call.web.engine.database,
        call.tenant,
        token,
        actor=call.actor,
        grace_seconds=grace,
        may_reach_all=call.acts_for_all,
    )
    return JsonAnswer(made, status_code=201)


@router.delete("/admin/tokens/{id}", operation_id="revokeToken", response_model=TokenRow)
@needs("admin")
async def end_token(call: ThisCall, token: TokenPath) -> JsonAnswer:
    """Revokes a token; every worker refuses it within 5 seconds."""
    return JsonAnswer(await revoke_token(call.web.engine.database, call.tenant, token, actor=call.actor))

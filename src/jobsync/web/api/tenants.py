"""/admin/tenants: the contractors. A token of one tenant sees itself; one made for all tenants sees and adds all."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jobsync.engine.tenants import add_tenant, list_tenants
from jobsync.errors import CallRefused
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.fields import Body, ShortText
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])


class TenantRow(BaseModel):
    """A tenant. Act for it by sending its id as X-JobSync-Tenant, with a token for all tenants."""

    id: str
    name: str
    time_zone: str
    mode: str
    paused_at: datetime | None
    pause_reason: str | None
    poll_seconds: int
    created_at: datetime
    connected: bool


class NewTenant(Body):
    """A tenant to add."""

    model_config = {"json_schema_extra": {"examples": [{"id": "sunbelt", "name": "Sunbelt Pool & Electric"}]}}
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    name: ShortText | None = None


@router.get("/admin/tenants", operation_id="listTenants", response_model=list[TenantRow])
@needs("admin")
async def show_tenants(call: ThisCall) -> JsonAnswer:
    """The tenants that this token may act for."""
    only = None if call.acts_for_all else call.tenant
    return JsonAnswer(await list_tenants(call.web.engine.database, only=only))


@router.post("/admin/tenants", operation_id="addTenant", status_code=201, response_model=TenantRow)
@needs("admin", body="json")
async def make_tenant(call: ThisCall, body: NewTenant) -> JsonAnswer:
    """Adds a tenant, observing and without units. Twice changes nothing."""
    if not call.acts_for_all:
        raise CallRefused(
            403,
            "Adding a tenant takes a token for all tenants.",
            code="other_tenant",
            hint="jobsync tokens create NAME --scope admin --all-tenants",
        )
    return JsonAnswer(await add_tenant(call.web.engine.database, body.id, body.name, actor=call.actor), status_code=201)

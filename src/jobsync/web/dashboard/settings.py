"""Settings: whether and how much is sent, the connections, and the audit. Users and tokens have pages of their own."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi import Path as InPath

from jobsync.engine.audit import list_audit
from jobsync.engine.connected import ENVIRONMENTS, FIELDS, change_connection, list_connections
from jobsync.engine.sending import change_limits, read_status
from jobsync.errors import InvalidInput
from jobsync.web.dashboard.rendering import page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/settings"
TABS = (
    (HERE, "Sending and connections"),
    ("/ui/settings/users", "Users"),
    ("/ui/settings/tokens", "API tokens"),
    ("/ui/settings/audit", "Audit"),
)
NAMES = {"servicetitan": "ServiceTitan", "gohighlevel": "GoHighLevel"}
WHERE = {
    "servicetitan": "Settings > Integrations > API Application Access; the app key comes from the developer portal.",
    "gohighlevel": "Settings > Business Profile, and Settings > Private Integrations.",
}
Cap = Annotated[str, Form(max_length=9, pattern=r"^[0-9]*$")]


@router.get(HERE)
@seen_by("admin")
async def show_settings(visit: ThisVisit) -> Response:
    """Mode, caps and connections. Secrets are never shown: four characters tell which one it is."""
    status = await read_status(visit.engine, visit.tenant)
    return page(
        visit,
        "settings.html",
        title="Settings",
        here=HERE,
        tabs=TABS,
        tenant=status["tenant"],
        stopped=status["stopped"],
        connections=await list_connections(visit.engine, visit.tenant),
        names=NAMES,
        where=WHERE,
        environments=[(one, one) for one in ENVIRONMENTS],
        from_environment=visit.engine.settings,
    )


@router.post("/ui/settings/limits")
@seen_by("admin")
async def set_limits(
    visit: ThisVisit, cap_hour: Cap = "", cap_day: Cap = "", price: Annotated[str, Form(max_length=20)] = ""
) -> Response:
    """Caps and the price of a paid execution. An empty field leaves what stands."""
    await change_limits(
        visit.engine,
        visit.tenant,
        actor=visit.actor,
        cap_hour=int(cap_hour) if cap_hour else None,
        cap_day=int(cap_day) if cap_day else None,
        price=_read_price(price),
    )
    return await visit.go(HERE, "Saved.")


@router.post("/ui/settings/connections/{kind}")
@seen_by("admin")
async def set_connection(visit: ThisVisit, request: Request, kind: Annotated[str, InPath(max_length=20)]) -> Response:
    """Tries what was typed, then seals it; an empty field keeps what stands."""
    form = await request.form()
    names = [*FIELDS.get(kind, ()), *(("environment",) if kind == "servicetitan" else ())]
    values = {name: str(form.get(name) or "") for name in names}
    changed = await change_connection(visit.engine, visit.tenant, kind, values, actor=visit.actor)
    if not changed:
        return await visit.go(HERE, "Nothing changed.")
    return await visit.go(HERE, f"{NAMES[kind]} is connected; {len(changed)} values were sealed.")


@router.get("/ui/settings/audit")
@seen_by("admin")
async def show_audit(visit: ThisVisit, before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None) -> Response:
    """What people and the program decided, newest first."""
    found = await list_audit(visit.engine, visit.tenant, before=before)
    return page(
        visit,
        "audit.html",
        title="Audit",
        here=HERE,
        tabs=TABS,
        lines=[{**line, "told": _tell_details(line["details"])} for line in found["lines"]],
        next=found["next"],
        before=before,
    )


def _read_price(text: str) -> Decimal | None:
    if not text.strip():
        return None
    try:
        price = Decimal(text.strip())
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= 1000:
        raise InvalidInput("The price is an amount from 0 to 1000, such as 0.01.", field="price")
    return price


def _tell_details(details: dict[str, Any]) -> str:
    """The details in a line; what is long is cut, and nothing in there is a secret."""
    parts = [
        f"{key.replace('_', ' ')}: {_tell(value)}" for key, value in details.items() if value not in (None, {}, [])
    ]
    return "; ".join(parts)[:300]


def _tell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_tell(one)}" for key, one in value.items() if one is not None)
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)

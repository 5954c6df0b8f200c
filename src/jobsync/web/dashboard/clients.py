"""Clients: all tenants for an agency, the worst first, what several of them share, one or all stopped. `jobsync tenants`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath

from jobsync.engine import sending
from jobsync.engine.sign_in import act_for
from jobsync.engine.survey import survey_tenants
from jobsync.engine.tenants import count_held, find_tenant, pause_all, resume_all
from jobsync.web.dashboard.rendering import confirm, page, show_count
from jobsync.web.dashboard.sign_in import HOME
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by
from jobsync.web.dashboard.wording import word_cause

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/clients"
WORDS = {
    "stuck": ("problem", "stuck"),
    "needs_you": ("blocked", "needs you"),
    "watch": ("warning", "watch"),
    "paused": ("skipped", "paused"),
    "well": ("ok", "well"),
}
Tenant = Annotated[str, InPath(min_length=1, max_length=63, pattern=r"^[a-z0-9_-]+$")]


@router.get(HERE)
@seen_by("admin", all_tenants=True)
async def show_clients(visit: ThisVisit, find: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Every client with its verdict."""
    found = await survey_tenants(visit.engine.database, search=find.strip() or None)
    found["causes"] = [{**one, "do": word_cause(one["code"], one["fix"])} for one in found["causes"]]
    return page(visit, "clients.html", title="Clients", here=HERE, find=find.strip(), words=WORDS, **found)


@router.post("/ui/clients/pause")
@seen_by("admin", all_tenants=True)
async def pause_everybody(visit: ThisVisit) -> Response:
    """Stops the sends of all within a second. Asks nothing: stopping costs nothing."""
    stopped = await pause_all(visit.engine.database, actor=visit.actor, reason="all clients were paused")
    return await visit.go(
        HERE, f"Paused {count_clients(stopped)}: nothing is sent. Pulls go on, nothing is lost.", kind="warn"
    )


@router.get("/ui/clients/resume")
@seen_by("admin", all_tenants=True)
async def ask_to_resume_everybody(visit: ThisVisit) -> Response:
    """Who goes on."""
    held = await count_held(visit.engine.database)
    return confirm(
        visit,
        title="Let all clients go on?",
        sentence="What waits goes out again wherever the mode is live. A client or a hook that was paused by itself stays paused.",
        action="/ui/clients/resume",
        button=f"Resume {count_clients(held['tenants'])}",
        facts=[
            ("Clients that go on", show_count(held["tenants"])),
            ("Clients that stay paused", show_count(held["others"])),
            ("Jobs waiting", show_count(held["planned"])),
            ("Paid workflow triggers, up to", show_count(held["webhook_executions"])),
        ],
        back=HERE,
        allowed=held["tenants"] > 0,
        here=HERE,
    )


@router.post("/ui/clients/resume")
@seen_by("admin", all_tenants=True)
async def resume_everybody(visit: ThisVisit) -> Response:
    """Ends the pause of all."""
    freed = await resume_all(visit.engine.database, actor=visit.actor)
    return await visit.go(HERE, f"{count_clients(freed)} may send again.")


@router.post("/ui/clients/{tenant}/open")
@seen_by("admin", all_tenants=True)
async def open_client(visit: ThisVisit, tenant: Tenant) -> Response:
    """From now on every page is about this client."""
    await act_for(visit.engine.database, visit.secret, tenant, actor=visit.actor)
    return await visit.go(HOME)


@router.post("/ui/clients/{tenant}/pause")
@seen_by("admin", all_tenants=True)
async def pause_client(visit: ThisVisit, tenant: Tenant) -> Response:
    """Stops one."""
    await find_tenant(visit.engine.database, tenant)
    await sending.pause_tenant(visit.engine, tenant, actor=visit.actor)
    return await visit.go(HERE, f"{tenant} is paused: nothing is sent. Pulls go on.", kind="warn")


@router.get("/ui/clients/{tenant}/resume")
@seen_by("admin", all_tenants=True)
async def ask_to_resume_client(visit: ThisVisit, tenant: Tenant) -> Response:
    """What begins to be sent."""
    await find_tenant(visit.engine.database, tenant)
    plan = await sending.count_planned(visit.engine, tenant)
    return confirm(
        visit,
        title=f"Let {tenant} go on?",
        sentence="The pause of this client ends, and of its hooks; what waits goes out if its mode is live.",
        action=f"/ui/clients/{tenant}/resume",
        button="Resume",
        facts=[
            ("Jobs waiting", show_count(plan["planned"])),
            ("Paid workflow triggers, up to", show_count(plan["webhook_executions"])),
        ],
        back=HERE,
        here=HERE,
    )


@router.post("/ui/clients/{tenant}/resume")
@seen_by("admin", all_tenants=True)
async def resume_client(visit: ThisVisit, tenant: Tenant) -> Response:
    """Ends its pause."""
    await find_tenant(visit.engine.database, tenant)
    answer = await sending.resume_tenant(visit.engine, tenant, actor=visit.actor)
    return await visit.go(HERE, f"{tenant} goes on; {show_count(answer['planned'])} jobs wait to be sent.")


def count_clients(number: int) -> str:
    """As people say it."""
    return f"{show_count(number)} {'client' if number == 1 else 'clients'}"

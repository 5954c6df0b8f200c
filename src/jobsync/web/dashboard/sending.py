"""Whether anything is sent: pause, resume, arm, disarm and a pass now, each by the verb of the command line."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from jobsync.engine import sending
from jobsync.engine.plan import read_plan
from jobsync.errors import CallRefused
from jobsync.web.dashboard.rendering import confirm, show_count, show_money
from jobsync.web.dashboard.sign_in import HOME, own_path
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Back = Annotated[str, Form(max_length=2000)]
Reason = Annotated[str, Form(max_length=200)]
Limit = Annotated[str, Form(max_length=10, pattern=r"^[0-9]*$")]
_FACTS = (
    ("planned", "Jobs waiting"),
    ("create", "New in GoHighLevel"),
    ("update", "Updates"),
    ("replay", "Replays"),
    ("requests", "GoHighLevel requests, at most"),
    ("webhook_executions", "Paid workflow triggers, up to"),
)


@router.post("/ui/pause")
@seen_by("operator")
async def pause(visit: ThisVisit, back: Back = HOME, reason: Reason = "") -> Response:
    """Stops sends within a second. Asks nothing: stopping costs nothing."""
    await sending.pause_tenant(visit.engine, visit.tenant, actor=visit.actor, reason=reason or None)
    return await visit.go(own_path(back), "Paused: nothing is sent. Pulls go on, nothing is lost.", kind="warn")


@router.get("/ui/resume")
@seen_by("operator")
async def ask_to_resume(visit: ThisVisit) -> Response:
    """What begins to be sent when the pause ends."""
    return confirm(
        visit,
        title="Resume sending?",
        sentence="The pause ends, of everything and of paused hooks; what waits goes out."
        if visit.mode == "live"
        else f"The pause ends; nothing is sent as long as the mode is {visit.mode}.",
        action="/ui/resume",
        button="Resume",
        facts=await _count(visit),
        back=HOME,
    )


@router.post("/ui/resume")
@seen_by("operator")
async def resume(visit: ThisVisit) -> Response:
    """Ends the pause."""
    answer = await sending.resume_tenant(visit.engine, visit.tenant, actor=visit.actor)
    return await visit.go(HOME, f"Resumed; {show_count(answer['planned'])} jobs wait to be sent.")


@router.get("/ui/arm")
@seen_by("admin")
async def ask_to_arm(visit: ThisVisit, limit: Annotated[int, Query(ge=0, le=100_000)] = 10) -> Response:
    """What going live sends, and what it costs."""
    return confirm(
        visit,
        title="Go live?",
        sentence="JobSync sends what is planned, and every later job, to GoHighLevel. Begin with a few, look at them "
        "there, then arm fully by leaving the number empty.",
        action="/ui/arm",
        button="Go live",
        facts=await _count(visit),
        inputs=[
            {
                "name": "limit",
                "label": "Send at most",
                "kind": "number",
                "value": limit or "",
                "hint": "Then it stops and waits for you. Empty: no limit.",
            }
        ],
        back=HOME,
        danger=True,
    )


@router.post("/ui/arm")
@seen_by("admin")
async def arm(visit: ThisVisit, limit: Limit = "") -> Response:
    """Goes live."""
    answer = await sending.arm_tenant(
        visit.engine, visit.tenant, actor=visit.actor, limit=int(limit) if limit else None
    )
    refused = ", ".join(f"{row['name']} ({row['reason']})" for row in answer["refused"])
    text = f"Live{f' for {int(limit)} sends' if limit else ''}; {show_count(answer['planned'])} jobs wait."
    return await visit.go(HOME, text + (f" Not armed: {refused}." if refused else ""), kind="warn" if refused else "ok")


@router.post("/ui/disarm")
@seen_by("admin")
async def disarm(visit: ThisVisit, back: Back = HOME, reason: Reason = "") -> Response:
    """Back to observe."""
    await sending.disarm_tenant(visit.engine, visit.tenant, actor=visit.actor, reason=reason or None)
    return await visit.go(own_path(back), "Disarmed: JobSync observes, everything stays planned.", kind="warn")


@router.post("/ui/run-now")
@seen_by("operator")
async def run_now(visit: ThisVisit) -> Response:
    """Starts a pass; one that runs already is not doubled."""
    if visit.web.start_sync is None:
        raise CallRefused(
            503, "No worker can be asked from this process.", code="no_worker", hint="Start one: jobsync up."
        )
    await visit.web.start_sync(visit.tenant)
    return await visit.go("/ui/runs", "A pass was asked for; it appears here as soon as it begins.")


async def _count(visit: ThisVisit) -> list[tuple[str, str]]:
    plan = await read_plan(visit.engine, visit.tenant)
    facts = [(label, show_count(plan[name])) for name, label in _FACTS if plan[name] or name != "replay"]
    routes = ", ".join(
        f"{unit['name'] or unit['business_unit_id']} ({show_count(unit['jobs'])})" for unit in plan["units"]
    )
    return [*facts, ("Cost of the triggers", show_money(plan["cost"])), ("Routes", routes or "none")]

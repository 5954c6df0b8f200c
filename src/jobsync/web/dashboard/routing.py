"""Routing: which unit's jobs go where, by names that both systems have. Each change is tried and shown before it is made."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Response
from fastapi import Path as InPath

from jobsync.engine.pipelines import list_card_names, list_pipelines, refresh_pipelines
from jobsync.engine.plan import read_plan
from jobsync.engine.route import list_units, route_unit
from jobsync.engine.rule_changes import change_route, list_versions
from jobsync.engine.rules import list_rules
from jobsync.engine.send_test import send_test
from jobsync.engine.sending import read_status
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.dashboard.rendering import confirm, page, show_count, show_money
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/routing"
ROUTES = {
    "webhook": "JobSync, through a workflow's hook",
    "pipeline": "JobSync, straight into a pipeline",
    "external": "Somebody else (n8n, a script)",
    "skip": "Nobody: leave its jobs out",
}
EVENTS = {"created": "Each job once, ever", "all": "Each later change, too"}
CARDS = {"own": "A card of its own", "sales": "The card of the job it was sold in"}
TEST_WAIT_SECONDS = 8.0
UnitPath = Annotated[int, InPath(ge=1, le=2**63 - 1)]
Word = Annotated[str, Form(max_length=100)]
Url = Annotated[str, Form(max_length=2000)]


@router.get(HERE)
@seen_by("viewer")
async def show_routing(visit: ThisVisit) -> Response:
    """Units with their routes, rules in the order in which they decide, and what can be undone."""
    status = await read_status(visit.engine, visit.tenant)
    known = await list_pipelines(visit.engine, visit.tenant)
    return page(
        visit,
        "routing.html",
        title="Routing & rules",
        here=HERE,
        units=status["units"],
        jobs=_count_jobs(status["reasons"]),
        pipelines=[one for one in known["pipelines"] if one["gone_at"] is None],
        problems=known["problems"],
        rules=[
            {**rule, "told": _tell_effects(rule.get("then", {}))}
            for rule in await list_rules(visit.engine, visit.tenant)
        ],
        versions=await list_versions(visit.engine, visit.tenant) if visit.may("admin") else [],
        events=EVENTS,
    )


@router.post("/ui/routing/refresh")
@seen_by("operator")
async def read_names(visit: ThisVisit) -> Response:
    """Reads pipelines, stages and fields from GoHighLevel."""
    found = await refresh_pipelines(visit.engine, visit.tenant, actor=visit.actor)
    changed = len([change for change in found["changes"] if change["change"] != "new"])
    text = f"{found['pipelines']} pipelines with {found['stages']} stages read; {changed} renamed or gone."
    return await visit.go(HERE, text, kind="warn" if found["problems"] else "ok")


@router.get("/ui/routing/units/{unit}")
@seen_by("admin")
async def edit_route(visit: ThisVisit, unit: UnitPath) -> Response:
    """The form of one unit's route."""
    row = await _require_unit(visit, unit)
    names = await list_card_names(visit.engine, visit.tenant)
    return page(
        visit,
        "route.html",
        title=f"Where jobs of {row['name']} go",
        here=HERE,
        unit=row,
        chosen=_route_of(row),
        places=[(place, f"{pipeline} / {stage}") for place, pipeline, stage in _places(names)],
        place=f"{row['pipeline_id']}/{row['stage_id']}" if row["stage_id"] else "",
        routes=list(ROUTES.items()),
        events=list(EVENTS.items()),
        cards=list(CARDS.items()),
    )


@router.post("/ui/routing/units/{unit}/preview")
@seen_by("admin")
async def preview_route(
    visit: ThisVisit,
    unit: UnitPath,
    route: Word,
    webhook: Url = "",
    place: Word = "",
    events: Word = "created",
    card: Word = "own",
) -> Response:
    """What the route would plan, before it is made."""
    row = await _require_unit(visit, unit)
    wish = await _read_wish(visit, row, route, webhook, place, events, card)
    tried = await route_unit(visit.engine, visit.tenant, unit, actor=visit.actor, dry_run=True, **wish)
    plan = await read_plan(visit.engine, visit.tenant)
    planned, by_hook = tried["planned"] or 0, tried["destination_kind"] == "webhook"
    delivers = tried["deliverer"] == "jobsync" and tried["sync_to_ghl"] is not False
    facts = [
        ("Jobs that will wait to be sent", show_count(planned)),
        ("Goes to", _tell_place(tried)),
        ("GoHighLevel requests, at most", show_count(planned * (1 if by_hook else 4) if delivers else 0)),
        ("Paid workflow triggers, up to", show_count(planned if by_hook and delivers else 0)),
        ("Cost of the triggers", show_money(planned * plan["execution_price"] if by_hook and delivers else 0)),
        ("Delivered jobs that differ afterwards", show_count(tried.get("differ") or 0)),
    ]
    if not tried["armed"]:
        facts.append(("Stays unarmed, because", tried["armed_reason"]))
    live = visit.mode == "live" and not visit.paused
    sends = (
        f"{show_count(planned)} jobs go out right away." if live and planned and delivers else "Nothing is sent now."
    )
    return confirm(
        visit,
        title=f"Route {row['name']}?",
        sentence=f"{sends} What was delivered is never sent again by this.",
        action=f"/ui/routing/units/{unit}",
        button=f"Route and send {show_count(planned)} jobs" if live and planned and delivers else "Set this route",
        facts=facts,
        fields=[
            ("route", route),
            ("webhook", webhook),
            ("place", place),
            ("events", events),
            ("card", card),
        ],
        back=HERE,
        danger=bool(live and planned and delivers),
        here=HERE,
    )


@router.post("/ui/routing/units/{unit}")
@seen_by("admin")
async def set_route(
    visit: ThisVisit,
    unit: UnitPath,
    route: Word,
    webhook: Url = "",
    place: Word = "",
    events: Word = "created",
    card: Word = "own",
) -> Response:
    """Makes the route."""
    row = await _require_unit(visit, unit)
    wish = await _read_wish(visit, row, route, webhook, place, events, card)
    answer = await change_route(visit.engine, visit.tenant, unit, actor=visit.actor, **wish)
    text = f"{row['name']}: {_tell_place(answer)}. {show_count(answer['planned'] or 0)} jobs planned."
    return await visit.go(HERE, text, kind="ok" if answer["armed"] else "warn")


@router.get("/ui/routing/units/{unit}/test")
@seen_by("operator")
async def ask_to_test(visit: ThisVisit, unit: UnitPath) -> Response:
    """What a test send costs."""
    row = await _require_unit(visit, unit)
    if row["destination_kind"] != "webhook":
        raise InvalidInput(f"{row['name']} goes to no hook.", hint="Only hooks are tested with an invented job.")
    plan = await read_plan(visit.engine, visit.tenant)
    return confirm(
        visit,
        title=f"Send a test to the hook of {row['name']}?",
        sentence="One invented job, marked as a test, goes through the workflow as a real one would.",
        action=f"/ui/routing/units/{unit}/test",
        button="Send 1 test job",
        facts=[
            ("Jobs", "1, invented"),
            ("Route", row["destination_masked"]),
            ("GoHighLevel requests", "1, and a few to look for its card"),
            ("Paid workflow triggers, up to", "1"),
            ("Cost of the triggers", show_money(plan["execution_price"])),
        ],
        back=HERE,
        here=HERE,
    )


@router.post("/ui/routing/units/{unit}/test")
@seen_by("operator")
async def test_hook(visit: ThisVisit, unit: UnitPath) -> Response:
    """Sends it and says what became of it: landed, queued, test_only or failed."""
    found = await send_test(visit.engine, visit.tenant, unit, actor=visit.actor, wait=TEST_WAIT_SECONDS)
    kind = {"landed": "ok", "queued": "warn"}.get(found["result"], "fail")
    text = " ".join(
        filter(None, (f"{found['unit']}: {found['result'].replace('_', ' ')}.", found["why"], found["next"]))
    )
    return await visit.go(HERE, text, kind=kind)


def _count_jobs(reasons: list[dict[str, Any]]) -> dict[int | None, dict[str, int]]:
    """Unit -> jobs that wait, failed, or are left out because the unit goes nowhere."""
    found: dict[int | None, dict[str, int]] = {}
    for row in reasons:
        word = "unmapped" if row["reason"] == "unmapped" else row["ghl_sync_status"]
        counts = found.setdefault(row["business_unit_id"], {"pending": 0, "failed": 0, "skipped": 0, "unmapped": 0})
        counts[word] += row["jobs"]
    return found


async def _require_unit(visit: Visit, unit: int) -> dict[str, Any]:
    for row in await list_units(visit.engine, visit.tenant):
        if row["st_business_unit_id"] == unit:
            return row
    raise RecordMissing(f"Business unit {unit} is not known.", hint="Units appear with the first pull.")


async def _read_wish(
    visit: Visit, row: dict[str, Any], route: str, webhook: str, place: str, events: str, card: str
) -> dict[str, Any]:
    """The form in the words of `route_unit`; a blank URL keeps the hook that stands."""
    if route == "external":
        return {"external": True}
    if route == "skip":
        return {"skip": True}
    if route == "pipeline":
        pipeline, slash, stage = place.partition("/")
        if not slash or not stage:
            raise InvalidInput("A stage must be chosen.", hint="Read the names from GoHighLevel if there is none.")
        return {"pipeline": pipeline, "stage": stage, "card": card, "leave_webhook": True}
    if route != "webhook":
        raise InvalidInput("Choose who delivers.")
    if webhook.strip():
        return {"webhook_url": webhook, "events": events}
    if row["destination_kind"] != "webhook":
        raise InvalidInput("The hook's URL is missing.", hint="Copy it from the workflow's inbound webhook trigger.")
    return {"events": events, "sync_to_ghl": True}


def _tell_effects(then: dict[str, Any]) -> str:
    """What a rule does, in one line."""
    place = " / ".join(str(then[key]) for key in ("pipeline", "stage") if key in then)
    told = [place] if place else []
    told += [f"{key} {str(then[key]).replace('_', ' ')}" for key in ("status", "value") if key in then]
    told += [f"tags {', '.join(then['tags'])}"] if "tags" in then else []
    return "; ".join([*told, *(f"{name} = {text}" for name, text in then.get("fields", {}).items())])


def _route_of(row: dict[str, Any]) -> str:
    if row["sync_to_ghl"] is False and row["deliverer"] != "none":
        return "skip"
    if row["deliverer"] == "external":
        return "external"
    return "pipeline" if row["destination_kind"] == "api" else "webhook"


def _tell_place(row: dict[str, Any]) -> str:
    if row["sync_to_ghl"] is False:
        return "nowhere"
    if row["deliverer"] == "external":
        return "whoever delivers it outside of JobSync"
    if row["destination_kind"] == "api":
        return f"{row['pipeline_name']} / {row['stage_name'] or 'its first stage'}"
    return row["destination_masked"] or "nowhere yet"


def _places(names: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (f"{pipeline['id']}/{stage['id']}", pipeline["name"], stage["name"])
        for pipeline in names["pipelines"]
        for stage in pipeline["stages"]
    ]

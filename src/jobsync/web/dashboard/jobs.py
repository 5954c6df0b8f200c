"""Jobs: looked through by state, cause and unit, found by number, phone, name or GoHighLevel id, sent again in bulk."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AwareDatetime

from jobsync.engine.browse import browse_jobs, count_newer, read_facets, read_newest
from jobsync.engine.jobs import choose_jobs
from jobsync.engine.sending import preview_replay, replay_jobs
from jobsync.engine.why import search_jobs
from jobsync.errors import InvalidInput
from jobsync.web.dashboard.csv_files import answer_csv
from jobsync.web.dashboard.rendering import confirm, make_query, page, show_count, show_iso, show_money
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/jobs"
MOST_FOUND = 100
MOST_IN_FILE = 5000
MOST_CHOSEN = 500
SURE = ("id", "number", "opportunity")
COLUMNS = (
    "st_job_id", "st_job_number", "customer_name", "business_unit_name", "job_status", "state", "ghl_sync_reason", "ghl_opportunity_id",
    "created_on", "modified_on",
)  # fmt: skip
TITLES = {
    "": "All",
    "failed": "Failed",
    "pending": "Waiting",
    "skipped": "Skipped",
    "unverified": "Accepted, not found",
    "synced": "Delivered",
}
Status = Annotated[str | None, Query(pattern=r"^(pending|failed|skipped|synced|unverified)?$")]
Reason = Annotated[str | None, Query(max_length=60)]
Unit = Annotated[str | None, Query(max_length=19, pattern=r"^[0-9]*$")]
Text = Annotated[str | None, Query(max_length=200)]
BeforeId = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


@router.get(HERE)
@seen_by("viewer")
async def show_jobs(
    visit: ThisVisit,
    q: Text = None,
    status: Status = None,
    reason: Reason = None,
    unit: Unit = None,
    before_at: AwareDatetime | None = None,
    before_id: BeforeId = None,
    seen: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    format: Annotated[str | None, Query(max_length=10)] = None,
) -> Response:
    """A page of jobs; with `q` what it means; `format=csv`: up to 5,000 rows as a sheet. `seen`: the highest id that the
    reader has seen, so that the page says how many came since."""
    words = (q or "").strip()
    if words:
        found = await search_jobs(visit.engine, visit.tenant, words, limit=MOST_FOUND)
        if len(found) == 1 and found[0]["matched"] in SURE and format is None:
            return RedirectResponse(f"{HERE}/{found[0]['st_job_id']}", status_code=303)
        listed: dict[str, Any] = {"jobs": found, "next": None}
    else:
        listed = await browse_jobs(
            visit.engine,
            visit.tenant,
            status=status or None,
            reason=reason or None,
            unit=int(unit) if unit else None,
            before_at=before_at,
            before_id=before_id,
            **({"limit": MOST_IN_FILE} if format == "csv" else {}),
        )
    if format == "csv":
        return answer_csv("jobs", COLUMNS, listed["jobs"])
    view = {"q": words, "status": status, "reason": reason, "unit": unit}
    facets = await read_facets(visit.engine, visit.tenant)
    newer = await count_newer(visit.engine, visit.tenant, seen, unit=int(unit) if unit else None) if seen else 0
    following = None
    if listed["next"]:
        place = {"before_at": show_iso_exact(listed["next"]["before_at"]), "before_id": listed["next"]["before_id"]}
        following = make_query(HERE, {**view, **place})
    return page(
        visit,
        "jobs.html",
        title="Jobs",
        here=HERE,
        search=words,
        jobs=listed["jobs"],
        following=following,
        is_first=before_id is None,
        seen=seen or await read_newest(visit.engine, visit.tenant),
        newer=newer,
        view=view,
        titles=TITLES,
        **_choose_facets(facets, view),
        all_matching=_all_matching(facets, view),
    )


@router.get(HERE + "/replay")
@seen_by("operator")
async def ask_to_replay(
    visit: ThisVisit,
    job: Annotated[list[int] | None, Query(max_length=MOST_CHOSEN)] = None,
    status: Status = None,
    reason: Reason = None,
    unit: Unit = None,
    force: bool = False,
    back: Annotated[str, Query(max_length=500)] = HERE,
) -> Response:
    """What sending these again would do: count, units, paid triggers, and which are left alone."""
    return await _ask(visit, job or [], status, reason, unit, force=force, back=back)


@router.post(HERE + "/replay")
@seen_by("operator")
async def replay(
    visit: ThisVisit,
    request: Request,
    status: Annotated[str, Form(pattern=r"^(pending|failed|skipped|synced|unverified)?$")] = "",
    reason: Annotated[str, Form(max_length=60)] = "",
    unit: Annotated[str, Form(max_length=19, pattern=r"^[0-9]*$")] = "",
    force: Annotated[bool, Form()] = False,
    expected: Annotated[int, Form(ge=0)] = 0,
) -> Response:
    """Makes them due again. Where more match than were shown, it asks once more."""
    given = [str(one) for one in (await request.form()).getlist("job")]
    if len(given) > MOST_CHOSEN or not all(one.isascii() and one.isdigit() and len(one) < 19 for one in given):
        raise InvalidInput("These are not ids of jobs.", field="job")
    ids = await _choose(visit, [int(one) for one in given], status or None, reason or None, unit or None)
    force = force or status == "unverified"
    found = await preview_replay(visit.engine, visit.tenant, ids, force=force)
    if len(found["would_replay"]) > expected:
        return await _ask(visit, [int(one) for one in given], status, reason, unit, force=force, more=True)
    answer = await replay_jobs(visit.engine, visit.tenant, found["would_replay"], actor=visit.actor, force=force)
    count = len(answer["replayed"])
    place = f"{HERE}/{answer['replayed'][0]}" if len(ids) == 1 and count == 1 else "/ui/needs-you"
    text = f"{show_count(count)} {'job is' if count == 1 else 'jobs are'} due again."
    if visit.mode != "live" or visit.paused:
        text += f" Nothing is sent while {'sending is paused' if visit.paused else f'the mode is {visit.mode}'}."
    return await visit.go(place, text, kind="ok" if count else "warn")


async def _choose(visit: Visit, jobs: list[int], status: str | None, reason: str | None, unit: str | None) -> list[int]:
    if jobs:
        return jobs
    if status is None:
        raise InvalidInput("Choose jobs, or a state.", hint="Select rows, or use the buttons of a group.", field="job")
    return await choose_jobs(
        visit.engine,
        visit.tenant,
        status=None if status == "unverified" else status,
        reason="unverified" if status == "unverified" else reason,
        unit=int(unit) if unit else None,
    )


async def _ask(
    visit: Visit,
    jobs: list[int],
    status: str | None,
    reason: str | None,
    unit: str | None,
    *,
    force: bool,
    back: str = HERE,
    more: bool = False,
) -> Response:
    ids = await _choose(visit, jobs, status or None, reason or None, unit or None)
    force = force or status == "unverified"
    found = await preview_replay(visit.engine, visit.tenant, ids, force=force)
    count = len(found["would_replay"])
    noun = "job" if count == 1 else "jobs"
    facts = [
        ("Jobs", f"{show_count(count)} of {show_count(found['asked'])}"),
        ("Routes", ", ".join(f"{one['name'] or one['business_unit_id']} ({show_count(one['jobs'])})" for one in found["units"]) or "none"),
        ("GoHighLevel requests, at least", show_count(count)),
        ("Paid workflow triggers, up to", show_count(found["webhook_executions"])),
        ("Cost of the triggers", show_money(found["cost"])),
        *((f"Left alone: {why.replace(' (only with --force)', '')}", show_count(number)) for why, number in found["refused"].items()),
    ]  # fmt: skip
    sentence = "They become due again and go out in their turn."
    if more:
        sentence = "Meanwhile more jobs match than you were shown; please look again. " + sentence
    if force:
        sentence += " Delivered ones are told to GoHighLevel once more: a workflow may run a second time for them."
    fields = (
        [("job", str(one)) for one in jobs]
        if jobs
        else [("status", status or ""), ("reason", reason or ""), ("unit", unit or "")]
    )
    return confirm(
        visit,
        title=f"Replay {show_count(count)} {noun}?" if count else "Nothing to replay",
        sentence=sentence if count else "None of these can be sent again.",
        action=HERE + "/replay",
        button=f"Send {show_count(count)} {noun}" + (" again" if force else ""),
        facts=facts,
        fields=[*fields, ("expected", str(count)), *([("force", "true")] if force else [])],
        back=back if back.startswith("/ui/") else HERE,
        danger=force,
        allowed=count > 0,
        here=HERE,
    )


def _choose_facets(facets: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    """Counts by state, the causes of the chosen state, the units: what the filters show."""
    unit = int(view["unit"]) if view["unit"] else None
    classes = [row for row in facets["classes"] if unit is None or row["business_unit_id"] == unit]
    states: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for row in classes:
        states[row["status"]] = states.get(row["status"], 0) + row["jobs"]
        if row["status"] == view["status"]:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + row["jobs"]
    return {"state_counts": states, "reasons": dict(list(reasons.items())[:12]), "units": facets["units"]}


def _all_matching(facets: dict[str, Any], view: dict[str, Any]) -> dict[str, Any] | None:
    """The whole of what a filter means, where it can be sent again: {count, href}."""
    if view["q"] or view["status"] not in ("failed", "pending"):
        return None
    count = sum(
        row["jobs"]
        for row in facets["classes"]
        if row["status"] == view["status"]
        and (not view["reason"] or row["reason"] == view["reason"])
        and (not view["unit"] or row["business_unit_id"] == int(view["unit"]))
    )
    chosen = {name: view[name] for name in ("status", "reason", "unit")}
    return {"count": count, "href": make_query(HERE + "/replay", chosen)} if count else None


def show_iso_exact(value: Any) -> str:
    """To the microsecond: where the next page begins."""
    return value.isoformat() if value else show_iso(value)

"""One job's story: what ServiceTitan says, what GoHighLevel was told, what happened, why it stands there, what to press."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Response

from jobsync.engine.context import DEFAULT_TENANT
from jobsync.engine.one_job import reread_job, show_sides, skip_job
from jobsync.engine.why import explain_job, preview_payload
from jobsync.web.dashboard.rendering import confirm, page, show_moment
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by
from jobsync.web.dashboard.wording import word_fix

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/jobs"
Job = Annotated[int, Path(ge=1, le=2**63 - 1)]
SIDES = ("servicetitan", "gohighlevel")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)$", re.ASCII)
SERVICETITAN = "https://go.servicetitan.com/#/Job/Index/"
GOHIGHLEVEL = "https://app.gohighlevel.com/v2/location/"


@router.get(HERE + "/{job}")
@seen_by("viewer")
async def show_story(visit: ThisVisit, job: Job) -> Response:
    """The whole story."""
    story = await explain_job(visit.engine, visit.tenant, job)
    sides = await show_sides(visit.engine, visit.tenant, job)
    payload = await preview_payload(visit.engine, visit.tenant, job)
    return page(
        visit,
        "story.html",
        title=f"Job {story['job']['st_job_number'] or job}",
        here=HERE,
        job=story["job"],
        why=story["why"],
        fix=word_fix(story["job"], story["fix"]),
        sides=[{**row, **{side: _show_side(row[side], visit.time_zone) for side in SIDES}} for row in sides],
        timeline=tell_timeline(story),
        payload=json.dumps(payload, indent=2, ensure_ascii=False, default=str),
        links=_find_links(visit, story["job"]),
    )


def _show_side(value: Any, time_zone: str) -> Any:
    """A time as the other times of the page are shown; anything else as it is."""
    if not isinstance(value, str) or _TIME.match(value) is None:
        return value
    try:
        return show_moment(datetime.fromisoformat(value), time_zone)
    except ValueError:
        return value


@router.post(HERE + "/{job}/reread")
@seen_by("operator")
async def reread(visit: ThisVisit, job: Job) -> Response:
    """Asks ServiceTitan for it again."""
    answer = await reread_job(visit.engine, visit.tenant, job, actor=visit.actor)
    if answer["quarantined"]:
        return await visit.go(f"{HERE}/{job}", "ServiceTitan's record does not fit and was set aside.", kind="fail")
    text = "It changed; the new state is stored." if answer["stored"] else "ServiceTitan says the same as before."
    return await visit.go(f"{HERE}/{job}", "Read again. " + text)


@router.get(HERE + "/{job}/skip")
@seen_by("operator")
async def ask_to_skip(visit: ThisVisit, job: Job) -> Response:
    """Why it should not go out."""
    return confirm(
        visit,
        title=f"Skip job {job}?",
        sentence="It is not sent to GoHighLevel, now or when it changes, until somebody replays it.",
        action=f"{HERE}/{job}/skip",
        button="Skip the job",
        facts=[("Jobs", "1"), ("Requests", "0"), ("Paid workflow triggers", "0")],
        inputs=[
            {
                "name": "note",
                "label": "Why",
                "required": True,
                "hint": "Stands in the job's story and in the audit; no names of customers.",
            }
        ],
        back=f"{HERE}/{job}",
        here=HERE,
    )


@router.post(HERE + "/{job}/skip")
@seen_by("operator")
async def skip(visit: ThisVisit, job: Job, note: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Takes it out, with the note."""
    await skip_job(visit.engine, visit.tenant, job, note, actor=visit.actor)
    return await visit.go(f"{HERE}/{job}", "Skipped. Replay brings it back.")


def tell_timeline(story: dict[str, Any]) -> list[dict[str, Any]]:
    """What happened, oldest first: {at, kind, title, text, answer}. `kind`: ok, fail, info or nothing."""
    job = story["job"]
    events: list[dict[str, Any]] = []

    def add(at: Any, kind: str, title: str, text: str = "", answer: str | None = None) -> None:
        if at is not None:
            events.append({"at": at, "kind": kind, "title": title, "text": text, "answer": answer})

    add(job["created_on"], "", "Booked in ServiceTitan")
    add(job["synced_from_st_at"], "info", "Stored", f"ServiceTitan says {job['job_status'] or 'nothing of its status'}")
    for attempt in story["attempts"]:
        code = f"HTTP {attempt['status_code']}" if attempt["status_code"] else "no answer"
        outcome = (attempt["outcome"] or "never closed: ambiguous").replace("_", " ")
        took = f", {attempt['duration_ms']} ms" if attempt["duration_ms"] is not None else ""
        add(
            attempt["started_at"],
            "ok" if (attempt["outcome"] or "").startswith("accepted") else "fail",
            f"Sent, version {attempt['version']} ({attempt['event']})",
            f"{code}: {outcome}{took}" + (f". {attempt['error']}" if attempt["error"] else ""),
            attempt["answer"],
        )
    add(
        job["ghl_verified_at"],
        "ok",
        "Read back from GoHighLevel",
        f"card {job['ghl_opportunity_id'] or 'without an id'}",
    )
    for entry in story["audit"]:
        details = entry["details"]
        about = details.get("reason") or details.get("mode") or details.get("deliverer") or ""
        add(
            entry["at"],
            "",
            entry["action"].replace("_", " ").capitalize(),
            f"by {entry['actor']}" + (f": {about}" if about else ""),
        )
    return sorted(events, key=lambda event: event["at"])


def _find_links(visit: Visit, job: dict[str, Any]) -> dict[str, str]:
    """Addresses of the job in the two systems, where they can be known; none in the demo, which has neither."""
    if visit.web.demo:
        return {}
    links = {}
    if visit.web.settings.servicetitan_environment == "production":
        links["Open in ServiceTitan"] = f"{SERVICETITAN}{job['st_job_id']}"
    location = visit.web.settings.ghl_location_id if visit.tenant == DEFAULT_TENANT else None
    if location and job["ghl_opportunity_id"]:
        links["Open in GoHighLevel"] = f"{GOHIGHLEVEL}{location}/opportunities/list"
    return links

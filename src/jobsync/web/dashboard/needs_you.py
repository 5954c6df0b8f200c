"""Needs you: what waits for a person, grouped by cause, each group with its fix, its replay and its mute."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from jobsync.alerts.settings import list_alerts, mute_alert
from jobsync.engine.needs import REPLAYED, count_needs, group_needs
from jobsync.engine.sending import read_status
from jobsync.errors import RecordMissing
from jobsync.web.dashboard.csv_files import answer_csv
from jobsync.web.dashboard.navigation import list_entries
from jobsync.web.dashboard.rendering import page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by
from jobsync.web.dashboard.wording import word_groups

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/needs-you"
# Where a cause is mended, if that page is there.
PLACES = {
    "unmapped": ("/ui/routing", "Route the units"),
    "no_pipeline": ("/ui/routing", "Choose a pipeline"),
    "not_armed": ("/ui/routing", "Look at the route"),
    "shared_contact": ("/ui/contacts", "Decide about the contacts"),
    "no_contact": ("/ui/contacts", "See the customers"),
    "failed_syncs": ("/ui/runs?status=failed", "See the failed runs"),
    "upstream_refused": ("/ui/health", "Check the connection"),
    "auth_failing": ("/ui/health", "Check the connection"),
    "stream_failing": ("/ui/health", "Check the connection"),
    "lag": ("/ui/health", "Check the connection"),
    "channel_down": ("/ui/health", "Test the channels"),
}


@router.get(HERE)
@seen_by("viewer")
async def show_needs(visit: ThisVisit, format: Annotated[str | None, Query(max_length=10)] = None) -> Response:
    """The groups, the worst first; `format=csv`: as a sheet."""
    groups = word_groups(await _read(visit))
    if format == "csv":
        columns = ("cause", "title", "count", "first", "last", "sample", "units", "why", "fix")
        rows = [{**group, "units": ", ".join(str(unit[1] or unit[0]) for unit in group["units"])} for group in groups]
        return answer_csv("needs-you", columns, rows)
    served = {entry.path for entry in list_entries(visit)}
    for group in groups:
        place = PLACES.get(group["cause"])
        group["place"] = place if place and place[0].partition("?")[0] in served else None
        group["replay"] = (
            f"/ui/jobs/replay?status={group['status']}"
            + ("" if group["kind"] == "unverified" else f"&reason={group['cause']}")
            if group["cause"] in REPLAYED or group["kind"] == "unverified"
            else None
        )
        if group["replay"] and group["kind"] == "unverified" and group["units"][0][0]:
            group["replay"] += f"&unit={group['units'][0][0]}"
        group["list"] = (
            None
            if group["status"] is None
            else f"/ui/jobs?status={group['status']}"
            + ("" if group["kind"] == "unverified" else f"&reason={group['cause']}")
        )
    return page(visit, "needs_you.html", title="Needs you", here=HERE, groups=groups, needs=count_needs(groups))


@router.post(HERE + "/mute")
@seen_by("operator")
async def mute(
    visit: ThisVisit,
    group: Annotated[str, Form(max_length=300)],
    hours: Annotated[int, Form(ge=0, le=720)] = 24,
) -> Response:
    """Keeps the alerts of a group quiet for a while (0: no longer); the group stays on the page."""
    found = next((one for one in await _read(visit) if one["key"] == group), None)
    if found is None:
        raise RecordMissing("This group is gone.", hint="Reload the page: it may have mended itself.")
    muted = 0
    for code, subject in found["alert"]:
        # A group that is a minute old has no alert yet.
        with contextlib.suppress(RecordMissing):
            muted += await mute_alert(visit.engine, visit.tenant, code, subject=subject, hours=hours, actor=visit.actor)
    if not muted:
        return await visit.go(HERE, "No alert is open for this group yet; try again in a minute.", kind="warn")
    text = f"Muted for {hours} hours; the group stays here." if hours else "No longer muted."
    return await visit.go(f"{HERE}#{group}", text)


async def _read(visit: Visit) -> list[dict[str, Any]]:
    status = await read_status(visit.engine, visit.tenant)
    return group_needs(status, await list_alerts(visit.engine, visit.tenant))

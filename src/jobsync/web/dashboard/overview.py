"""The Overview: is it running, is anything stuck, why, what do I press. Eleven questions to the database at most."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response

from jobsync.alerts.settings import list_alerts
from jobsync.engine.browse import read_day
from jobsync.engine.needs import group_needs
from jobsync.engine.sending import read_status
from jobsync.engine.verdict import tell_verdict
from jobsync.web.dashboard.charts import CLASSES, draw_bars, draw_lag
from jobsync.web.dashboard.rendering import page, show_ago, show_span
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by
from jobsync.web.dashboard.wording import word_groups

router = APIRouter(route_class=PageRoute, include_in_schema=False)

GROUPS_SHOWN = 6
TOUR_COOKIE = "jobsync_tour"


@router.get("/ui/")
@seen_by("viewer")
async def show_overview(visit: ThisVisit) -> Response:
    """The verdict first."""
    status = await read_status(visit.engine, visit.tenant)
    alerts = await list_alerts(visit.engine, visit.tenant)
    day = await read_day(visit.engine, visit.tenant)
    groups = group_needs(status, alerts)
    assert visit.now is not None
    return page(
        visit,
        "overview.html",
        title="Overview",
        here="/ui/",
        verdict=tell_verdict(status).partition(" Next:")[0],
        tenant=status["tenant"],
        lags=_tell_lags(status, day["flow"], visit.now),
        flow=day["flow"],
        groups=word_groups(groups)[:GROUPS_SHOWN],
        more_groups=max(0, len(groups) - GROUPS_SHOWN),
        bars=draw_bars(day["hours"], visit.now),
        late=draw_lag(day["gaps"], visit.now, status["tenant"]["poll_seconds"]),
        tour=visit.web.demo and TOUR_COOKIE not in visit.request.cookies,
        units=_add_up_units(status, day["hours"]),
    )


@router.post("/ui/tour")
@seen_by("viewer")
async def end_tour(visit: ThisVisit) -> Response:
    """The card with the first steps is not shown in this browser any more."""
    response = await visit.go("/ui/")
    response.set_cookie(
        TOUR_COOKIE, "over", path="/ui", max_age=31_536_000, httponly=True, samesite="strict", secure=visit.door.secure
    )
    return response


def _tell_lags(status: dict[str, Any], flow: dict[str, Any], now: datetime) -> dict[str, str]:
    """The three lags in words: of the reading, of the sending, of the reading back."""
    tenant = status["tenant"]
    failing = [row["stream"] for row in status["streams"] if row["failures"]]
    read_at = tenant["jobs_read_at"]
    due = flow["oldest_due_at"]
    return {
        "pull": f"read to its end {show_ago(read_at, now)}" if read_at else "never read to its end",
        "pull_state": "failed" if failing else "verified" if read_at else "pending",
        "failing": ", ".join(failing),
        "send": "nothing waits"
        if due is None
        else f"oldest due for {show_span((now - due).total_seconds())}"
        if due <= now
        else f"next in {show_span((due - now).total_seconds())}",
        "send_state": "blocked" if tenant["paused_at"] or tenant["mode"] != "live" else "verified",
    }


def _add_up_units(status: dict[str, Any], hours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What became of each unit's jobs in 24 hours and what waits, the busiest first."""
    found: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys((*CLASSES, "pending"), 0))
    for row in hours:
        if row["class"] in CLASSES:
            found[row["unit_key"]][row["class"]] += row["jobs"]
    for row in status["reasons"]:
        if row["ghl_sync_status"] == "pending":
            found[row["business_unit_id"] or 0]["pending"] += row["jobs"]
    rows = [
        {
            "id": unit["st_business_unit_id"],
            "name": unit["name"] or str(unit["st_business_unit_id"]),
            "deliverer": unit["deliverer"],
            "paused": unit["destination_paused_at"] is not None,
            **found[unit["st_business_unit_id"]],
        }
        for unit in status["units"]
    ]
    return sorted(rows, key=lambda row: -sum(row[name] for name in (*CLASSES, "pending")))[:20]

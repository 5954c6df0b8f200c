"""The Overview: is it running, is anything stuck, why, what do I press. Eleven questions to the database at most."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response

from jobsync.alerts.settings import list_alerts
from jobsync.engine.browse import read_day
from jobsync.engine.needs import group_needs
from jobsync.engine.sending import read_status
from jobsync.engine.verdict import tell_verdict
from jobsync.web.dashboard.rendering import page, show_ago, show_span
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by
from jobsync.web.dashboard.wording import word_groups

router = APIRouter(route_class=PageRoute, include_in_schema=False)

CLASSES = ("verified", "accepted", "skipped", "failed")
HOURS = 24
CHART_HEIGHT = 120
GROUPS_SHOWN = 6


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
        units=_add_up_units(status, day["hours"]),
    )


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


def draw_bars(rows: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """The bars of 24 hours: `columns` with their hour, counts and the parts to draw (y, height), the `highest` bar."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    counts: dict[datetime, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CLASSES, 0))
    for row in rows:
        if row["class"] in CLASSES:
            counts[row["hour"]][row["class"]] += row["jobs"]
    highest = max((sum(one.values()) for one in counts.values()), default=0)
    columns = []
    for index in range(HOURS):
        hour = start + timedelta(hours=index)
        found, top, parts = counts[hour], float(CHART_HEIGHT), []
        for name in CLASSES:
            height = round(CHART_HEIGHT * found[name] / highest, 2) if highest else 0
            # A single failure among thousands is still seen.
            height = max(height, 2.0) if found[name] else 0
            top -= height
            if found[name]:
                parts.append({"class": name, "y": round(max(top, 0), 2), "height": height})
        columns.append({"hour": hour, "x": index * 30 + 3, "counts": found, "parts": parts})
    totals = {name: sum(column["counts"][name] for column in columns) for name in CLASSES}
    return {"columns": columns, "highest": highest, "totals": totals}


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

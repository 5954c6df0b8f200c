"""Charts of the Overview: numbers to places in a drawing. Pure; the template draws, and a table beside it has the same numbers."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

CLASSES = ("verified", "accepted", "skipped", "failed")
HOURS = 24
HEIGHT = 120
STEP = 30
# As the alert `lag`: three polls, and a quarter of an hour at least, are in time.
PATIENT_SECONDS = 900


def list_hours(now: datetime) -> list[datetime]:
    """The hours of a day that ends now, the oldest first."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    return [start + timedelta(hours=index) for index in range(HOURS)]


def draw_bars(rows: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """The bars of 24 hours: `columns` with their hour, counts and the parts to draw (y, height), the `highest` bar."""
    hours = list_hours(now)
    counts: dict[datetime, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CLASSES, 0))
    for row in rows:
        if row["class"] in CLASSES:
            counts[row["hour"]][row["class"]] += row["jobs"]
    highest = max((sum(one.values()) for one in counts.values()), default=0)
    columns = []
    for index, hour in enumerate(hours):
        found, top, parts = counts[hour], float(HEIGHT), []
        for name in CLASSES:
            height = round(HEIGHT * found[name] / highest, 2) if highest else 0
            # A single failure among thousands is still seen.
            height = max(height, 2.0) if found[name] else 0
            top -= height
            if found[name]:
                parts.append({"class": name, "y": round(max(top, 0), 2), "height": height})
        columns.append({"hour": hour, "x": index * STEP + 3, "counts": found, "parts": parts})
    totals = {name: sum(column["counts"][name] for column in columns) for name in CLASSES}
    return {"columns": columns, "highest": highest, "totals": totals}


def draw_lag(gaps: list[dict[str, Any]], now: datetime, poll_seconds: int) -> dict[str, Any]:
    """The line of how late ServiceTitan was read: `hours` (hour -> seconds, None where nothing was known yet), `lines`
    (points of each unbroken stretch), `worst`, and the band of what is in time (`patient` seconds, `band_y`)."""
    known = {row["hour"]: row for row in gaps}
    last = max((row["last_at"] for row in gaps if row["hour"] < list_hours(now)[0]), default=None)
    hours: dict[datetime, float | None] = {}
    for hour in list_hours(now):
        end = min(hour + timedelta(hours=1), now)
        row = known.get(hour)
        late = [row["seconds"]] if row is not None and row["seconds"] is not None else []
        if row is not None:
            last = row["last_at"]
        if last is not None:
            # Until the next one, the time goes on.
            late.append((end - last).total_seconds())
        hours[hour] = max(late) if late else None
    patient = max(PATIENT_SECONDS, 3 * poll_seconds)
    worst = max((seconds for seconds in hours.values() if seconds is not None), default=None)
    top = max(worst or 0, patient * 1.25)
    lines: list[list[str]] = [[]]
    for index, seconds in enumerate(hours.values()):
        if seconds is None:
            lines.append([])
        else:
            lines[-1].append(f"{index * STEP + STEP // 2},{round(HEIGHT - HEIGHT * seconds / top, 1)}")
    return {
        "hours": hours,
        "lines": [" ".join(points) for points in lines if len(points) > 1],
        "dots": [points[0].split(",") for points in lines if len(points) == 1],
        "worst": worst,
        "patient": patient,
        "band_y": round(HEIGHT - HEIGHT * patient / top, 1),
    }

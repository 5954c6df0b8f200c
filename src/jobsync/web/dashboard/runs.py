"""Runs: what was pulled, sent, backfilled and compared; progress as it goes; cancel and resume."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime

from jobsync.engine.backfill import cancel_backfill, resume_backfill
from jobsync.engine.runs import list_runs, show_run
from jobsync.web.dashboard.csv_files import answer_csv
from jobsync.web.dashboard.rendering import confirm, make_query, page, show_count
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/runs"
Run = Annotated[UUID, Path()]
TYPES = {
    "job_pull": "Pull",
    "ghl_delivery": "Delivery",
    "backfill": "Backfill",
    "reconcile": "Comparison",
    "verify": "Reading back",
    "import": "Import",
}
COLUMNS = (
    "id", "sync_type", "status", "trigger", "records_processed", "records_succeeded", "records_failed", "requests", "started_at", "completed_at",
    "duration_ms", "error_message",
)  # fmt: skip


@router.get(HERE)
@seen_by("viewer")
async def show_runs(
    visit: ThisVisit,
    type: Annotated[str | None, Query(max_length=60)] = None,
    status: Annotated[str | None, Query(pattern=r"^(running|completed|failed)?$")] = None,
    before: AwareDatetime | None = None,
    format: Annotated[str | None, Query(max_length=10)] = None,
) -> Response:
    """A page of runs, newest first; `format=csv`: the newest 1,000 as a sheet."""
    listed = await list_runs(
        visit.engine,
        visit.tenant,
        sync_type=type or None,
        status=status or None,
        before=before,
        **({"limit": 1000} if format == "csv" else {}),
    )
    if format == "csv":
        return answer_csv("runs", COLUMNS, listed["runs"])
    view = {"type": type, "status": status}
    following = make_query(HERE, {**view, "before": listed["next"].isoformat()}) if listed["next"] else None
    return page(
        visit,
        "runs.html",
        title="Runs",
        here=HERE,
        runs=listed["runs"],
        running=listed["running"],
        view=view,
        types=TYPES,
        following=following,
        is_first=before is None,
    )


@router.get(HERE + "/{run}")
@seen_by("viewer")
async def show_one(visit: ThisVisit, run: Run) -> Response:
    """One run: its streams, its progress, its error."""
    found = await show_run(visit.engine, visit.tenant, run)
    streams = (found["metadata"] or {}).get("streams") if isinstance(found["metadata"], dict) else None
    return page(
        visit,
        "run.html",
        title=f"{TYPES.get(found['sync_type'], found['sync_type'])} run",
        here=HERE,
        run=found,
        types=TYPES,
        streams=_show_streams(streams, found["backfill"]),
        details=json.dumps(found["error_details"], indent=2, ensure_ascii=False) if found["error_details"] else None,
    )


@router.get(HERE + "/{run}/cancel")
@seen_by("admin")
async def ask_to_cancel(visit: ThisVisit, run: Run) -> Response:
    """What cancelling leaves."""
    found = await show_run(visit.engine, visit.tenant, run)
    return confirm(
        visit,
        title="Cancel the backfill?",
        sentence="What was stored stays; the rest of the history is not read. It cannot be resumed afterwards.",
        action=f"{HERE}/{run}/cancel",
        button="Cancel the backfill",
        facts=[("Read so far", show_count(_count_pulled(found))), ("Sent by this", "0")],
        back=f"{HERE}/{run}",
        danger=True,
        here=HERE,
    )


@router.post(HERE + "/{run}/cancel")
@seen_by("admin")
async def cancel(visit: ThisVisit, run: Run) -> Response:
    """Ends a backfill for good."""
    return await _tell(visit, run, await cancel_backfill(visit.engine, visit.tenant, run), "Cancelled.")


@router.post(HERE + "/{run}/resume")
@seen_by("admin")
async def resume(visit: ThisVisit, run: Run) -> Response:
    """Lets an unfinished backfill go on where it stands."""
    going = await resume_backfill(visit.engine, visit.tenant, run)
    return await _tell(visit, run, going, "It goes on where it stood; a worker takes it up within seconds.")


async def _tell(visit: Visit, run: UUID, done: bool, text: str) -> Response:
    path = f"{HERE}/{run}"
    return await visit.go(path, text) if done else await visit.go(path, "The backfill was over already.", kind="warn")


def _count_pulled(run: dict[str, Any]) -> int:
    return sum(stream["pulled"] for stream in (run["backfill"] or {}).get("streams") or ())


def _show_streams(streams: Any, backfill: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row for each stream of a pass or a backfill: name, status, counts, requests, total (None: not known), error."""
    if backfill:
        return [{**one, "name": one["stream"], "error": None} for one in backfill["streams"] or ()]
    if not isinstance(streams, dict):
        return []
    names = ("status", "pulled", "stored", "unchanged", "quarantined", "requests", "error")
    return [
        {"name": name, "total": None, **{key: one.get(key) for key in names}}
        for name, one in sorted(streams.items())
        if isinstance(one, dict)
    ]

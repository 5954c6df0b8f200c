"""jobs list, why, replay: single jobs, their story, and sending them again."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.engine.jobs import list_failed, list_jobs
from jobsync.engine.opening import open_engine
from jobsync.engine.sending import replay_jobs
from jobsync.engine.why import explain_job, identify_job
from jobsync.errors import ConfirmationNeeded, InvalidInput

app = typer.Typer(help="Jobs and where they stand.", no_args_is_help=True, rich_markup_mode=None)
MARKS = {"verified": "●", "accepted": "◐", "pending": "○", "failed": "▲", "blocked": "■", "skipped": "–"}


@app.command("list")
def show(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help="pending, synced, failed or skipped.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only jobs with this reason.")] = None,
    unit: Annotated[int | None, typer.Option(help="Only jobs of this business unit.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    if status is not None and status not in ("pending", "synced", "failed", "skipped"):
        raise InvalidInput(f"--status {status} is not one of pending, synced, failed, skipped.")
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await list_jobs(engine, tenant, status=status, reason=reason, unit=unit, limit=limit)

    found = run(act())
    if as_json:
        print_json({"count": len(found), "jobs": found})
        return
    rows = [
        (
            MARKS[j["state"]] + " " + j["state"],
            j["st_job_id"],
            j["st_job_number"],
            j["business_unit_name"],
            j["job_status"],
            j["ghl_sync_reason"],
        )
        for j in found
    ]
    print_table(("state", "id", "number", "unit", "job status", "why"), rows)


def why(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(help="[job] ID, job number or GoHighLevel id.")],
    as_json: AsJson = False,
) -> None:
    """Tell a job's story, the cause and the fix."""
    settings, tenant = settings_of(context), tenant_of(context)
    text = words[-1]

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await explain_job(engine, tenant, await identify_job(engine, tenant, text))

    story = run(act())
    if as_json:
        print_json(story)
        return
    print_lines(describe_story(story))


def describe_story(story: dict[str, Any]) -> list[str]:
    """The story in words: state, events, why, fix."""
    job = story["job"]
    lines = [
        f"Job {job['st_job_id']} (no. {job['st_job_number'] or '-'})  {job['business_unit_name'] or 'unknown unit'} · "
        f"{job['job_status'] or '-'}   {MARKS[job['state']]} {job['state']}"
    ]
    events: list[tuple[Any, str]] = [(job["synced_from_st_at"], f"stored        modified {_time(job['modified_on'])}")]
    for attempt in story["attempts"]:
        code = f"HTTP {attempt['status_code']}" if attempt["status_code"] else "no answer"
        what = (attempt["outcome"] or "never closed: ambiguous").replace("_", " ")
        events.append(
            (
                attempt["started_at"],
                f"sent          version {attempt['version']}  {code}  {what}  {attempt['duration_ms'] or 0} ms",
            )
        )
    events += [
        (entry["at"], f"{entry['action'].replace('_', ' '):<13} by {entry['actor']}") for entry in story["audit"]
    ]
    lines += [f"  {_time(at)}  {text}" for at, text in sorted((e for e in events if e[0]), key=lambda e: e[0])]
    if job["ghl_sync_error"]:
        lines.append(f"  Last error  {job['ghl_sync_error']}")
    if job["next_attempt_at"] and job["ghl_sync_status"] == "pending":
        lines.append(f"  Next try    {_time(job['next_attempt_at'])}")
    lines.append(f"  Why   {story['why']}")
    if story["fix"]:
        lines.append(f"  Fix   {story['fix']}")
    return lines


def _time(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"


def replay(
    context: typer.Context,
    jobs: Annotated[list[str] | None, typer.Argument(help="Jobs by id or number.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    cause: Annotated[str | None, typer.Option(help="With --failed: only this reason.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also jobs that were delivered: GoHighLevel runs them again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be replayed.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send failed jobs again."""
    if not jobs and not failed:
        raise InvalidInput("Say which: job ids, or --failed.")
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            ids = [await identify_job(engine, tenant, text) for text in jobs or []]
            if failed:
                ids += await list_failed(engine, tenant, reason=cause)
            if dry_run:
                return {"would_replay": ids, "asked": len(ids)}
            needs_yes = not yes and (force or len(ids) > 1)
            if needs_yes and not (sys.stdin.isatty() and typer.confirm(f"Send {len(ids)} jobs again?", err=True)):
                raise ConfirmationNeeded(f"{len(ids)} jobs would be sent again; not confirmed.", hint="Add --yes.")
            return await replay_jobs(engine, tenant, ids, actor=ACTOR, force=force)

    answer = run(act())
    if as_json:
        print_json(answer)
    elif dry_run:
        print_lines([f"Would replay {answer['asked']} jobs. Nothing was changed."])
    else:
        print_lines([f"{len(answer['replayed'])} of {answer['asked']} jobs are due again. Next: jobsync deliver"])

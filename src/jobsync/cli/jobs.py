"""jobs list, why, replay: single jobs, their story, and sending them again."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table, say
from jobsync.cli.shared import ACTOR, AsJson, Yes, read_moment, run, settings_of, tenant_of
from jobsync.engine.jobs import choose_jobs, list_jobs
from jobsync.engine.opening import open_engine
from jobsync.engine.plan import list_outdated
from jobsync.engine.sending import preview_replay, replay_jobs
from jobsync.engine.why import MOST_MATCHES, explain_job, identify_job, preview_payload, search_jobs
from jobsync.errors import ConfirmationNeeded, InvalidInput, RecordMissing

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
    words: Annotated[
        list[str], typer.Argument(help="[job] ID, job number, GoHighLevel id, phone, e-mail or customer's name.")
    ],
    payload: Annotated[bool, typer.Option("--payload", help="Also show what a hook would get now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a job's story, the cause and the fix."""
    settings, tenant = settings_of(context), tenant_of(context)
    text = " ".join(words[1:] if len(words) > 1 and words[0] == "job" else words)

    async def act() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            found = await search_jobs(engine, tenant, text)
            if not found:
                raise RecordMissing(
                    f"No job has the id, number, phone, e-mail or name {text}.", hint="Look it up: jobsync jobs list"
                )
            if len(found) > 1:
                return found, {}
            story = await explain_job(engine, tenant, found[0]["st_job_id"])
            if payload:
                story["payload"] = await preview_payload(engine, tenant, found[0]["st_job_id"])
            return found, story

    found, story = run(act())
    if as_json:
        print_json(story or {"count": len(found), "matches": found})
    elif story:
        print_lines(describe_story(story))
    else:
        _print_matches(found, text)


def _print_matches(found: list[dict[str, Any]], text: str) -> None:
    rows = [
        (
            f"{MARKS[j['state']]} {j['state']}",
            j["st_job_id"],
            j["st_job_number"],
            j["customer_name"],
            j["business_unit_name"],
            j["job_status"],
            j["ghl_sync_reason"],
        )
        for j in found
    ]
    print_table(("state", "id", "number", "customer", "unit", "job status", "why"), rows)
    more = " (the newest)" if len(found) == MOST_MATCHES else ""
    print_lines(
        [f"{len(found)} jobs{more} match {text} by {found[0]['matched']}. Next: jobsync why {found[0]['st_job_id']}"]
    )


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
                f"sent          version {attempt['version']}  {code}  {what}  {attempt['duration_ms'] or 0} ms"
                + (f"  {attempt['error']}" if attempt["error"] else ""),
            )
        )
    if job["ghl_verified_at"]:
        events.append((job["ghl_verified_at"], f"verified      card {job['ghl_opportunity_id'] or '-'}"))
    events += [(entry["at"], _tell_audit(entry)) for entry in story["audit"]]
    lines += [f"  {_time(at)}  {text}" for at, text in sorted((e for e in events if e[0]), key=lambda e: e[0])]
    if job["ghl_sync_error"]:
        lines.append(f"  Last error  {job['ghl_sync_error']}")
    if job["next_attempt_at"] and job["ghl_sync_status"] == "pending":
        lines.append(f"  Next try    {_time(job['next_attempt_at'])}")
    lines.append(f"  Why   {story['why']}")
    if story["fix"]:
        lines.append(f"  Fix   {story['fix']}")
    if "payload" in story:
        lines += ["  Body  what a hook would get now:"]
        lines += [f"        {name}: {value!r}" for name, value in story["payload"].items()]
    return lines


def _tell_audit(entry: dict[str, Any]) -> str:
    details = entry["details"]
    about = details.get("mode") or details.get("deliverer") or details.get("reason") or ""
    return f"{entry['action'].replace('_', ' '):<13} by {entry['actor']}{'  ' + str(about) if about else ''}"


def _time(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"


def replay(
    context: typer.Context,
    jobs: Annotated[list[str] | None, typer.Argument(help="Jobs by id or number.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    cause: Annotated[
        str | None, typer.Option(help="All of this cause, such as test_only; unverified: accepted, never found.")
    ] = None,
    unit: Annotated[int | None, typer.Option(help="Only of this business unit.")] = None,
    since: Annotated[str | None, typer.Option(help="Only changed since this ISO date.")] = None,
    status: Annotated[str | None, typer.Option(help="Instead of failed ones: pending, synced or skipped.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also jobs that were delivered: GoHighLevel runs them again.")
    ] = False,
    rebaseline: Annotated[
        bool, typer.Option("--rebaseline", help="Delivered jobs that would be told differently today (see plan).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be replayed.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send jobs again: some, all of a cause, or all that a filter means. Counts first."""
    filtered = failed or cause is not None or unit is not None or since is not None or status is not None
    if not jobs and not filtered and not rebaseline:
        raise InvalidInput("Say which: job ids, or --failed, --cause, --unit, --since.")
    if status is not None and status not in ("pending", "synced", "failed", "skipped"):
        raise InvalidInput(f"--status {status} is not one of pending, synced, failed, skipped.")
    settings, tenant = settings_of(context), tenant_of(context)
    started = read_moment(since, "--since")
    force = force or rebaseline

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            ids = [await identify_job(engine, tenant, text) for text in jobs or []]
            if rebaseline:
                ids += await list_outdated(engine, tenant, unit=unit)
            elif filtered:
                ids += await choose_jobs(engine, tenant, status=status, reason=cause, unit=unit, since=started)
            found = await preview_replay(engine, tenant, ids, force=force)
            if dry_run:
                return found
            say(*describe_replay(found))
            chosen = found["would_replay"]
            needs_yes = not yes and (force or len(ids) > 1)
            if needs_yes and not (sys.stdin.isatty() and typer.confirm(f"Send {len(chosen)} jobs again?", err=True)):
                raise ConfirmationNeeded(f"{len(chosen)} jobs would be sent again; not confirmed.", hint="Add --yes.")
            return {**await replay_jobs(engine, tenant, chosen, actor=ACTOR, force=force), "asked": len(ids)}

    answer = run(act())
    if as_json:
        print_json(answer)
    elif dry_run:
        print_lines([*describe_replay(answer), "Nothing was changed. Next: the same with --yes"])
    else:
        print_lines([f"{len(answer['replayed'])} of {answer['asked']} jobs are due again. Next: jobsync deliver"])


def describe_replay(found: dict[str, Any]) -> list[str]:
    """What a replay would do, in words: counts by unit, the price, and why others are left alone."""
    lines = [
        f"{len(found['would_replay'])} of {found['asked']} jobs would be sent again: up to "
        f"{found['webhook_executions']} paid workflow triggers ({found['cost']:.2f})."
    ]
    lines += [f"  {row['jobs']:>6}  {row['name'] or row['business_unit_id']}" for row in found["units"]]
    lines += [f"  {number:>6}  left alone: {reason}" for reason, number in found["refused"].items()]
    return lines
